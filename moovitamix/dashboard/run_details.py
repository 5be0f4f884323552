"""Data of a run's page: stages, resources, rejections, changed fields, anomaly checks, incidents."""

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
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as _n

from ingestion.models import AnomalyCheck, Incident, IngestionRun, Rejection, ResourceReport
from ingestion.monitoring.run_metrics import METRICS, WHOLE_RUN, RunMetrics, load_run_metrics
from moovitamix.dashboard.charts import (
    RESOURCE_NAMES,
    ChartLine,
    ChartPanel,
    ChartTable,
    build_panel,
    build_table,
    describe_expected_range,
    describe_formulas,
)
from moovitamix.dashboard.formatting import (
    capitalize_first,
    count_runs,
    format_measure,
    format_number,
    format_percent,
)
from moovitamix.dashboard.queries import (
    AnomalyCheckRow,
    ChecksByMeasure,
    IncidentSummary,
    load_checks,
    summarize_incident,
)

# Sixty daily runs show a weekly pattern and a trend.
MAX_DRAWN_RUNS: Final = 60
NONE: Final = "-"
MAX_REASONS: Final = 20
MAX_EXAMPLE_CHARS: Final = 120
# Page names of the stages; some stored names use older words.
STAGE_NAMES: Final = {
    "starting": _n("starting"),
    "reading songs": _n("reading songs"),
    "reading users": _n("reading listeners"),
    "reading listening history": _n("reading listening history"),
    "judging": _n("quality gate"),
    "writing songs": _n("writing songs"),
    "writing users": _n("writing listeners"),
    "writing listening history": _n("writing listening history"),
    "replaying refused rows": _n("replaying rejections"),
}
# Fields of `ResourceReport` with their names in the table.
COUNT_ROWS: Final = (
    ("received", _n("Received")), ("new", _n("New")), ("changed", _n("Changed")),
    ("unchanged", _n("Unchanged")),
    ("rejected", _n("Rejected")), ("duplicates", _n("Duplicates")), ("missing", _n("Missing")),
    ("returned", _n("Available again")), ("pages", _n("Pages")), ("requests", _n("Requests")),
    ("retries", _n("Retries")),
    ("incoherent_times", _n("Updated before created")),
)  # fmt: skip
TIME_ROWS: Final = (
    ("latency_p50", _n("Median data latency")), ("latency_p95", _n("95th percentile of data latency")),
    ("latency_max", _n("Longest data latency")), ("seconds", _n("Time spent reading and writing")),
)  # fmt: skip
ADMIN_MODEL_NAMES: Final = {"songs": "song", "users": "listener", "listening_history": "listeninghistory"}


class StageBar(NamedTuple):
    name: str
    started: str
    duration: str
    left: str
    width: str


class TableCell(NamedTuple):
    text: str
    url: str = ""


class RejectionReason(NamedTuple):
    resource: str
    field: str
    reason: str
    rows: str
    example: str
    url: str


class FieldChange(NamedTuple):
    resource: str
    key: str
    url: str
    field: str
    old: str
    new: str
    is_hidden: bool


@dataclass(frozen=True)
class CheckedMeasure:
    panel: ChartPanel
    title: str
    verdict: str
    summary: str  # value, verdict and expected range in one sentence
    formula: str
    basis: str  # number of runs behind the expected range and the chart
    url: str  # the admin's list in which an operator resets the range
    table: ChartTable

    @property
    def is_anomaly(self) -> bool:
        return self.verdict in {AnomalyCheck.Verdict.LOW, AnomalyCheck.Verdict.HIGH}


def build_stage_bars(run: IngestionRun, now: datetime) -> list[StageBar]:
    """The stages on one time scale; an unfinished one lasts until the run's end or now."""
    end = run.finished_at or now
    run_seconds = max((end - run.started_at).total_seconds(), 0.001)
    bars = []
    for stage in run.stages:
        started_at = parse_datetime(stage["started_at"]) or run.started_at
        is_unfinished = stage["seconds"] is None
        seconds = (end - started_at).total_seconds() if is_unfinished else stage["seconds"]
        # At least half a percent wide, because a narrower bar is invisible.
        left = min(max((started_at - run.started_at).total_seconds() / run_seconds, 0.0), 0.995)
        width = min(max(seconds / run_seconds, 0.005), 1 - left)
        duration = format_measure(seconds, "seconds")
        if is_unfinished:
            duration = _("{duration}, unfinished").format(duration=duration)
        bars.append(
            StageBar(
                format_stage(stage["name"]),
                _offset(started_at, run),
                duration,
                f"{100 * left:.2f}",
                f"{100 * width:.2f}",
            )
        )
    return bars


