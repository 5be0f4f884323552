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
from ingestion.monitoring.run_metrics import METRICS, WHOLE_RUN, load_run_metrics
from moovitamix.dashboard.charts import (
    RESOURCE_NAMES,
    VERDICT_LABELS,
    ChartLine,
    ChartPanel,
    ChartTable,
    build_panel,
    build_table,
    describe_expected_range,
    describe_formulas,
)
from moovitamix.dashboard.formatting import format_count, format_measure, format_number, format_percent
from moovitamix.dashboard.queries import AnomalyCheckRow, IncidentSummary, load_checks, summarize_incident

# Two months of days show a weekly rhythm and a trend.
RUNS_BEFORE: Final = 60
MAX_REASONS: Final = 20
MAX_EXAMPLE_CHARS: Final = 120
# Words for the rows of the table; the number's unit is that of the measure where there is one.
COUNT_ROWS: Final = (
    ("received", "Read"), ("new", "New"), ("changed", "Changed"), ("unchanged", "Unchanged"),
    ("rejected", "Refused"), ("duplicates", "Sent twice"), ("missing", "Missing"), ("returned", "Returned"),
    ("pages", "Pages"), ("requests", "Requests"), ("retries", "Attempts repeated"),
    ("incoherent_times", "Updated before created"),
)  # fmt: skip
TIME_ROWS: Final = (
    ("latency_p50", "Median latency"), ("latency_p95", "95 % of rows faster than"),
    ("latency_max", "Longest latency"), ("seconds", "Reading and writing"),
)  # fmt: skip
# Where a number's rows can be looked at.
ADMIN_MODEL_NAMES: Final = {"songs": "song", "users": "listener", "listening_history": "listeninghistory"}


class StageBar(NamedTuple):
    """One stage; `left` and `width` place its bar, in per cent of the run."""

    name: str
    at: str
    took: str
    left: str
    width: str


class TableCell(NamedTuple):
    text: str
    url: str = ""


class RejectionReason(NamedTuple):
    """Rows refused for one reason, with one of them as the example."""

    resource: str
    field: str
    reason: str
    rows: str
    example: str
    url: str


class FieldChange(NamedTuple):
    """One field that changed; `is_hidden` where the values are a person's own."""

    resource: str
    key: str
    url: str
    field: str
    old: str
    new: str
    is_hidden: bool


@dataclass(frozen=True)
class CheckedMeasure:
    """A measure of this run with the runs before it."""

    panel: ChartPanel
    title: str
    verdict: str
    words: str
    formula: str
    url: str
    table: ChartTable

    @property
    def is_unusual(self) -> bool:
        return self.verdict in {AnomalyCheck.Verdict.LOW, AnomalyCheck.Verdict.HIGH}


def build_stage_bars(run: IngestionRun, now: datetime) -> list[StageBar]:
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
        took = format_measure(lasted, "seconds") + (", not ended" if seconds is None else "")
        found.append(
            StageBar(stage["name"], _offset(at, run), took, f"{100 * left:.2f}", f"{100 * width:.2f}")
        )
    return found


def build_resource_table(run: IngestionRun, reports: Sequence[ResourceReport]) -> dict[str, Any]:
    """A table: what was counted downwards, the resources beside each other."""
    return {
        "headings": [RESOURCE_NAMES[report.resource] for report in reports],
        "rows": [
            *((name, [_count_cell(run, report, field) for report in reports]) for field, name in COUNT_ROWS),
            *((name, [TableCell(format_measure(getattr(report, field), "seconds")) for report in reports])
              for field, name in TIME_ROWS),
            ("Bytes received", [TableCell(format_measure(report.bytes, "bytes")) for report in reports]),
            ("Failed attempts by kind", [TableCell(_error_counts(report.errors)) for report in reports]),
        ],
    }  # fmt: skip


def group_rejections(run: IngestionRun, *, show_personal_data: bool) -> list[RejectionReason]:
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
        .order_by("-n")[:MAX_REASONS]
    )
    examples = Rejection.objects.in_bulk([group["example"] for group in groups])
    return [
        RejectionReason(
            RESOURCE_NAMES[group["resource"]], group["field"], group["reason"], format_number(group["n"]),
            _example_value(examples[group["example"]], show_personal_data=show_personal_data),
            reverse("admin:ingestion_rejection_change", args=[group["example"]]),
        )
        for group in groups
    ]  # fmt: skip


def list_field_changes(reports: Sequence[ResourceReport]) -> list[FieldChange]:
    """The sample of changed rows that the run kept."""
    return [
        FieldChange(
            RESOURCE_NAMES[report.resource],
            _display_key(entry["key"]),
            _row_url(report.resource, entry["key"]),
            entry["field"].replace("_", " "),
            _display_value(entry.get("old")),
            _display_value(entry.get("new")),
            "old" not in entry,
        )
        for report in reports
        for entry in report.sample
    ]


def list_checked_measures(run: IngestionRun) -> list[CheckedMeasure]:
    """Each measure that was held against the runs before."""
    runs = load_run_metrics(until_run=run.pk, n=RUNS_BEFORE)
    if not runs or runs[-1].run != run.pk:
        return []
    known = load_checks([one.run for one in runs])
    return [_checked_measure(check, runs, known) for (pk, _, _), check in known.items() if pk == run.pk]


