"""What a run's page is made of: its stages, its resources, what it refused and changed, its bands."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from django.db.models import Count, F, Min, OuterRef, Q, QuerySet, Subquery
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.text import Truncator

from ingestion.models import AnomalyCheck, Incident, IngestionRun, Rejection, ResourceReport
from ingestion.monitoring.run_metrics import MEASURES, WHOLE, accounts
from moovitamix.dashboard.charts import NAMES, VERDICTS, Line, Panel, Table, formulas, panel, table, usual
from moovitamix.dashboard.formatting import count, figure, number, percent
from moovitamix.dashboard.queries import Check, Trouble, bands, trouble_of

# Two months of days show a weekly rhythm and a trend.
RUNS_BEFORE: Final = 60
REASONS: Final = 20
LONGEST_EXAMPLE: Final = 120
# Words for the rows of the table; the number's unit is that of the measure where there is one.
COUNTS: Final = (
    ("received", "Read"), ("new", "New"), ("changed", "Changed"), ("unchanged", "Unchanged"),
    ("rejected", "Refused"), ("duplicates", "Sent twice"), ("missing", "Missing"), ("returned", "Returned"),
    ("pages", "Pages"), ("requests", "Requests"), ("retries", "Attempts repeated"),
    ("incoherent_times", "Updated before created"),
)  # fmt: skip
TIMES: Final = (
    ("latency_p50", "Median latency"), ("latency_p95", "95 % of rows faster than"),
    ("latency_max", "Longest latency"), ("seconds", "Reading and writing"),
)  # fmt: skip
# Where a number's rows can be looked at.
TABLES: Final = {"songs": "song", "users": "listener", "listening_history": "listeninghistory"}


class Stage(NamedTuple):
    """One stage; `left` and `width` place its bar, in per cent of the run."""

    name: str
    at: str
    took: str
    left: str
    width: str


class Cell(NamedTuple):
    text: str
    url: str = ""


class Reason(NamedTuple):
    """Rows refused for one reason, with one of them as the example."""

    resource: str
    field: str
    reason: str
    rows: str
    example: str
    url: str


class Difference(NamedTuple):
    """One field that changed; `is_hidden` where the values are a person's own."""

    resource: str
    key: str
    url: str
    field: str
    old: str
    new: str
    is_hidden: bool


@dataclass(frozen=True)
class Judged:
    """A measure of this run with the runs before it."""

    panel: Panel
    title: str
    verdict: str
    words: str
    formula: str
    url: str
    table: Table

    @property
    def is_unusual(self) -> bool:
        return self.verdict in {AnomalyCheck.Verdict.LOW, AnomalyCheck.Verdict.HIGH}


def stages(run: IngestionRun, now: datetime) -> list[Stage]:
    """The stages as bars on one scale; the last one of a run that died, or is at work, goes on to its end."""
    end = run.finished_at or now
    whole = max((end - run.started_at).total_seconds(), 0.001)
    found = []
    for stage in run.stages:
        at = parse_datetime(stage["started_at"]) or run.started_at
        seconds = stage["seconds"]
        lasted = (end - at).total_seconds() if seconds is None else seconds
        # A bar that is too thin to be seen is no bar.
        left = min(max((at - run.started_at).total_seconds() / whole, 0.0), 0.995)
        width = min(max(lasted / whole, 0.005), 1 - left)
        took = figure(lasted, "seconds") + (", not ended" if seconds is None else "")
        found.append(Stage(stage["name"], _offset(at, run), took, f"{100 * left:.2f}", f"{100 * width:.2f}"))
    return found


def resources(run: IngestionRun, reports: Sequence[ResourceReport]) -> dict[str, Any]:
    """A table: what was counted downwards, the resources beside each other."""
    return {
        "headings": [NAMES[report.resource] for report in reports],
        "rows": [
            *((name, [_count(run, report, field) for report in reports]) for field, name in COUNTS),
            *((name, [Cell(figure(getattr(report, field), "seconds")) for report in reports])
              for field, name in TIMES),
            ("Bytes received", [Cell(figure(report.bytes, "bytes")) for report in reports]),
            ("Failed attempts by kind", [Cell(_kinds(report.errors)) for report in reports]),
        ],
    }  # fmt: skip


def refused(run: IngestionRun, *, may_see_persons: bool) -> list[Reason]:
    """Why rows were refused in this run, most rows first, with an example of each."""
    if not run.rejected:
        return []
    # Reckoned with, so that SQLite takes the other column's index: few rows were seen again since a late run,
    # and nearly all were refused first before it.
    rows = Rejection.objects.annotate(first=F("run_id") + 0).filter(
        first__lte=run.pk, last_run_id__gte=run.pk
    )
    groups = list(
        rows.values("resource", "field", "reason")
        .annotate(n=Count("pk"), example=Min("pk"))
        .order_by("-n")[:REASONS]
    )
    examples = Rejection.objects.in_bulk([group["example"] for group in groups])
    return [
        Reason(
            NAMES[group["resource"]], group["field"], group["reason"], number(group["n"]),
            _example(examples[group["example"]], may_see_persons=may_see_persons),
            reverse("admin:ingestion_rejection_change", args=[group["example"]]),
        )
        for group in groups
    ]  # fmt: skip


