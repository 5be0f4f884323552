"""The one sentence that says whether all is well."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ingestion.models import Heartbeat, Incident, IngestionRun
from ingestion.monitoring.run_metrics import APPLIED_STATUSES, WHOLE_RUN, RunMetrics
from moovitamix.dashboard.formatting import (
    capitalize_first,
    format_age,
    format_clock,
    format_count,
    format_number,
    format_time_until,
)
from moovitamix.dashboard.queries import IncidentSummary, RunWindow, ServiceHeartbeat

OUTCOME_PHRASES: Final = {
    "succeeded": "succeeded",
    "partial": "took in only part of the data",
    "failed": "failed; the catalogue is as it was",
    "refused": "was refused: the source looks like another catalogue",
    "abandoned": "died half-way; the next one goes on from there",
}


@dataclass(frozen=True)
class StatusHeadline:
    """Attributes: tone: well, warning, critical or empty."""

    tone: str
    title: str
    detail: str = ""


def build_headline(
    past: RunWindow,
    incidents: Sequence[IncidentSummary],
    heartbeats: Sequence[ServiceHeartbeat],
    next_due: datetime | None,
    now: datetime,
    *,
    max_data_age: timedelta,
) -> StatusHeadline:
    """How things stand; incidents decide, and what nobody has looked at yet is told all the same.

    Args:
        oldest: data of this age is stale.
    """
    last, data = past.last_finished, past.last_applied
    state = _state_sentence(last, data, next_due, now)
    told = capitalize_first(state)
    critical = [one for one in incidents if one.incident.severity == Incident.Severity.CRITICAL]
    if critical:
        return StatusHeadline("critical", _incident_title(critical, incidents), told)
    if last is None:
        return StatusHeadline("empty", "Nothing was read yet", told)
    if last.status not in APPLIED_STATUSES:
        return StatusHeadline("critical", f"Run {last.pk} {OUTCOME_PHRASES[last.status]}", told)
    warning = (
        _incident_title(incidents, incidents)
        if incidents
        else _unreported_problem(last, data, heartbeats, now - max_data_age)
    )
    return (
        StatusHeadline("warning", warning, told)
        if warning
        else StatusHeadline("well", f"All is well: {state}")
    )


def _unreported_problem(
    last: IngestionRun, data: RunMetrics | None, signs: Sequence[ServiceHeartbeat], oldest: datetime
) -> str:
    """What is not as it should be though no incident says so; empty: nothing."""
    silent = next((sign for sign in signs if sign.part == Heartbeat.Part.WATCHDOG and sign.is_silent), None)
    if silent is not None:
        # Of all parts the only one whose silence opens no incident.
        return f"Nobody watches: the watchdog was last seen {silent.seen}"
    if data is None or _data_end(data) < oldest:
        return "The data is old, and no run has renewed it"
    return f"Run {last.pk} {OUTCOME_PHRASES['partial']}" if last.status == IngestionRun.Status.PARTIAL else ""


def _incident_title(first: Sequence[IncidentSummary], troubles: Sequence[IncidentSummary]) -> str:
    more = len(troubles) - 1
    return first[0].subject + (f", and {format_count(more, 'more incident')}" if more else "")


def _state_sentence(
    last: IngestionRun | None, data: RunMetrics | None, next_due: datetime | None, now: datetime
) -> str:
    """The last run, the age of the data and the next run: "last run 02:00, 1 012 songs read, ..."."""
    parts = []
    if last is not None:
        parts.append(f"last run {format_clock(last.started_at, now)}{_read_summary(last, data)}")
    if data is not None:
        parts.append(f"data {format_age((now - _data_end(data)).total_seconds())} old")
    due = f"next run {format_time_until(next_due, now)}" if next_due else "no run is scheduled"
    return f"{', '.join(parts)}; {due}." if parts else f"{due}."


def _read_summary(last: IngestionRun, data: RunMetrics | None) -> str:
    if data is None or data.run != last.pk:
        return f" {last.status}"
    songs, new = (data.values.get((name, "songs"), 0.0) for name in ("received", "new"))
    return f", {format_number(songs)} songs read, {format_number(new)} new"


def _data_end(data: RunMetrics) -> datetime:
    return data.started_at + timedelta(seconds=data.values.get(("duration", WHOLE_RUN), 0.0))