def format_stage(name: str) -> str:
    return _(STAGE_NAMES.get(name, name))


def build_resource_table(run: IngestionRun, reports: Sequence[ResourceReport]) -> dict[str, Any]:
    return {
        "headings": [*(_(RESOURCE_NAMES[report.resource]) for report in reports), _("Total")],
        "rows": [
            *((_(name), [*(_count_cell(run, report, field) for report in reports),
                         TableCell(format_number(sum(getattr(report, field) for report in reports)))])
              for field, name in COUNT_ROWS),
            *((_(name), [*(_time_cell(report, field) for report in reports), _total_time(reports, field)])
              for field, name in TIME_ROWS),
            (_("First load (latency = age of the source's rows)"),
             [*(TableCell(_("yes") if report.is_backfill else NONE) for report in reports), TableCell("")]),
            (_("Bytes received"),
             [*(TableCell(format_measure(report.bytes, "bytes")) for report in reports),
              TableCell(format_measure(sum(report.bytes for report in reports), "bytes"))]),
            (_("Failed requests by kind"),
             [*(TableCell(_error_counts(report.errors)) for report in reports), TableCell("")]),
        ],
    }  # fmt: skip


def group_rejections(run: IngestionRun, *, show_personal_data: bool) -> list[RejectionReason]:
    if not run.rejected:
        return []
    # The "+ 0" makes SQLite use the index of `last_run`: few rows were rejected again since a recent run, but
    # nearly all were first rejected before it.
    rows = Rejection.objects.annotate(first=F("run_id") + 0).filter(
        first__lte=run.pk, last_run_id__gte=run.pk
    )
    reasons = list(
        rows.values("resource", "field", "reason")
        .annotate(n=Count("pk"), example=Min("pk"))
        .order_by("-n")[:MAX_REASONS]
    )
    examples = Rejection.objects.in_bulk([reason["example"] for reason in reasons])
    return [
        RejectionReason(
            _(RESOURCE_NAMES[reason["resource"]]), reason["field"], reason["reason"],
            format_number(reason["n"]),
            _example_value(examples[reason["example"]], show_personal_data=show_personal_data),
            reverse("admin:ingestion_rejection_change", args=[reason["example"]]),
        )
        for reason in reasons
    ]  # fmt: skip


def list_field_changes(reports: Sequence[ResourceReport]) -> list[FieldChange]:
    """A stored sample of changed fields, with only the changed values."""
    return [
        FieldChange(
            _(RESOURCE_NAMES[report.resource]),
            _display_key(entry["key"]),
            _row_url(report.resource, entry["key"]),
            field,
            _display_value(old),
            _display_value(new),
            "old" not in entry,
        )
        for report in reports
        for entry in report.sample
        for field, old, new in _changed_values(entry)
    ]


def list_checked_measures(run: IngestionRun) -> list[CheckedMeasure]:
    runs = load_run_metrics(until_run=run.pk, n=MAX_DRAWN_RUNS)
    if not runs or runs[-1].run != run.pk:
        return []
    checks = load_checks([one.run for one in runs])
    return [_checked_measure(check, runs, checks) for (pk, _, _), check in checks.items() if pk == run.pk]


def list_run_incidents(run: IngestionRun, now: datetime) -> dict[str, list[IncidentSummary]]:
    """Incidents last seen in this run ("seen"), and those that it resolved ("resolved")."""
    incidents = Incident.objects.filter(Q(run=run) | Q(resolved_by_run=run)).order_by("severity", "pk")
    summaries = [summarize_incident(incident, now) for incident in incidents]
    return {
        "seen": [one for one in summaries if one.incident.run_id == run.pk],
        "resolved": [one for one in summaries if one.incident.resolved_by_run_id == run.pk],
    }


