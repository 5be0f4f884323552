"""What the operations page is made of, in few queries: no table that grows with the data is counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db.models import Q
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from ingestion.alerts import incidents
from ingestion.alerts.messages.render import render_incident
from ingestion.models import AnomalyCheck, Heartbeat, Incident, IngestionRun
from ingestion.monitoring.run_metrics import APPLIED_STATUSES, RunMetrics, load_run_metrics
from ingestion.schedules import DAILY_ENTRY, latest_due_at
from moovitamix.dashboard.formatting import (
    capitalize_first,
    format_age,
    format_interval,
    format_time_ago,
    format_time_until,
)

WINDOW_CHOICES: Final = (7, 30, 90)  # days
DEFAULT_WINDOW: Final = 30
MAX_LISTED_RUNS: Final = 8
# As many points as a chart of this size can tell apart; hourly runs of 90 days would be 2 160.
MAX_CHART_RUNS: Final = 200
MAX_LISTED_INCIDENTS: Final = 10
FINISHED_STATUSES: Final = [
    status for status in IngestionRun.Status.values if status != IngestionRun.Status.RUNNING
]
# Each does a round a minute or more often; five missed ones are no delay.
HEARTBEAT_TIMEOUT: Final = timedelta(minutes=5)
HALF_A_DAY: Final = timedelta(hours=12)

CHECK_COLUMNS: Final = ("pk", "run", "measure", "resource", "value", "median", "low", "high", "n", "verdict")


class AnomalyCheckRow(NamedTuple):
    """One measure of one run: `BandCheck` without the cost of thousands of model objects."""

    pk: int
    run: int
    measure: str
    resource: str
    value: float
    median: float | None
    low: float | None
    high: float | None
    n: int
    verdict: str


ChecksByMeasure = dict[tuple[int, str, str], AnomalyCheckRow]


@dataclass
class RunWindow:
    """The runs that the page looks back at.

    Attributes:
        days: how far.
        runs: finished ones, oldest first, whatever became of them; at most `MOST_RUNS`.
        newest: the last runs as rows, newest first, running or not.
        troubled: those of the window that ended with an error, newest first.
        bands: what was usual, by run, measure and resource.
    """

    days: int
    since: datetime
    runs: list[RunMetrics]
    newest: list[IngestionRun]
    with_errors: list[IngestionRun] = field(default_factory=list)
    checks: ChecksByMeasure = field(default_factory=dict)

    @property
    def applied(self) -> list[RunMetrics]:
        """Those that changed the catalogue: only they have volumes and times that compare."""
        return [account for account in self.runs if account.status in APPLIED_STATUSES]

    @property
    def last_applied(self) -> RunMetrics | None:
        """The run that the data is as old as; None if none in the window."""
        return next((account for account in reversed(self.runs) if account.status in APPLIED_STATUSES), None)

    @property
    def last_finished(self) -> IngestionRun | None:
        """The last real run that ended; tries write nothing and say nothing of the data."""
        return next((run for run in self.newest if run.status != "running" and not run.dry_run), None)

    @property
    def running(self) -> IngestionRun | None:
        return next((run for run in self.newest if run.status == IngestionRun.Status.RUNNING), None)


class IncidentSummary(NamedTuple):
    """An incident, as the page tells it; nothing has to be done where it is over."""

    incident: Incident
    subject: str
    lasts: str
    what_to_do: str
    url: str


class ScheduledEntry(NamedTuple):
    """An entry of the timetable; `at` is None for one that repeats by an interval."""

    name: str
    at: datetime | None
    when: str
    url: str


class ServiceHeartbeat(NamedTuple):
    """A part of the service and when it was last seen."""

    part: str
    name: str
    seen: str
    is_silent: bool


def load_run_window(days: int, now: datetime) -> RunWindow:
    """The window's runs with their numbers and bands, in four queries."""
    begin = now - timedelta(days=days)
    newest = IngestionRun.objects.order_by("-pk").values("pk")[:MAX_LISTED_RUNS]
    rows = list(
        IngestionRun.objects.filter(Q(pk__in=newest) | Q(error_kind__gt="", started_at__gte=begin))
        .defer("stages")
        .order_by("-pk")[: MAX_LISTED_RUNS + MAX_CHART_RUNS]
    )
    runs = load_run_metrics(since=begin, n=MAX_CHART_RUNS, statuses=FINISHED_STATUSES)
    troubled = [run for run in rows if run.error_kind and run.started_at >= begin]
    return RunWindow(
        days, begin, runs, rows[:MAX_LISTED_RUNS], troubled, load_checks([one.run for one in runs])
    )


