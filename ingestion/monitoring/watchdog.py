"""The watchdog: runs every check, even if others fail, then sends the alerts."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.jobs.heartbeats import add_facts, claim_host_turn, claim_turn
from ingestion.jobs.lock import describe_error
from ingestion.models import Heartbeat

logger = logging.getLogger(__name__)

Check = Callable[[datetime], object]
CHECK_FAILED: Final = "watchdog_check_failed"
# A little less than the minute between rounds, so that a round that starts on time is not too early.
MIN_INTERVAL: Final = timedelta(seconds=50)


@dataclass(frozen=True)
class WatchdogResult:
    succeeded: tuple[str, ...]
    failed: tuple[str, ...]


def run_checks(
    now: datetime, checks: Sequence[Check], send: Check, *, host_checks: Sequence[Check] = ()
) -> WatchdogResult | None:
    """Run every check and send alerts; None if other processes did so within the minute.

    One process of each host runs the checks of hosts, and one process of all hosts the others. A check that
    raises opens an incident.

    Args:
        checks: called in this order; a check may use the results of earlier ones.
        send: called after them, and again after `host_checks`; its errors are handled like a check's.
        host_checks: checks of this host's own problems. One may download a model for minutes, which must
            delay no other check and no alert.
    """
    is_turn_of_host = claim_host_turn(now, MIN_INTERVAL)
    is_turn = claim_turn(Heartbeat.Part.WATCHDOG, now, MIN_INTERVAL)
    if not is_turn_of_host and not is_turn:
        return None
    began = time.monotonic()
    results: dict[str, bool] = {}
    if is_turn:
        _resolve_removed_checks([_check_name(check) for check in (*checks, send, *host_checks)], now)
        for check in (*checks, send):
            results[_check_name(check)] = _run_check(check, now)
        # Before the checks of the host: during them, other processes may run and record later rounds.
        failed = [name for name, succeeded in results.items() if not succeeded]
        add_facts(Heartbeat.Part.WATCHDOG, checks=len(results), failed=failed)
    if is_turn_of_host and host_checks:
        for check in host_checks:
            results[_check_name(check)] = _run_check(check, now, is_of_host=True)
        if is_turn:
            # With the round's start, a notification's claim could be out of date at once.
            later = now + timedelta(seconds=time.monotonic() - began)
            results[_check_name(send)] = _run_check(send, later)
    return WatchdogResult(
        tuple(name for name, succeeded in results.items() if succeeded),
        tuple(name for name, succeeded in results.items() if not succeeded),
    )


def _run_check(check: Check, now: datetime, *, is_of_host: bool = False) -> bool:
    key = f"{CHECK_FAILED}:{_check_name(check)}"
    try:
        check(now)
    except Exception as error:
        logger.exception("check_failed check=%s", _check_name(check))
        condition = Condition(key, CHECK_FAILED, Severity.WARNING, {"error": describe_error(error)})
        (incidents.open_or_update_here if is_of_host else incidents.open_or_update)(condition, now)
        return False
    # Whichever host has the turn of a check for all hosts ends its incident.
    (incidents.resolve_here if is_of_host else incidents.resolve)(key, now)
    return True


def _resolve_removed_checks(names: Sequence[str], now: datetime) -> None:
    known = {f"{CHECK_FAILED}:{name}" for name in names}
    failing = incidents.open_incidents().filter(key__startswith=f"{CHECK_FAILED}:")
    for key in failing.values_list("key", flat=True):
        if key not in known:
            incidents.resolve(key, now)


def _check_name(check: Check) -> str:
    return getattr(check, "__name__", type(check).__name__)
