"""Headline of the operations page: the state of ingestion and data in one sentence."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

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
        return StatusHeadline("empty", _("No data has been imported yet"), detail)
    if worst is not None:
        return StatusHeadline(worst.severity, worst.title, detail)
    return StatusHeadline("well", _("All is well: {sentence}").format(sentence=sentence))


def _state_sentence(
    last: IngestionRun | None, data: RunMetrics | None, next_due: datetime | None, now: datetime
) -> str:
    due = (
        _("next run {when}").format(when=format_time_until(next_due, now))
        if next_due
        else _("no run is scheduled")
    )
    parts = []
    if last is not None:
        parts.append(_read_summary(last, data, now))
    if data is not None:
        age = format_age((now - _data_end(data)).total_seconds())
        parts.append(_("data {age} old").format(age=age))
    return _("{facts}; {due}.").format(facts=", ".join(parts), due=due) if parts else f"{due}."


def _read_summary(last: IngestionRun, data: RunMetrics | None, now: datetime) -> str:
    at = format_clock(last.started_at, now)
    if data is None or data.run != last.pk:
        return _("last run {at} {status}").format(at=at, status=last.get_status_display().lower())
    songs, new = (data.values.get((name, "songs"), 0.0) for name in ("received", "new"))
    return _("last run {at}, {songs} songs received, {new} new").format(
        at=at, songs=format_number(songs), new=format_number(new)
    )


def _data_end(data: RunMetrics) -> datetime:
    return data.started_at + timedelta(seconds=data.values.get(("duration", WHOLE_RUN), 0.0))
