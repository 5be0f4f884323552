"""Headline of the operations page: the state of ingestion and data in one sentence."""

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
    "running": "is in progress",
    "succeeded": "succeeded",
    "partial": "imported only part of the data",
    "failed": "failed; the catalogue is unchanged",
    "refused": "was refused: the source looks like a different catalogue",
    "abandoned": "stopped before it finished; the next run continues from there",
    "stopped": "was stopped by a person or a shutdown",
}


@dataclass(frozen=True)
class StatusHeadline:
    """`tone` is well, warning, critical or, before the first run, empty."""

    tone: str
    title: str
    detail: str = ""


def build_headline(
    window: RunWindow,
    incidents: Sequence[IncidentSummary],
    heartbeats: Sequence[ServiceHeartbeat],
    next_due: datetime | None,
    now: datetime,
    *,
    max_data_age: timedelta,
) -> StatusHeadline:
    """The worst open incident, else a problem without an incident, else the state of data and runs.

    Args:
        max_data_age: older data is stale.
    """
    last, data = window.last_finished, window.last_applied
    state = _state_sentence(last, data, next_due, now)
    detail = capitalize_first(state)
    critical = [one for one in incidents if one.incident.severity == Incident.Severity.CRITICAL]
    if critical:
        return StatusHeadline("critical", _incident_title(critical, incidents), detail)
    if last is None:
        return StatusHeadline("empty", "No data has been imported yet", detail)
    if last.status not in (*APPLIED_STATUSES, IngestionRun.Status.STOPPED):
        return StatusHeadline("critical", f"Run {last.pk} {OUTCOME_PHRASES[last.status]}", detail)
    warning = (
        _incident_title(incidents, incidents)
        if incidents
        else _unreported_problem(last, data, heartbeats, now - max_data_age)
    )
    return (
        StatusHeadline("warning", warning, detail)
        if warning
        else StatusHeadline("well", f"All is well: {state}")
    )


def _unreported_problem(
    last: IngestionRun,
    data: RunMetrics | None,
    heartbeats: Sequence[ServiceHeartbeat],
    stale_before: datetime,
) -> str:
    silent = next((one for one in heartbeats if one.part == Heartbeat.Part.WATCHDOG and one.is_silent), None)
    if silent is not None:
        # The watchdog opens the incidents of all other components, but cannot open its own.
        return f"The watchdog is not running: its last heartbeat was {silent.last_seen}"
    if data is None or _data_end(data) < stale_before:
        return "The data is stale: no recent run has updated it"
    is_incomplete = last.status in {IngestionRun.Status.PARTIAL, IngestionRun.Status.STOPPED}
    return f"Run {last.pk} {OUTCOME_PHRASES[last.status]}" if is_incomplete else ""


def _incident_title(most_severe: Sequence[IncidentSummary], incidents: Sequence[IncidentSummary]) -> str:
    more = len(incidents) - 1
    return most_severe[0].subject + (f", and {format_count(more, 'more incident')}" if more else "")


def _state_sentence(
    last: IngestionRun | None, data: RunMetrics | None, next_due: datetime | None, now: datetime
) -> str:
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
    return f", {format_number(songs)} songs received, {format_number(new)} new"


def _data_end(data: RunMetrics) -> datetime:
    return data.started_at + timedelta(seconds=data.values.get(("duration", WHOLE_RUN), 0.0))
