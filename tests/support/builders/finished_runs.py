"""Finished runs as rows, as a history for anomaly checks, pages and metrics."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.models import IngestionRun, ResourceReport

FIRST_DAY = datetime(2026, 9, 1, 2, 0, tzinfo=UTC)


def make_finished_run(
    day: float = 0, *, seconds: float = 60.0, reports: Any = None, **fields: Any
) -> IngestionRun:
    """A finished run at 02:00 UTC on a day after the first, with a report for each resource that is named.

    `reports` is a dict of resource: fields; `unchanged` makes each add up.
    """
    started = FIRST_DAY + timedelta(days=day)
    usual = {"status": "succeeded", "started_at": started, "heartbeat_at": started, "host": "here", "pid": 1,
             "process_started": 0.0, "finished_at": started + timedelta(seconds=seconds)}  # fmt: skip
    run = IngestionRun.objects.create(**usual | fields)
    for resource, numbers in (reports or {}).items():
        make_report(run, resource, **numbers)
    return run


def make_report(run: IngestionRun, resource: str, **numbers: Any) -> ResourceReport:
    counted = sum(numbers.get(name, 0) for name in ("new", "changed", "rejected", "duplicates"))
    received = numbers.setdefault("received", counted)
    return ResourceReport.objects.create(run=run, resource=resource, unchanged=received - counted, **numbers)
