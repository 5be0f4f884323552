"""Headline of the operations page: the state of ingestion and data in one sentence."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ingestion.models import IngestionRun
from ingestion.monitoring.run_metrics import WHOLE_RUN, RunMetrics
from moovitamix.dashboard.formatting import (
    capitalize_first,
    format_age,
    format_clock,
    format_number,
    format_time_until,
)
from moovitamix.dashboard.queries import RunWindow
from moovitamix.operations.service_state import CRITICAL, ServiceState


@dataclass(frozen=True)
class StatusHeadline:
    """The operations page's headline; `tone` is well, warning, critical or, before the first run, empty."""

    tone: str
    title: str
    detail: str = ""


def build_headline(
    state: ServiceState, window: RunWindow, next_due: datetime | None, now: datetime
) -> StatusHeadline:
    """The headline: the worst problem, or that all is well, with the last run, the data and the next run."""
    sentence = _state_sentence(window.last_finished, window.last_applied, next_due, now)
    detail = capitalize_first(sentence)
    worst = next(iter(state.problems), None)
    if not state.has_data and (worst is None or worst.severity != CRITICAL):
        return StatusHeadline("empty", "No data has been imported yet", detail)
    if worst is not None:
        return StatusHeadline(worst.severity, worst.title, detail)
    return StatusHeadline("well", f"All is well: {sentence}")


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