def load_checks(runs: Sequence[int]) -> ChecksByMeasure:
    """What was usual for each of these runs, which go up."""
    if not runs:
        return {}
    rows = AnomalyCheck.objects.filter(run_id__gte=runs[0], run_id__lte=runs[-1]).values_list(*CHECK_COLUMNS)
    checks = [AnomalyCheckRow(*row) for row in rows]
    return {(check.run, check.measure, check.resource): check for check in checks}


def list_open_incidents(now: datetime) -> list[IncidentSummary]:
    """What is wrong now, critical first; one more than is shown tells that there are more."""
    found = incidents.open_incidents()[: MAX_LISTED_INCIDENTS + 1]
    return [summarize_incident(incident, now) for incident in found]


def summarize_incident(incident: Incident, now: datetime) -> IncidentSummary:
    text = render_incident(incident, "en")
    url = reverse("admin:ingestion_incident_change", args=[incident.pk])
    lasted = format_age(((incident.resolved_at or now) - incident.opened_at).total_seconds())
    if incident.resolved_at is not None:
        return IncidentSummary(incident, text.subject, f"It lasted {lasted}", "", url)
    return IncidentSummary(incident, text.subject, f"For {lasted}", text.what_to_do, url)


def list_scheduled_entries(now: datetime) -> list[ScheduledEntry]:
    """When each entry that is switched on is due next: dated ones first, soonest first."""
    entries = PeriodicTask.objects.filter(enabled=True).select_related("crontab", "interval")
    found = [_scheduled_entry(entry, now) for entry in entries]
    return sorted(found, key=lambda due: (due.at is None, due.at or now, due.name))


def next_ingestion_at(found: Sequence[ScheduledEntry]) -> datetime | None:
    """When the daily ingestion is due; None while it is switched off."""
    return next((due.at for due in found if due.name == DAILY_ENTRY), None)


def list_heartbeats(now: datetime) -> list[ServiceHeartbeat]:
    """Each part of the service that was ever seen."""
    return [
        ServiceHeartbeat(
            pulse.part, capitalize_first(pulse.get_part_display()), format_time_ago(pulse.at, now),
            pulse.at < now - HEARTBEAT_TIMEOUT,
        )
        for pulse in Heartbeat.objects.all()
    ]  # fmt: skip


def _scheduled_entry(entry: Any, now: datetime) -> ScheduledEntry:
    url = reverse("admin:django_celery_beat_periodictask_change", args=[entry.pk])
    if entry.crontab is None:
        often = (
            format_interval(entry.schedule.run_every.total_seconds()) if entry.interval else "at set times"
        )
        return ScheduledEntry(entry.name, None, often, url)
    if entry.name == DAILY_ENTRY:
        at = _next_daily_run(entry.crontab, now)
    else:
        begin, wait, _ = entry.crontab.schedule.remaining_delta(now)
        at = (begin + wait).astimezone(UTC)
    return ScheduledEntry(entry.name, at, format_time_until(at, now) if at else "never", url)


def _next_daily_run(crontab: Any, now: datetime) -> datetime | None:
    """The first moment after now that the daily run is due, on its own rule for the days clocks change."""
    # Half a day a step: two due moments lie further apart, so that none is stepped over.
    looks = (latest_due_at(crontab, now + step * HALF_A_DAY) for step in range(1, 733))
    return next((due for due in looks if due is not None and due > now), None)