def list_run_incidents(run: IngestionRun, now: datetime) -> dict[str, list[IncidentSummary]]:
    """What this run opened or saw again, and what it ended."""
    found = Incident.objects.filter(Q(run=run) | Q(resolved_by_run=run)).order_by("severity", "pk")
    told = [summarize_incident(incident, now) for incident in found]
    return {
        "seen": [one for one in told if one.incident.run_id == run.pk],
        "ended": [one for one in told if one.incident.resolved_by_run_id == run.pk],
    }


def runs_with_neighbours() -> "QuerySet[IngestionRun, Any]":
    """The runs, each with the numbers of the one before it and the one after."""
    before = IngestionRun.objects.filter(pk__lt=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    after = IngestionRun.objects.filter(pk__gt=OuterRef("pk")).order_by("pk").values("pk")[:1]
    return IngestionRun.objects.annotate(before=Subquery(before), after=Subquery(after))


def rejections_url(run: IngestionRun, resource: str = "") -> str:
    """The list of the rows refused in this run."""
    url = f"{reverse('admin:ingestion_rejection_changelist')}?run_id__lte={run.pk}&last_run_id__gte={run.pk}"
    return f"{url}&resource__exact={resource}" if resource else url


def _checked_measure(check: AnomalyCheckRow, runs: Sequence[Any], known: Any) -> CheckedMeasure:
    measure = METRICS[check.measure]
    title = measure.label[:1].upper() + measure.label[1:]
    if check.resource != WHOLE_RUN:
        title = f"{RESOURCE_NAMES[check.resource]}: {measure.label}"
    line = ChartLine(title, check.measure, check.resource)
    drawn = build_panel(f"band-{check.pk}", title, [line], runs, known)
    return CheckedMeasure(
        drawn, title, check.verdict, _describe_check(check, measure.unit),
        _formula(check, len(runs)), _check_url(check),
        build_table([line], [one for one in runs if line.value_of(one) is not None]),
    )  # fmt: skip


def _check_url(check: AnomalyCheckRow) -> str:
    """Where a person may say that this is usual from now on."""
    wanted = {"q": check.run, "measure": check.measure}
    if check.resource:
        wanted["resource__exact"] = check.resource
    return f"{reverse('admin:ingestion_anomalycheck_changelist')}?{urlencode(wanted)}"


def _formula(check: AnomalyCheckRow, drawn: int) -> str:
    """How the measure is counted, and on how many runs its band and its chart rest."""
    held = format_count(check.n, "run")
    return f"{describe_formulas([check.measure])}. Band of {held}; last {format_count(drawn, 'run')} drawn."


def _describe_check(check: AnomalyCheckRow, unit: str) -> str:
    """What was judged, with the numbers it rests on."""
    if check.median is None:
        return f"{format_measure(check.value, unit)}, {describe_expected_range(check, unit)}."
    distance = ""
    if check.verdict == AnomalyCheck.Verdict.HIGH and check.median:
        distance = f" ({format_number(check.value / check.median)} times the median)"
    if check.verdict == AnomalyCheck.Verdict.LOW and check.median:
        distance = f" ({format_percent(check.value / check.median)} of the median)"
    verdict = VERDICT_LABELS[AnomalyCheck.Verdict(check.verdict)]
    return (
        f"{format_measure(check.value, unit)} is {verdict}{distance}; "
        f"{describe_expected_range(check, unit)}, "
        f"median {format_measure(check.median, unit)} of {format_number(check.n)} runs."
    )


def _count_cell(run: IngestionRun, report: ResourceReport, field: str) -> TableCell:
    value = getattr(report, field)
    url = ""
    if value and field == "received":
        url = reverse(f"admin:ingestion_{ADMIN_MODEL_NAMES[report.resource]}_changelist")
    if value and field == "changed" and report.sample:
        url = "#changed"
    if value and field == "rejected":
        url = rejections_url(run, report.resource)
    if value and field == "missing":
        changelist = reverse(f"admin:ingestion_{ADMIN_MODEL_NAMES[report.resource]}_changelist")
        url = f"{changelist}?availability=missing"
    return TableCell(format_number(value), url)


def _error_counts(errors: dict[str, int]) -> str:
    return ", ".join(f"{kind}: {format_number(n)}" for kind, n in sorted(errors.items())) or "none"


def _example_value(rejection: Rejection, *, show_personal_data: bool) -> str:
    if rejection.resource == "users" and not show_personal_data:
        return "hidden: a person's data"
    row = json.loads(rejection.payload)
    value = row.get(rejection.field) if isinstance(row, dict) and rejection.field in row else row
    return Truncator(json.dumps(value, ensure_ascii=False)).chars(MAX_EXAMPLE_CHARS)


def _display_key(key: Any) -> str:
    return " ".join(str(part) for part in key) if isinstance(key, list) else str(key)


def _row_url(resource: str, key: Any) -> str:
    if isinstance(key, list):
        return ""
    return reverse(f"admin:ingestion_{ADMIN_MODEL_NAMES[resource]}_change", args=[key])


def _display_value(value: Any) -> str:
    return "nothing" if value in (None, "") else str(value)


def _offset(at: datetime, run: IngestionRun) -> str:
    return f"+{format_measure(max((at - run.started_at).total_seconds(), 0.0), 'seconds')}"
