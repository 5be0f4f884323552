"""The watchdog's round: every check, each on its own, and then the messages."""

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
# A little less than the minute in which everybody comes: who comes on time must not be too early.
MIN_INTERVAL: Final = timedelta(seconds=50)


@dataclass(frozen=True)
class WatchdogResult:
    """What a round did.

    Attributes:
        made: the checks that were made.
        failed: those that raised.
    """

    succeeded: tuple[str, ...]
    failed: tuple[str, ...]


def run_checks(now: datetime, checks: Sequence[Check], send: Check) -> WatchdogResult | None:
    """Make every check, then send what has to be told; None where somebody else did within the minute.

    A check that raises is an incident of its own, and keeps no other one from being made.

    Args:
        checks: called with the moment, in this order; what one finds the next may build on.
        send: called last, as a check is.
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
        incidents.open_or_update(Condition(key, CHECK_FAILED, Severity.WARNING, facts), now)
        return False
    incidents.resolve(key, now)
    return True


def _resolve_removed_checks(names: Sequence[str], now: datetime) -> None:
    """A check that is not made any more does not fail any more."""
    known = {f"{CHECK_FAILED}:{name}" for name in names}
    failing = incidents.open_incidents().filter(key__startswith=f"{CHECK_FAILED}:")
    for key in failing.values_list("key", flat=True):
        if key not in known:
            incidents.resolve(key, now)


def _check_name(check: Check) -> str:
    return getattr(check, "__name__", type(check).__name__)
