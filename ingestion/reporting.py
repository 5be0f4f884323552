"""What a run says of each resource: its counts, its times, and some of the differences it wrote."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from django.db import models

from ingestion.applying import NO_LATENCY, Latency
from ingestion.intake import Intake
from ingestion.landing import Change
from ingestion.models import IngestionRun, ResourceReport
from ingestion.source.schemas import Record, Resource
from ingestion.upsert import Table

# As many rows as a person reads; the whole difference is what a dry run prints.
SAMPLED_ROWS: Final = 20
# A session may hold thousands of songs.
LONGEST_VALUE: Final = 200
COUNTED: Final = ("received", "new", "changed", "unchanged", "rejected", "duplicates", "returned",
                  "incoherent_times", "unknown_songs")  # fmt: skip
TAKEN: Final = ("total", "pages", "requests", "retries", "bytes", "shifts", "stable", "errors", "resumed")


@dataclass
class Written:
    """What was written of one resource."""

    rows: int = 0
    latency: Latency = NO_LATENCY
    sample: list[dict[str, Any]] = field(default_factory=list)


def report_on(run: IngestionRun, intake: Intake, written: Written, seconds: float | None) -> ResourceReport:
    """The report of one resource, not saved yet."""
    return ResourceReport(
        run=run, resource=intake.table.schema.resource, written=written.rows, missing=intake.missing,
        unknown_fields=intake.unknown_fields(), latency_p50=written.latency.p50,
        latency_p95=written.latency.p95, latency_max=written.latency.longest, seconds=seconds,
        sample=written.sample,
        **{name: intake.sum(name) for name in COUNTED},
        **{name: getattr(intake.measured, name) for name in TAKEN},
    )  # fmt: skip


def sampled(table: Table, changes: Iterator[Change], sample: list[dict[str, Any]]) -> Iterator[Change]:
    """Pass the changes on, and put the first changed rows' differences into `sample`, one entry a field."""
    rows = 0
    for change in changes:
        if change.before is not None and change.before != change.record:
            sample.extend(_differences(table, change.before, change.record))
            rows += 1
        yield change
        if rows == SAMPLED_ROWS:
            yield from changes
            return


def summary(reports: list[ResourceReport]) -> str:
    """What a run did, in a sentence."""
    return "; ".join(
        f"{_number(one.received)} {one.get_resource_display()}: {_number(one.new)} new, "
        f"{_number(one.changed)} changed, {_number(one.unchanged)} unchanged, "
        f"{_number(one.rejected)} rejected, {_number(one.missing)} missing"
        for one in reports
    )


def _differences(table: Table, before: Record, after: Record) -> Iterator[dict[str, Any]]:
    width = table.schema.key
    key = after[0] if width == 1 else [str(part) for part in after[:width]]
    for column, old, new in zip(table.columns, before, after, strict=True):
        if old == new:
            continue
        entry: dict[str, Any] = {"key": key, "field": column}
        # Of listeners only that something changed: runs are kept for years, names and addresses must not be.
        if table.schema.resource != Resource.USERS:
            entry |= {"old": _shown(table, column, old), "new": _shown(table, column, new)}
        yield entry


def _shown(table: Table, column: str, value: Any) -> str | None:
    if value is None:
        return None
    if table.kind(column) is models.DurationField:
        return str(timedelta(microseconds=value))
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _number(count: int) -> str:
    return f"{count:,}".replace(",", " ")
