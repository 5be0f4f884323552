"""Queries of the operations page; no query counts a table that grows with the data."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _
from django_celery_beat.models import PeriodicTask

from ingestion.alerts.messages.render import render_incident
from ingestion.alerts.silence import read_silence
from ingestion.due_times import find_problem, next_due_at
from ingestion.jobs.heartbeats import is_silent
from ingestion.models import AnomalyCheck, Heartbeat, Incident, IngestionRun
from ingestion.monitoring.parts import PartState
from ingestion.monitoring.run_metrics import APPLIED_STATUSES, RunMetrics, load_run_metrics
from ingestion.schedules import CATCH_UP_ENTRY, CLEANUP_ENTRY, DAILY_ENTRY
from ingestion.services import alert_channels
from moovitamix.dashboard.formatting import (
    capitalize_first,
    format_age,
    format_clock,
    format_interval,
    format_time_ago,
    format_time_until,
)
from moovitamix.schedules import BACKUP_ENTRY

WINDOW_CHOICES: Final = (7, 30, 90)  # days
DEFAULT_WINDOW: Final = 30
MAX_LISTED_RUNS: Final = 8
# More points are indistinguishable at the charts' size; hourly runs of 90 days would be 2 160.
MAX_CHART_RUNS: Final = 200
MAX_LISTED_INCIDENTS: Final = 10
FINISHED_STATUSES: Final = [
    status for status in IngestionRun.Status.values if status != IngestionRun.Status.RUNNING
]

# Titles of Beat's entries on the page; their stored names keep the words of earlier releases.
SCHEDULE_TITLES: Final = {
    DAILY_ENTRY: gettext_noop("Daily ingestion"),
    CATCH_UP_ENTRY: gettext_noop("Catch-up of a missed ingestion"),
    CLEANUP_ENTRY: gettext_noop("Deletion of old rows"),
    "celery.backend_cleanup": gettext_noop("Deletion of old task results"),
    BACKUP_ENTRY: gettext_noop("Daily backup"),
    "Give a sign of life every minute": gettext_noop("Heartbeat"),
    "Look after the service every minute": gettext_noop("Watchdog checks"),
    "Judge the tests between models every day": gettext_noop("Experiment decisions"),
    "Count the charts after each import": gettext_noop("Charts"),
    "Delete old lists every day": gettext_noop("Deletion of old lists"),
    "Learn a new model every week": gettext_noop("Weekly training"),
    "Look for drift every week": gettext_noop("Drift check"),
    "Prepare shelves for active listeners": gettext_noop("Candidate lists of active listeners"),
}

CHECK_COLUMNS: Final = ("pk", "run", "measure", "resource", "value", "median", "low", "high", "n", "verdict")


class AnomalyCheckRow(NamedTuple):
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
    days: int
    since: datetime
    runs: list[RunMetrics]  # finished runs with any status, oldest first, at most `MAX_CHART_RUNS`
    newest: list[IngestionRun]  # newest first, including running and dry runs, at most `MAX_LISTED_RUNS`
    # Runs that ended with an error, newest first.
    with_errors: list[IngestionRun] = field(default_factory=list)
    checks: ChecksByMeasure = field(default_factory=dict)  # anomaly checks by run, metric and resource

    @property
    def applied(self) -> list[RunMetrics]:
        """Runs that updated the catalogue; the volumes and durations of other runs are not comparable."""
        return [account for account in self.runs if account.status in APPLIED_STATUSES]

    @property
    def last_applied(self) -> RunMetrics | None:
        return next((account for account in reversed(self.runs) if account.status in APPLIED_STATUSES), None)

    @property
    def last_finished(self) -> IngestionRun | None:
        return next((run for run in self.newest if run.status != "running" and not run.dry_run), None)

    @property
    def running(self) -> IngestionRun | None:
        return next((run for run in self.newest if run.status == IngestionRun.Status.RUNNING), None)


class IncidentSummary(NamedTuple):
    """An incident as text; `what_to_do` is empty if it is resolved."""

    incident: Incident
    subject: str
    duration: str
    what_to_do: str
    url: str


class ScheduledEntry(NamedTuple):
    """A Beat entry; `at` is its next due time, None if it repeats at an interval."""

    name: str
    title: str
    at: datetime | None
    timing: str
    url: str


class ServiceHeartbeat(NamedTuple):
    part: str
    name: str
    last_seen: str
    is_silent: bool


def load_run_window(days: int, now: datetime) -> RunWindow:
    begin = now - timedelta(days=days)
    newest = IngestionRun.objects.order_by("-pk").values("pk")[:MAX_LISTED_RUNS]
    rows = list(
        IngestionRun.objects.filter(Q(pk__in=newest) | Q(error_kind__gt="", started_at__gte=begin))
        .defer("stages")
        .order_by("-pk")[: MAX_LISTED_RUNS + MAX_CHART_RUNS]
    )
    runs = load_run_metrics(since=begin, n=MAX_CHART_RUNS, statuses=FINISHED_STATUSES)
    with_errors = [run for run in rows if run.error_kind and run.started_at >= begin]
    return RunWindow(
        days, begin, runs, rows[:MAX_LISTED_RUNS], with_errors, load_checks([one.run for one in runs])
    )


def load_checks(runs: Sequence[int]) -> ChecksByMeasure:
    """The anomaly checks of these runs; the ids in `runs` must ascend."""
    if not runs:
        return {}
    rows = AnomalyCheck.objects.filter(run_id__gte=runs[0], run_id__lte=runs[-1]).values_list(*CHECK_COLUMNS)
    checks = [AnomalyCheckRow(*row) for row in rows]
    return {(check.run, check.measure, check.resource): check for check in checks}


def summarize_incident(incident: Incident, now: datetime) -> IncidentSummary:
    text = render_incident(incident, get_language() or "en")
    url = reverse("admin:ingestion_incident_change", args=[incident.pk])
    duration = format_age(((incident.resolved_at or now) - incident.opened_at).total_seconds())
    if incident.resolved_at is not None:
        return IncidentSummary(
            incident, text.subject, _("Resolved after {duration}").format(duration=duration), "", url
        )
    return IncidentSummary(
        incident, text.subject, _("Open for {duration}").format(duration=duration), text.what_to_do, url
    )


def list_scheduled_entries(now: datetime) -> list[ScheduledEntry]:
    """Enabled Beat entries: those with a due time, soonest first, followed by intervals, by name."""
    entries = PeriodicTask.objects.filter(enabled=True).select_related(
        "crontab", "interval", "solar", "clocked"
    )
    scheduled = [_scheduled_entry(entry, now) for entry in entries]
    return sorted(scheduled, key=lambda entry: (entry.at is None, entry.at or now, entry.title))


def next_ingestion_at(entries: Sequence[ScheduledEntry]) -> datetime | None:
    return next((entry.at for entry in entries if entry.name == DAILY_ENTRY), None)


def list_heartbeats(
    heartbeats: Collection[Heartbeat], states: Mapping[str, PartState], now: datetime
) -> list[ServiceHeartbeat]:
    """Each component that ever ran or must run, with its last heartbeat."""
    found = [
        ServiceHeartbeat(
            heartbeat.part,
            capitalize_first(heartbeat.get_part_display()),
            format_time_ago(heartbeat.at, now),
            is_silent(heartbeat, now),
        )
        for heartbeat in heartbeats
    ]
    missing = [
        ServiceHeartbeat(
            part, capitalize_first(_(str(Heartbeat.Part(part).label))), _("never"), state.is_problem
        )
        for part, state in states.items()
        if state.heartbeat is None
    ]
    return [*found, *missing]


def schedule_title(entry: Any) -> str:
    """The title of one of MoovitaMix's entries in the active language; otherwise the entry's own name."""
    return _(SCHEDULE_TITLES[entry.name]) if entry.name in SCHEDULE_TITLES else str(entry.name)


def _scheduled_entry(entry: Any, now: datetime) -> ScheduledEntry:
    url = reverse("admin:django_celery_beat_periodictask_change", args=[entry.pk])
    title = schedule_title(entry)
    if find_problem(entry, now):
        return ScheduledEntry(entry.name, title, None, _("never"), url)
    if entry.crontab is None and (entry.name != DAILY_ENTRY or entry.interval is None):
        timing = (
            format_interval(entry.schedule.run_every.total_seconds()) if entry.interval else _("at set times")
        )
        return ScheduledEntry(entry.name, title, None, timing, url)
    at = next_due_at(entry, now)
    return ScheduledEntry(entry.name, title, at, format_time_until(at, now) if at else _("never"), url)


def describe_silence(now: datetime) -> list[dict[str, str]]:
    """Why alerts do not arrive now: a maintenance window, or channels that are off; each with its list."""
    silence = read_silence(now)
    notes = []
    if end := silence.ends_at(now):
        text = _("Maintenance: no alerts until {time}").format(time=format_clock(end, now))
        notes.append({"text": text, "url": reverse("admin:ingestion_maintenancewindow_changelist")})
    switched_off = {name for name, _receiver in silence.off}
    if off := sorted(switched_off & {channel.name for channel in alert_channels()}):
        text = _("Alert channels that are off: {names}").format(names=", ".join(off))
        notes.append({"text": text, "url": reverse("admin:ingestion_alertchannel_changelist")})
    return notes
