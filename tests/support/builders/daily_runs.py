"""Years of daily runs as rows, inserted in bulk, for tests of the operations pages."""

from datetime import datetime, timedelta
from typing import Any

from ingestion.models import RESOURCES, AnomalyCheck, IngestionRun, ResourceReport

ROW_COUNTS = {"songs": 1000, "users": 200, "listening_history": 30_000}


def make_daily_runs(n: int, *, until: datetime, **last: Any) -> list[IngestionRun]:
    """Add a run a day with reports and an anomaly check; the last starts at `until`, with fields `last`."""
    runs = IngestionRun.objects.bulk_create(
        [_run(until - timedelta(days=n - 1 - day), **(last if day == n - 1 else {})) for day in range(n)]
    )
    ResourceReport.objects.bulk_create([_report(run, name) for run in runs for name, _ in RESOURCES])
    AnomalyCheck.objects.bulk_create([_check(run) for run in runs if run.status == "succeeded"])
    return runs


def _run(started: datetime, **fields: Any) -> IngestionRun:
    usual = {
        "trigger": "schedule", "status": "succeeded", "started_at": started, "heartbeat_at": started,
        "finished_at": started + timedelta(seconds=60), "host": "here", "pid": 1, "process_started": 0.0,
        "received": sum(ROW_COUNTS.values()), "new": 36, "bytes": 5_000_000, "cpu_seconds": 20.0,
        "peak_memory": 150_000_000,
    }  # fmt: skip
    return IngestionRun(**usual | fields)


def _report(run: IngestionRun, resource: str) -> ResourceReport:
    rows = ROW_COUNTS[resource] if run.status in {"succeeded", "partial"} else 0
    return ResourceReport(
        run=run, resource=resource, received=rows, new=min(rows, 12), unchanged=max(rows - 12, 0), pages=10,
        requests=10, latency_p50=1800.0, latency_p95=3600.0, latency_max=7200.0, seconds=20.0,
    )  # fmt: skip


def _check(run: IngestionRun) -> AnomalyCheck:
    return AnomalyCheck(
        run=run, measure="duration", value=60.0, median=58.0, mad=2.0, low=30.0, high=90.0, n=30,
        verdict="usual",
    )  # fmt: skip
