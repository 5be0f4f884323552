"""The watchdog's round: every check, each on its own, and then the messages."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.jobs.heartbeats import claim, note
from ingestion.models import Heartbeat
from ingestion.pipeline.ingest import first_line

logger = logging.getLogger(__name__)

Check = Callable[[datetime], object]
FAILED: Final = "watchdog_check_failed"
# A little less than the minute in which everybody comes: who comes on time must not be too early.
EVERY: Final = timedelta(seconds=50)


@dataclass(frozen=True)
class Round:
    """What a round did.

    Attributes:
        made: the checks that were made.
        failed: those that raised.
    """

    made: tuple[str, ...]
    failed: tuple[str, ...]


def watch(now: datetime, checks: Sequence[Check], send: Check) -> Round | None:
    """Make every check, then send what has to be told; None where somebody else did within the minute.

    A check that raises is an incident of its own, and keeps no other one from being made.

    Args:
        checks: called with the moment, in this order; what one finds the next may build on.
        send: called last, as a check is.
    """
    if not claim(Heartbeat.Part.WATCHDOG, now, EVERY):
        return None
    names = [_name(check) for check in (*checks, send)]
    _forget_others(names, now)
    failed = tuple(_name(check) for check in (*checks, send) if not _made(check, now))
    note(Heartbeat.Part.WATCHDOG, checks=len(names), failed=list(failed))
    return Round(tuple(name for name in names if name not in failed), failed)


def _made(check: Check, now: datetime) -> bool:
    key = f"{FAILED}:{_name(check)}"
    try:
        check(now)
    except Exception as error:
        logger.exception("check_failed check=%s", _name(check))
        reason = f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")
        incidents.report(Condition(key, FAILED, Severity.WARNING, {"error": reason}), now)
        return False
    incidents.clear(key, now)
    return True


def _forget_others(names: Sequence[str], now: datetime) -> None:
    """A check that is not made any more does not fail any more."""
    known = {f"{FAILED}:{name}" for name in names}
    failing = incidents.open_incidents().filter(key__startswith=f"{FAILED}:")
    for key in failing.values_list("key", flat=True):
        if key not in known:
            incidents.clear(key, now)


def _name(check: Check) -> str:
    return getattr(check, "__name__", type(check).__name__)
