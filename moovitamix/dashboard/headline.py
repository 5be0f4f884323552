"""The one sentence that says whether all is well."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ingestion.models import Heartbeat, Incident, IngestionRun
from ingestion.monitoring.run_metrics import APPLIED, WHOLE, Account
from moovitamix.dashboard.formatting import clock, count, number, sentence, span, until
from moovitamix.dashboard.queries import Past, Sign, Trouble

ENDS: Final = {
    "succeeded": "succeeded",
    "partial": "took in only part of the data",
    "failed": "failed; the catalogue is as it was",
    "refused": "was refused: the source looks like another catalogue",
    "abandoned": "died half-way; the next one goes on from there",
}


@dataclass(frozen=True)
class Headline:
    """Attributes: tone: well, warning, critical or empty."""

    tone: str
    title: str
    detail: str = ""


def headline(
    past: Past,
    troubles: Sequence[Trouble],
    signs: Sequence[Sign],
    next_due: datetime | None,
    now: datetime,
    *,
    oldest: timedelta,
) -> Headline:
    """How things stand; incidents decide, and what nobody has looked at yet is told all the same.

    Args:
        oldest: data of this age is stale.
    """
    last, data = past.last_finished, past.last_applied
    state = _state(last, data, next_due, now)
    told = sentence(state)
    critical = [one for one in troubles if one.incident.severity == Incident.Severity.CRITICAL]
    if critical:
        return Headline("critical", _wrong(critical, troubles), told)
    if last is None:
        return Headline("empty", "Nothing was read yet", told)
    if last.status not in APPLIED:
        return Headline("critical", f"Run {last.pk} {ENDS[last.status]}", told)
    warning = _wrong(troubles, troubles) if troubles else _untold(last, data, signs, now - oldest)
    return Headline("warning", warning, told) if warning else Headline("well", f"All is well: {state}")


def _untold(last: IngestionRun, data: Account | None, signs: Sequence[Sign], oldest: datetime) -> str:
    """What is not as it should be though no incident says so; empty: nothing."""
    silent = next((sign for sign in signs if sign.part == Heartbeat.Part.WATCHDOG and sign.is_silent), None)
    if silent is not None:
        # Of all parts the only one whose silence opens no incident.
        return f"Nobody watches: the watchdog was last seen {silent.seen}"
    if data is None or _end(data) < oldest:
        return "The data is old, and no run has renewed it"
    return f"Run {last.pk} {ENDS['partial']}" if last.status == IngestionRun.Status.PARTIAL else ""


def _wrong(first: Sequence[Trouble], troubles: Sequence[Trouble]) -> str:
    more = len(troubles) - 1
    return first[0].subject + (f", and {count(more, 'more incident')}" if more else "")


def _state(last: IngestionRun | None, data: Account | None, next_due: datetime | None, now: datetime) -> str:
    """The last run, the age of the data and the next run: "last run 02:00, 1 012 songs read, ..."."""
    parts = []
    if last is not None:
        parts.append(f"last run {clock(last.started_at, now)}{_read(last, data)}")
    if data is not None:
        parts.append(f"data {span((now - _end(data)).total_seconds())} old")
    due = f"next run {until(next_due, now)}" if next_due else "no run is scheduled"
    return f"{', '.join(parts)}; {due}." if parts else f"{due}."


def _read(last: IngestionRun, data: Account | None) -> str:
    if data is None or data.run != last.pk:
        return f" {last.status}"
    songs, new = (data.values.get((name, "songs"), 0.0) for name in ("received", "new"))
    return f", {number(songs)} songs read, {number(new)} new"


def _end(data: Account) -> datetime:
    return data.started_at + timedelta(seconds=data.values.get(("duration", WHOLE), 0.0))
