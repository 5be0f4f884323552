"""The watchdog: runs every check, even if others fail, then sends the alerts."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.jobs.heartbeats import add_facts, claim_turn
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


def run_checks(now: datetime, checks: Sequence[Check], send: Check) -> WatchdogResult | None:
    """Run every check, then send alerts; None if another process did so within the minute.

    A check that raises opens an incident.

    Args:
        checks: called in this order; a check may use the results of earlier ones.
        send: called last; its errors are handled like a check's.
    """
    if not claim_turn(Heartbeat.Part.WATCHDOG, now, MIN_INTERVAL):
        return None
    names = [_check_name(check) for check in (*checks, send)]
    _resolve_removed_checks(names, now)
    failed = tuple(_check_name(check) for check in (*checks, send) if not _run_check(check, now))
    add_facts(Heartbeat.Part.WATCHDOG, checks=len(names), failed=list(failed))
    return WatchdogResult(tuple(name for name in names if name not in failed), failed)


def _run_check(check: Check, now: datetime) -> bool:
    key = f"{CHECK_FAILED}:{_check_name(check)}"
    try:
        check(now)
    except Exception as error:
        logger.exception("check_failed check=%s", _check_name(check))
        facts = {"error": describe_error(error)}
        incidents.open_or_update_here(Condition(key, CHECK_FAILED, Severity.WARNING, facts), now)
        return False
    incidents.resolve_here(key, now)
    return True


def _resolve_removed_checks(names: Sequence[str], now: datetime) -> None:
    known = {f"{CHECK_FAILED}:{name}" for name in names}
    failing = incidents.open_incidents().filter(key__startswith=f"{CHECK_FAILED}:")
    for key in failing.values_list("key", flat=True):
        if key not in known:
            incidents.resolve(key, now)


def _check_name(check: Check) -> str:
    return getattr(check, "__name__", type(check).__name__)
