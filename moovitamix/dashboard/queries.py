"""What the operations page is made of, in few queries: no table that grows with the data is counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db.models import Q
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from ingestion.alerts import incidents
from ingestion.alerts.messages.render import text_of
from ingestion.models import AnomalyCheck, Heartbeat, Incident, IngestionRun
from ingestion.monitoring.run_metrics import APPLIED, Account, accounts
from ingestion.schedules import ENTRY, latest_due
from moovitamix.dashboard.formatting import every, sentence, since, span, until

WINDOWS: Final = (7, 30, 90)  # days
USUAL_WINDOW: Final = 30
LAST_RUNS: Final = 8
# As many points as a chart of this size can tell apart; hourly runs of 90 days would be 2 160.
MOST_RUNS: Final = 200
SHOWN_INCIDENTS: Final = 10
FINISHED: Final = [status for status in IngestionRun.Status.values if status != IngestionRun.Status.RUNNING]
# Each does a round a minute or more often; five missed ones are no delay.
SILENT_AFTER: Final = timedelta(minutes=5)
HALF_A_DAY: Final = timedelta(hours=12)

CHECKED: Final = ("pk", "run", "measure", "resource", "value", "median", "low", "high", "n", "verdict")


class Check(NamedTuple):
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


Bands = dict[tuple[int, str, str], Check]


@dataclass
class Past:
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
    runs: list[Account]
    newest: list[IngestionRun]
    troubled: list[IngestionRun] = field(default_factory=list)
    bands: Bands = field(default_factory=dict)

    @property
    def applied(self) -> list[Account]:
        """Those that changed the catalogue: only they have volumes and times that compare."""
        return [account for account in self.runs if account.status in APPLIED]

    @property
    def last_applied(self) -> Account | None:
        """The run that the data is as old as; None if none in the window."""
        return next((account for account in reversed(self.runs) if account.status in APPLIED), None)

    @property
    def last_finished(self) -> IngestionRun | None:
        """The last real run that ended; tries write nothing and say nothing of the data."""
        return next((run for run in self.newest if run.status != "running" and not run.dry_run), None)

    @property
    def running(self) -> IngestionRun | None:
        return next((run for run in self.newest if run.status == IngestionRun.Status.RUNNING), None)


class Trouble(NamedTuple):
    """An incident, as the page tells it; nothing has to be done where it is over."""

    incident: Incident
    subject: str
    lasts: str
    what_to_do: str
    url: str


class Due(NamedTuple):
    """An entry of the timetable; `at` is None for one that repeats by an interval."""

    name: str
    at: datetime | None
    when: str
    url: str


class Sign(NamedTuple):
    """A part of the service and when it was last seen."""

    part: str
    name: str
    seen: str
    is_silent: bool


def past(days: int, now: datetime) -> Past:
    """The window's runs with their numbers and bands, in four queries."""
    begin = now - timedelta(days=days)
    newest = IngestionRun.objects.order_by("-pk").values("pk")[:LAST_RUNS]
    rows = list(
        IngestionRun.objects.filter(Q(pk__in=newest) | Q(error_kind__gt="", started_at__gte=begin))
        .defer("stages")
        .order_by("-pk")[: LAST_RUNS + MOST_RUNS]
    )
    runs = accounts(since=begin, n=MOST_RUNS, statuses=FINISHED)
    troubled = [run for run in rows if run.error_kind and run.started_at >= begin]
    return Past(days, begin, runs, rows[:LAST_RUNS], troubled, bands([one.run for one in runs]))


def bands(runs: Sequence[int]) -> Bands:
    """What was usual for each of these runs, which go up."""
    if not runs:
        return {}
    rows = AnomalyCheck.objects.filter(run_id__gte=runs[0], run_id__lte=runs[-1]).values_list(*CHECKED)
    checks = [Check(*row) for row in rows]
    return {(check.run, check.measure, check.resource): check for check in checks}


def troubles(now: datetime) -> list[Trouble]:
    """What is wrong now, critical first; one more than is shown tells that there are more."""
    found = incidents.open_incidents()[: SHOWN_INCIDENTS + 1]
    return [trouble_of(incident, now) for incident in found]


def trouble_of(incident: Incident, now: datetime) -> Trouble:
    text = text_of(incident, "en")
    url = reverse("admin:ingestion_incident_change", args=[incident.pk])
    lasted = span(((incident.resolved_at or now) - incident.opened_at).total_seconds())
    if incident.resolved_at is not None:
        return Trouble(incident, text.subject, f"It lasted {lasted}", "", url)
    return Trouble(incident, text.subject, f"For {lasted}", text.what_to_do, url)


def timetable(now: datetime) -> list[Due]:
    """When each entry that is switched on is due next: dated ones first, soonest first."""
    entries = PeriodicTask.objects.filter(enabled=True).select_related("crontab", "interval")
    found = [_due(entry, now) for entry in entries]
    return sorted(found, key=lambda due: (due.at is None, due.at or now, due.name))


def next_run(found: Sequence[Due]) -> datetime | None:
    """When the daily ingestion is due; None while it is switched off."""
    return next((due.at for due in found if due.name == ENTRY), None)


def signs(now: datetime) -> list[Sign]:
    """Each part of the service that was ever seen."""
    return [
        Sign(
            pulse.part, sentence(pulse.get_part_display()), since(pulse.at, now),
            pulse.at < now - SILENT_AFTER,
        )
        for pulse in Heartbeat.objects.all()
    ]  # fmt: skip


def _due(entry: Any, now: datetime) -> Due:
    url = reverse("admin:django_celery_beat_periodictask_change", args=[entry.pk])
    if entry.crontab is None:
        often = every(entry.schedule.run_every.total_seconds()) if entry.interval else "at set times"
        return Due(entry.name, None, often, url)
    if entry.name == ENTRY:
        at = _next_of_daily(entry.crontab, now)
    else:
        begin, wait, _ = entry.crontab.schedule.remaining_delta(now)
        at = (begin + wait).astimezone(UTC)
    return Due(entry.name, at, until(at, now) if at else "never", url)


def _next_of_daily(crontab: Any, now: datetime) -> datetime | None:
    """The first moment after now that the daily run is due, on its own rule for the days clocks change."""
    # Half a day a step: two due moments lie further apart, so that none is stepped over.
    looks = (latest_due(crontab, now + step * HALF_A_DAY) for step in range(1, 733))
    return next((due for due in looks if due is not None and due > now), None)
