"""Prometheus metrics of runs: results of the last run, age of the data, open rejections."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db.models import Case, Count, Max, QuerySet, Value, When
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.metrics_core import Metric

from ingestion.models import RESOURCES, IngestionRun, Rejection, ResourceReport
from ingestion.monitoring.checks.freshness import last_import_times
from ingestion.pipeline.change_detection import UNKNOWN_USER

Status = IngestionRun.Status
FINISHED_STATUSES: Final = [status.value for status in Status if status != Status.RUNNING]
ROW_COUNTS: Final = ("received", "new", "changed", "unchanged", "rejected", "duplicates", "missing")
LATENCY_QUANTILES: Final = {"latency_p50": "0.5", "latency_p95": "0.95", "latency_max": "1"}


def run_metrics(now: datetime) -> Iterator[Metric]:
    """Runs by status; dry runs are left out of all metrics."""
    groups = _real_runs().order_by().values("status").annotate(n=Count("pk"), last=Max("finished_at"))
    found = {group["status"]: group for group in groups}
    stored = Gauge("moovitamix_runs", "Stored runs by status.", labels=["status"])
    last = Gauge(
        "moovitamix_run_end_timestamp_seconds", "End of the last run with this status.", labels=["status"]
    )
    for status in Status.values:
        group = found.get(status)
        stored.add_metric([status], group["n"] if group else 0)
        if group and group["last"]:
            last.add_metric([status], group["last"].timestamp())
    yield from (stored, last)


def last_run_metrics(now: datetime) -> Iterator[Metric]:
    newest = list(_real_runs()[:2])
    running = newest[0] if newest and newest[0].status == Status.RUNNING else None
    yield from _running_run_metrics(running)
    last = next((run for run in newest if run.status != Status.RUNNING), None)
    if last is None:
        return
    status = Gauge("moovitamix_last_run_status", "1 for the status of the last run.", labels=["status"])
    for name in FINISHED_STATUSES:
        status.add_metric([name], last.status == name)
    yield status
    yield from _last_run_totals(last)
    yield from _last_run_resources(last)


def data_age_metrics(now: datetime) -> Iterator[Metric]:
    ends = Gauge(
        "moovitamix_data_read_timestamp_seconds",
        "End of the last run that imported this resource.",
        labels=["resource"],
    )
    for resource, at in sorted(last_import_times().items()):
        ends.add_metric([resource], at.timestamp())
    yield ends
    yield Gauge(
        "moovitamix_data_age_limit_seconds",
        "MAX_DATA_AGE_HOURS in seconds.",
        settings.MAX_DATA_AGE_HOURS * 3600,
    )


def rejection_metrics(now: datetime) -> Iterator[Metric]:
    """Open rejections by class; the texts of the reasons would be too many label values."""
    kind = Case(When(reason=UNKNOWN_USER, then=Value("unknown_user")), default=Value("invalid"))
    groups = Rejection.objects.filter(resolved_at=None).order_by().values("resource", kind=kind)
    found = {(group["resource"], group["kind"]): group["n"] for group in groups.annotate(n=Count("pk"))}
    rejections = Gauge("moovitamix_rejections_open", "Open rejections.", labels=["resource", "class"])
    for resource, _ in RESOURCES:
        for name in ("invalid", "unknown_user"):
            rejections.add_metric([resource, name], found.get((resource, name), 0))
    yield rejections


def _real_runs() -> "QuerySet[IngestionRun]":
    return IngestionRun.objects.filter(dry_run=False)


def _running_run_metrics(run: IngestionRun | None) -> Iterator[Metric]:
    yield Gauge("moovitamix_run_in_progress", "1 while a run is running.", 1 if run else 0)
    if run is None:
        return
    yield Gauge(
        "moovitamix_run_in_progress_start_timestamp_seconds",
        "Start of the running run.",
        run.started_at.timestamp(),
    )
    yield Gauge("moovitamix_run_in_progress_stage_rows_done", "Rows done in the stage.", run.stage_done)
    yield Gauge("moovitamix_run_in_progress_stage_rows", "Rows of the stage; 0 if unknown.", run.stage_total)


def _last_run_totals(run: IngestionRun) -> Iterator[Metric]:
    ended = run.finished_at or run.started_at
    for name, description, value in (
        ("number", "Number of the run, as in the admin", run.pk),
        ("start_timestamp_seconds", "Start", run.started_at.timestamp()),
        ("end_timestamp_seconds", "End", ended.timestamp()),
        ("duration_seconds", "End - start", (ended - run.started_at).total_seconds()),
        ("cpu_seconds", "User + system CPU time of the process", run.cpu_seconds),
        ("peak_memory_bytes", "Largest sampled resident memory", run.peak_memory),
        ("received_bytes", "Sizes of all response bodies", run.bytes),
        ("rows_per_second", "Rows received / duration", run.rows_per_second),
    ):
        yield Gauge(f"moovitamix_last_run_{name}", f"Last run: {description}.", value)


def _last_run_resources(run: IngestionRun) -> Iterator[Metric]:
    rows = Gauge("moovitamix_last_run_rows", "Rows of the last run.", labels=["resource", "kind"])
    requests = Gauge("moovitamix_last_run_requests", "Requests of the last run.", labels=["resource"])
    failed = Gauge(
        "moovitamix_last_run_failed_requests", "Failed attempts of the last run.", labels=["resource"]
    )
    latency = Gauge(
        "moovitamix_last_run_latency_seconds",
        "Commit time - max(created_at, updated_at) of new and changed rows; quantile 1 is the longest.",
        labels=["resource", "quantile"],
    )
    for report in ResourceReport.objects.filter(run=run):
        for kind in ROW_COUNTS:
            rows.add_metric([report.resource, kind], getattr(report, kind))
        requests.add_metric([report.resource], report.requests)
        failed.add_metric([report.resource], sum(report.errors.values()))
        for name, quantile in LATENCY_QUANTILES.items():
            value = getattr(report, name)
            if value is not None and not report.is_backfill:
                latency.add_metric([report.resource, quantile], value)
    yield from (rows, requests, failed, latency)


METRIC_READERS: Final = (run_metrics, last_run_metrics, data_age_metrics, rejection_metrics)
