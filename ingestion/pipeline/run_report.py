"""What a judged run does to the catalogue besides writing rows: what is missing, how late the data came."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import models
from django.utils import timezone

from ingestion.models import IngestionRun, ResourceReport
from ingestion.pipeline.change_detection import RowChange
from ingestion.pipeline.resource_reader import ResourceReader
from ingestion.pipeline.upsert import MirroredTable
from ingestion.source.schemas import Record, Resource


class Latency(NamedTuple):
    """Seconds from a row's newest time at the source to its commit here."""

    p50: float | None
    p95: float | None
    longest: float | None


NO_LATENCY: Final = Latency(None, None, None)


def compute_latency(newest: Iterable[float], committed_at: datetime) -> Latency:
    """Formula: commit time - max(created_at, updated_at), over the rows written.

    Args:
        newest: the newest time of each row at the source, in seconds since 1970.
    """
    waits = sorted(committed_at.timestamp() - moment for moment in newest)
    if not waits:
        return NO_LATENCY
    last = len(waits) - 1
    return Latency(waits[last // 2], waits[int(last * 0.95)], waits[last])


# As many rows as a person reads; the whole difference is what a dry run prints.
SAMPLED_ROWS: Final = 20
# A session may hold thousands of songs.
LONGEST_VALUE: Final = 200
COUNT_FIELDS: Final = ("received", "new", "changed", "unchanged", "rejected", "duplicates", "returned",
                  "incoherent_times", "unknown_songs")  # fmt: skip
READ_STAT_FIELDS: Final = (
    "total",
    "pages",
    "requests",
    "retries",
    "bytes",
    "shifts",
    "stable",
    "errors",
    "resumed",
)


@dataclass
class WriteResult:
    """What was written of one resource."""

    rows: int = 0
    latency: Latency = NO_LATENCY
    sample: list[dict[str, Any]] = field(default_factory=list)


def build_report(
    run: IngestionRun, intake: ResourceReader, written: WriteResult, seconds: float | None
) -> ResourceReport:
    """The report of one resource, not saved yet."""
    return ResourceReport(
        run=run, resource=intake.table.schema.resource, written=written.rows, missing=intake.missing,
        unknown_fields=intake.unknown_fields(), latency_p50=written.latency.p50,
        latency_p95=written.latency.p95, latency_max=written.latency.longest, seconds=seconds,
        sample=written.sample, same_key=intake.detector.same_key,
        **{name: intake.count_rows(name) for name in COUNT_FIELDS},
        **{name: getattr(intake.stats, name) for name in READ_STAT_FIELDS},
    )  # fmt: skip


def sample_changes(
    table: MirroredTable, changes: Iterator[RowChange], sample: list[dict[str, Any]]
) -> Iterator[RowChange]:
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


def summarize_reports(reports: list[ResourceReport]) -> str:
    """What a run did, in a sentence."""
    return "; ".join(", ".join((_summarize_counts(one), *_notes(one))) for one in reports)


def _summarize_counts(one: ResourceReport) -> str:
    return (
        f"{_format_count(one.received)} {one.get_resource_display()}: {_format_count(one.new)} new, "
        f"{_format_count(one.changed)} changed, {_format_count(one.unchanged)} unchanged, "
        f"{_format_count(one.rejected)} rejected, {_format_count(one.missing)} missing"
    )


def _notes(one: ResourceReport) -> Iterator[str]:
    """What else a reader of the run should know about a resource; nothing on most days."""
    if one.same_key:
        yield f"{_format_count(one.same_key)} share listener and time with a different session"


def _differences(table: MirroredTable, before: Record, after: Record) -> Iterator[dict[str, Any]]:
    width = table.schema.source_key_length
    key = after[0] if width == 1 else [str(part) for part in after[:width]]
    for column, old, new in zip(table.columns, before, after, strict=True):
        if old == new:
            continue
        entry: dict[str, Any] = {"key": key, "field": column}
        # Of listeners only that something changed: runs are kept for years, names and addresses must not be.
        if table.schema.resource != Resource.USERS:
            entry |= {"old": _format_value(table, column, old), "new": _format_value(table, column, new)}
        yield entry


def _format_value(table: MirroredTable, column: str, value: Any) -> str | None:
    if value is None:
        return None
    if table.field_type(column) is models.DurationField:
        return str(timedelta(microseconds=value))
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _format_count(count: int) -> str:
    return f"{count:,}".replace(",", " ")


# The columns that every heartbeat writes besides its time.
HEARTBEAT_COLUMNS: Final = ("stage", "stage_done", "stage_total", "stages")


class StageTimeline:
    """The stages of one run, in order; changes the run's attributes and writes nothing itself."""

    def __init__(self, run: IngestionRun) -> None:
        self._run = run
        self._began = time.monotonic()
        self._resource = ""
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def begin_stage(self, name: str, resource: str = "") -> None:
        """End the stage before and begin this one, which is work on `resource` or on none."""
        self.end_stage()
        self._began, self._resource = time.monotonic(), resource
        self._run.stage, self._run.stage_done, self._run.stage_total = name, 0, 0
        stage: dict[str, Any] = {
            "name": name,
            "started_at": timezone.now().isoformat(timespec="milliseconds"),
            "seconds": None,
        }
        self._run.stages.append(stage)

    def end_stage(self) -> None:
        """The stage is over; a run that dies leaves its last one without seconds."""
        if not self._run.stages or self._run.stages[-1]["seconds"] is not None:
            return
        seconds = time.monotonic() - self._began
        self._run.stages[-1]["seconds"] = round(seconds, 3)
        self._seconds[self._resource] += seconds

    def set_progress(self, done: int, total: int) -> None:
        """Rows done in this stage, of how many."""
        self._run.stage_done, self._run.stage_total = done, total

    def seconds_of(self, resource: str) -> float | None:
        """How long the ended stages of a resource took; None if none did."""
        return self._seconds.get(resource)
