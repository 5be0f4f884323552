"""Time series of run metrics, for anomaly detection, the dashboard and Prometheus."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db.models import QuerySet
from django.utils.translation import gettext_noop as _

from ingestion.models import IngestionRun, ResourceReport

Status = IngestionRun.Status
# Runs with these statuses changed the catalogue.
APPLIED_STATUSES: Final = (Status.SUCCEEDED, Status.PARTIAL)
WHOLE_RUN: Final = ""  # in place of a resource name: the run as a whole


@dataclass(frozen=True)
class MetricDefinition:
    name: str
    label: str
    unit: str
    formula: str
    scope: str = "both"


METRICS: Final = {
    one.name: one
    for one in (
        MetricDefinition("received", _("rows received"), "rows", _("rows that the source sent")),
        MetricDefinition("new", _("new rows"), "rows", _("rows whose id was not in the catalogue")),
        MetricDefinition(
            "changed",
            _("changed rows"),
            "rows",
            _("existing rows with at least one changed field"),
        ),
        MetricDefinition(
            "missing",
            _("missing rows"),
            "rows",
            _("available rows that the source no longer sent"),
        ),
        MetricDefinition("rejected", _("rejections"), "rows", _("rows that failed validation")),
        MetricDefinition(
            "rejected_share",
            _("share of rejected rows"),
            "share",
            _("rejections / rows received"),
        ),
        MetricDefinition("requests", _("requests"), "requests", _("attempts, retries included")),
        MetricDefinition(
            "error_share",
            _("share of failed attempts"),
            "share",
            _("failed attempts / requests"),
        ),
        MetricDefinition("bytes", _("bytes received"), "bytes", _("sizes of all response bodies")),
        MetricDefinition(
            "duration",
            _("duration"),
            "seconds",
            _("run: end - start; resource: time to read and write it"),
        ),
        MetricDefinition(
            "latency_p50",
            _("median latency"),
            "seconds",
            _(
                "commit time - max(created_at, updated_at) over new and changed rows; "
                "run: its slowest resource"
            ),
        ),
        MetricDefinition(
            "latency_p95",
            _("95th percentile of data latency"),
            "seconds",
            _("95 % of the new and changed rows were faster"),
        ),
        MetricDefinition(
            "latency_max",
            _("longest latency"),
            "seconds",
            _("the slowest new or changed row"),
        ),
        MetricDefinition(
            "cpu_seconds",
            _("CPU time"),
            "seconds",
            _("user + system time of the process and its threads"),
            "run",
        ),
        MetricDefinition(
            "peak_memory",
            _("peak memory"),
            "bytes",
            _("largest sampled resident set size"),
            "run",
        ),
        MetricDefinition(
            "rows_per_second",
            _("rows per second"),
            "rows/s",
            _("rows received / duration"),
            "run",
        ),
    )
}
SUMMED_FIELDS: Final = ("received", "new", "changed", "missing", "rejected", "requests", "bytes")
LATENCY_FIELDS: Final = ("latency_p50", "latency_p95", "latency_max")
RUN_FIELDS: Final = (
    "received",
    "new",
    "changed",
    "missing",
    "rejected",
    "bytes",
    "cpu_seconds",
    "peak_memory",
    "rows_per_second",
)


class MetricPoint(NamedTuple):
    run: int
    at: datetime
    value: float


@dataclass
class RunMetrics:
    run: int
    status: str
    started_at: datetime
    dry_run: bool
    accept_reset: bool
    trigger: str
    # By metric and resource; without metrics that were not recorded.
    values: dict[tuple[str, str], float] = field(default_factory=dict)
    # Time between the start of the previous run that changed the catalogue and this start; None for the first
    # run.
    gap_seconds: float | None = None
    resumed: bool = False  # the run reused pages of a dead run, so its duration is not comparable

    @property
    def is_comparable(self) -> bool:
        is_real = not self.dry_run and self.trigger != IngestionRun.Trigger.LEGACY
        return is_real and self.status == Status.SUCCEEDED

    def point(self, measure: str, resource: str = WHOLE_RUN) -> MetricPoint | None:
        value = self.values.get((measure, resource))
        return None if value is None else MetricPoint(self.run, self.started_at, value)


def load_run_metrics(
    *,
    until_run: int | None = None,
    since: datetime | None = None,
    n: int | None = None,
    statuses: Sequence[str] = APPLIED_STATUSES,
) -> list[RunMetrics]:
    """Metrics of the newest runs, oldest first, without dry runs and legacy imports; two queries."""
    runs = IngestionRun.objects.filter(status__in=statuses, dry_run=False, finished_at__isnull=False)
    runs = runs.exclude(trigger=IngestionRun.Trigger.LEGACY)
    if until_run is not None:
        runs = runs.filter(pk__lte=until_run)
    if since is not None:
        runs = runs.filter(started_at__gte=since)
    return _load_metrics(runs.order_by("-pk")[:n])


def metric_points(runs: Iterable[RunMetrics], measure: str, resource: str = WHOLE_RUN) -> list[MetricPoint]:
    found = (run.point(measure, resource) for run in runs)
    return [point for point in found if point is not None]


def _load_metrics(runs: "QuerySet[IngestionRun]") -> list[RunMetrics]:
    names = {*RUN_FIELDS, "pk", "status", "started_at", "finished_at", "dry_run", "accept_reset", "trigger"}
    rows = sorted(runs.values(*names), key=lambda row: int(row["pk"]))
    metrics = {row["pk"]: _run_metrics(row) for row in rows}
    if metrics:
        # By range: a list of ids could exceed the parameter limit of SQLite.
        reports = ResourceReport.objects.filter(run_id__gte=rows[0]["pk"], run_id__lte=rows[-1]["pk"])
        _add_reports(metrics, reports)
    _add_gaps(list(metrics.values()))
    return list(metrics.values())


def _run_metrics(row: dict[str, Any]) -> RunMetrics:
    metrics = RunMetrics(
        row["pk"], row["status"], row["started_at"], row["dry_run"], row["accept_reset"], row["trigger"]
    )
    metrics.values = {(name, WHOLE_RUN): float(row[name]) for name in RUN_FIELDS}
    if row["finished_at"] is not None:
        metrics.values["duration", WHOLE_RUN] = (row["finished_at"] - row["started_at"]).total_seconds()
    return metrics


def _add_reports(runs: dict[int, RunMetrics], reports: "QuerySet[ResourceReport]") -> None:
    names = {
        *SUMMED_FIELDS,
        *LATENCY_FIELDS,
        "run_id",
        "resource",
        "seconds",
        "errors",
        "resumed",
        "is_backfill",
    }
    failed: dict[int, list[float]] = {}
    for row in reports.values(*names):
        run = runs.get(row["run_id"])
        if run is None:
            continue
        failures = float(sum(row["errors"].values()))
        _add_resource(run, row, failures)
        sums = failed.setdefault(run.run, [0.0, 0.0])
        sums[0] += failures
        sums[1] += row["requests"]
    for run_id, (failures, requests) in failed.items():
        values = runs[run_id].values
        values["requests", WHOLE_RUN] = requests
        _set_share(values, "error_share", WHOLE_RUN, failures, requests)
        _set_share(
            values, "rejected_share", WHOLE_RUN, values["rejected", WHOLE_RUN], values["received", WHOLE_RUN]
        )


def _add_resource(run: RunMetrics, row: dict[str, Any], failures: float) -> None:
    resource, values = row["resource"], run.values
    values.update({(name, resource): float(row[name]) for name in SUMMED_FIELDS})
    _set_share(values, "rejected_share", resource, row["rejected"], row["received"])
    _set_share(values, "error_share", resource, failures, row["requests"])
    run.resumed = run.resumed or row["resumed"]
    if row["seconds"] is not None:
        values["duration", resource] = row["seconds"]
    for name in LATENCY_FIELDS:
        # The latency of a first load is the age of the source's rows.
        if row[name] is not None and not row["is_backfill"]:
            values[name, resource] = row[name]
            values[name, WHOLE_RUN] = max(values.get((name, WHOLE_RUN), row[name]), row[name])


def _set_share(
    values: dict[tuple[str, str], float], name: str, resource: str, part: float, whole: float
) -> None:
    if whole:
        values[name, resource] = part / whole


def _add_gaps(runs: Sequence[RunMetrics]) -> None:
    before: RunMetrics | None = None
    for run in runs:
        if before is not None:
            run.gap_seconds = (run.started_at - before.started_at).total_seconds()
        if run.status in APPLIED_STATUSES:
            before = run