def runs_with_neighbours() -> "QuerySet[IngestionRun, Any]":
    previous = IngestionRun.objects.filter(pk__lt=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    following = IngestionRun.objects.filter(pk__gt=OuterRef("pk")).order_by("pk").values("pk")[:1]
    return IngestionRun.objects.annotate(previous_run=Subquery(previous), next_run=Subquery(following))


def rejections_url(run: IngestionRun, resource: str = "") -> str:
    url = f"{reverse('admin:ingestion_rejection_changelist')}?run_id__lte={run.pk}&last_run_id__gte={run.pk}"
    return f"{url}&resource__exact={resource}" if resource else url


def _checked_measure(
    check: AnomalyCheckRow, runs: Sequence[RunMetrics], checks: ChecksByMeasure
) -> CheckedMeasure:
    measure = METRICS[check.measure]
    title = capitalize_first(_(measure.label))
    if check.resource != WHOLE_RUN:
        title = f"{_(RESOURCE_NAMES[check.resource])}: {_(measure.label)}"
    line = ChartLine(title, check.measure, check.resource)
    return CheckedMeasure(
        panel=build_panel(f"check-{check.pk}", title, [line], runs, checks),
        title=title,
        verdict=check.verdict,
        summary=_describe_check(check, measure.unit),
        formula=f"{describe_formulas([check.measure])}.",
        basis=_("Expected range learned from {n}; the chart shows the last {runs}.").format(
            n=count_runs(check.n), runs=count_runs(len(runs))
        ),
        url=_check_url(check),
        table=build_table([line], [run for run in runs if line.value_of(run) is not None]),
    )


def _check_url(check: AnomalyCheckRow) -> str:
    query = {"q": check.run, "measure": check.measure}
    if check.resource:
        query["resource__exact"] = check.resource
    return f"{reverse('admin:ingestion_anomalycheck_changelist')}?{urlencode(query)}"


def _describe_check(check: AnomalyCheckRow, unit: str) -> str:
    if check.median is None:
        return f"{format_measure(check.value, unit)}, {describe_expected_range(check, unit)}."
    ratio = ""
    if check.verdict == AnomalyCheck.Verdict.HIGH and check.median:
        ratio = " " + _("({n} times the median)").format(n=format_number(check.value / check.median))
    if check.verdict == AnomalyCheck.Verdict.LOW and check.median:
        ratio = " " + _("({share} of the median)").format(share=format_percent(check.value / check.median))
    verdict = _(str(AnomalyCheck.Verdict(check.verdict).label))
    return _("{value} is {verdict}{ratio}; {expected}, median of {n} runs: {median}.").format(
        value=format_measure(check.value, unit),
        verdict=verdict,
        ratio=ratio,
        expected=describe_expected_range(check, unit),
        n=format_number(check.n),
        median=format_measure(check.median, unit),
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


def _time_cell(report: ResourceReport, field: str) -> TableCell:
    return TableCell(format_measure(getattr(report, field), "seconds"))


def _total_time(reports: Sequence[ResourceReport], field: str) -> TableCell:
    """The sum of the resources' times; percentiles have none."""
    if field != "seconds":
        return TableCell("")
    return TableCell(format_measure(sum(report.seconds or 0.0 for report in reports), "seconds"))


def _error_counts(errors: dict[str, int]) -> str:
    return ", ".join(f"{kind}: {format_number(n)}" for kind, n in sorted(errors.items())) or NONE


def _example_value(rejection: Rejection, *, show_personal_data: bool) -> str:
    if rejection.resource == "users" and not show_personal_data:
        return _("hidden: personal data")
    row = json.loads(rejection.payload)
    value = row.get(rejection.field) if isinstance(row, dict) and rejection.field in row else row
    return Truncator(json.dumps(value, ensure_ascii=False)).chars(MAX_EXAMPLE_CHARS)


def _display_key(key: Any) -> str:
    return " ".join(str(part) for part in key) if isinstance(key, list) else str(key)


def _row_url(resource: str, key: Any) -> str:
    if isinstance(key, list):
        return ""
    return reverse(f"admin:ingestion_{ADMIN_MODEL_NAMES[resource]}_change", args=[key])


def _changed_values(entry: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    name, old, new = entry["field"].replace("_", " "), entry.get("old"), entry.get("new")
    before, after = _json_object(old), _json_object(new)
    if before is None or after is None:
        return [(name, old, new)]
    # A long value is stored without its end, so it is not JSON.
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    return [(f"{name}: {key.replace('_', ' ')}", before.get(key), after.get(key)) for key in keys]


def _json_object(value: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _display_value(value: Any) -> str:
    return _("empty") if value in (None, "") else str(value)


def _offset(started_at: datetime, run: IngestionRun) -> str:
    return f"+{format_measure(max((started_at - run.started_at).total_seconds(), 0.0), 'seconds')}"