def differences(reports: Sequence[ResourceReport]) -> list[Difference]:
    """The sample of changed rows that the run kept."""
    return [
        Difference(
            NAMES[report.resource], _key(entry["key"]), _row_url(report.resource, entry["key"]),
            entry["field"].replace("_", " "), _shown(entry.get("old")), _shown(entry.get("new")),
            "old" not in entry,
        )
        for report in reports
        for entry in report.sample
    ]  # fmt: skip


def judged(run: IngestionRun) -> list[Judged]:
    """Each measure that was held against the runs before."""
    runs = accounts(until_run=run.pk, n=RUNS_BEFORE)
    if not runs or runs[-1].run != run.pk:
        return []
    known = bands([one.run for one in runs])
    return [_judge(check, runs, known) for (pk, _, _), check in known.items() if pk == run.pk]


def incidents_of(run: IngestionRun, now: datetime) -> dict[str, list[Trouble]]:
    """What this run opened or saw again, and what it ended."""
    found = Incident.objects.filter(Q(run=run) | Q(resolved_by_run=run)).order_by("severity", "pk")
    told = [trouble_of(incident, now) for incident in found]
    return {
        "seen": [one for one in told if one.incident.run_id == run.pk],
        "ended": [one for one in told if one.incident.resolved_by_run_id == run.pk],
    }


def between_others() -> "QuerySet[IngestionRun, Any]":
    """The runs, each with the numbers of the one before it and the one after."""
    before = IngestionRun.objects.filter(pk__lt=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    after = IngestionRun.objects.filter(pk__gt=OuterRef("pk")).order_by("pk").values("pk")[:1]
    return IngestionRun.objects.annotate(before=Subquery(before), after=Subquery(after))


def refused_url(run: IngestionRun, resource: str = "") -> str:
    """The list of the rows refused in this run."""
    url = f"{reverse('admin:ingestion_rejection_changelist')}?run_id__lte={run.pk}&last_run_id__gte={run.pk}"
    return f"{url}&resource__exact={resource}" if resource else url


def _judge(check: Check, runs: Sequence[Any], known: Any) -> Judged:
    measure = MEASURES[check.measure]
    title = measure.label[:1].upper() + measure.label[1:]
    if check.resource != WHOLE:
        title = f"{NAMES[check.resource]}: {measure.label}"
    line = Line(title, check.measure, check.resource)
    drawn = panel(f"band-{check.pk}", title, [line], runs, known)
    return Judged(
        drawn, title, check.verdict, _words(check, measure.unit),
        _formula(check, len(runs)), _check_url(check),
        table([line], [one for one in runs if line.value(one) is not None]),
    )  # fmt: skip


def _check_url(check: Check) -> str:
    """Where a person may say that this is usual from now on."""
    wanted = {"q": check.run, "measure": check.measure}
    if check.resource:
        wanted["resource__exact"] = check.resource
    return f"{reverse('admin:ingestion_anomalycheck_changelist')}?{urlencode(wanted)}"


def _formula(check: Check, drawn: int) -> str:
    """How the measure is counted, and on how many runs its band and its chart rest."""
    held = count(check.n, "run")
    return f"{formulas([check.measure])}. Band of {held}; last {count(drawn, 'run')} drawn."


def _words(check: Check, unit: str) -> str:
    """What was judged, with the numbers it rests on."""
    if check.median is None:
        return f"{figure(check.value, unit)}, {usual(check, unit)}."
    distance = ""
    if check.verdict == AnomalyCheck.Verdict.HIGH and check.median:
        distance = f" ({number(check.value / check.median)} times the median)"
    if check.verdict == AnomalyCheck.Verdict.LOW and check.median:
        distance = f" ({percent(check.value / check.median)} of the median)"
    verdict = VERDICTS[AnomalyCheck.Verdict(check.verdict)]
    return (
        f"{figure(check.value, unit)} is {verdict}{distance}; {usual(check, unit)}, "
        f"median {figure(check.median, unit)} of {number(check.n)} runs."
    )


def _count(run: IngestionRun, report: ResourceReport, field: str) -> Cell:
    value = getattr(report, field)
    url = ""
    if value and field == "received":
        url = reverse(f"admin:ingestion_{TABLES[report.resource]}_changelist")
    if value and field == "changed" and report.sample:
        url = "#changed"
    if value and field == "rejected":
        url = refused_url(run, report.resource)
    if value and field == "missing":
        url = f"{reverse(f'admin:ingestion_{TABLES[report.resource]}_changelist')}?availability=missing"
    return Cell(number(value), url)


def _kinds(errors: dict[str, int]) -> str:
    return ", ".join(f"{kind}: {number(n)}" for kind, n in sorted(errors.items())) or "none"


def _example(rejection: Rejection, *, may_see_persons: bool) -> str:
    if rejection.resource == "users" and not may_see_persons:
        return "hidden: a person's data"
    row = json.loads(rejection.payload)
    value = row.get(rejection.field) if isinstance(row, dict) and rejection.field in row else row
    return Truncator(json.dumps(value, ensure_ascii=False)).chars(LONGEST_EXAMPLE)


def _key(key: Any) -> str:
    return " ".join(str(part) for part in key) if isinstance(key, list) else str(key)


def _row_url(resource: str, key: Any) -> str:
    if isinstance(key, list):
        return ""
    return reverse(f"admin:ingestion_{TABLES[resource]}_change", args=[key])


def _shown(value: Any) -> str:
    return "nothing" if value in (None, "") else str(value)


def _offset(at: datetime, run: IngestionRun) -> str:
    return f"+{figure(max((at - run.started_at).total_seconds(), 0.0), 'seconds')}"
