"""The report of a run: counts, latency, a sample of the changes, the duration of each stage."""

import time
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import models
from django.utils import timezone

from ingestion.english import english_label
from ingestion.models import IngestionRun, ResourceReport
from ingestion.pipeline.change_detection import RowChange
from ingestion.pipeline.compact.selection import nth_smallest
from ingestion.pipeline.resource_reader import ResourceReader
from ingestion.pipeline.upsert import MirroredTable
from ingestion.source.schemas import Record, Resource


class Latency(NamedTuple):
    """Data latency of a run's written rows: seconds from a row's last change at the source to its commit.

    All None if no row was written.
    """

    p50: float | None
    p95: float | None
    longest: float | None


NO_LATENCY: Final = Latency(None, None, None)


def compute_latency(newest: "array[float]", committed_at: datetime) -> Latency:
    """The latency's median, 95th percentile and maximum.

    Args:
        newest: max(created_at, updated_at) of each written row, in seconds since 1970.
    """
    if not newest:
        return NO_LATENCY
    last, at = len(newest) - 1, committed_at.timestamp()
    # The longest waits are those of the oldest rows.
    p50, p95 = (at - nth_smallest(newest, last - place) for place in (last // 2, int(last * 0.95)))
    return Latency(p50, p95, at - min(newest))


# A report shows a few examples; a dry run prints every change.
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


# The largest values of the columns: a source may report any total.
LARGEST_COUNTS: Final = {"total": 2**63 - 1, "bytes": 2**63 - 1, "pages": 2**31 - 1, "shifts": 2**31 - 1}


@dataclass
class WriteResult:
    rows: int = 0
    latency: Latency = NO_LATENCY
    sample: list[dict[str, Any]] = field(default_factory=list)


def build_report(
    run: IngestionRun, reader: ResourceReader, written: WriteResult, seconds: float | None
) -> ResourceReport:
    """The unsaved report of a resource; values that exceed a column's range are cut to it."""
    report = ResourceReport(
        run=run, resource=reader.table.schema.resource, written=written.rows,
        missing=reader.missing - len(reader.expired), expired=len(reader.expired),
        unknown_fields=reader.unknown_fields(), latency_p50=written.latency.p50,
        latency_p95=written.latency.p95, latency_max=written.latency.longest, seconds=seconds,
        sample=written.sample, same_key=reader.detector.same_key,
        is_backfill=_is_first_load(run, reader.table.schema.resource),
        read_at=datetime.fromisoformat(reader.stats.read_at) if reader.stats.read_at else None,
        corrections=reader.corrections(), future_times=reader.count_rows("future_times"),
        rejection_reasons=[
            {"field": name, "reason": reason, "rows": rows}
            for name, reason, rows in reader.rejection_reasons()
        ],
        **{name: reader.count_rows(name) for name in COUNT_FIELDS},
        **{name: getattr(reader.stats, name) for name in READ_STAT_FIELDS},
    )  # fmt: skip
    for name, largest in LARGEST_COUNTS.items():
        setattr(report, name, min(getattr(report, name), largest))
    return report


def _is_first_load(run: IngestionRun, resource: str) -> bool:
    earlier = IngestionRun.objects.applied().filter(pk__lt=run.pk, reports__resource=resource)
    return run.accept_reset or not earlier.exists()


def sample_changes(
    table: MirroredTable, changes: Iterator[RowChange], sample: list[dict[str, Any]]
) -> Iterator[RowChange]:
    """Yield all changes; add changed fields of the first rows to `sample`, one entry a field."""
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
    return "; ".join(", ".join((_summarize_counts(one), *_notes(one))) for one in reports)


def _summarize_counts(one: ResourceReport) -> str:
    return (
        f"{_format_count(one.received)} {english_label(one, 'resource')}{_as_of(one)}: "
        f"{_format_count(one.new)} new, "
        f"{_format_count(one.changed)} changed, {_format_count(one.unchanged)} unchanged, "
        f"{_format_count(one.rejected)} rejected, {_format_count(one.missing)} missing"
    )


def _notes(one: ResourceReport) -> Iterator[str]:
    if one.duplicates:
        yield f"{_format_count(one.duplicates)} sent more than once"
    if one.total != one.received:
        yield f"{_format_count(one.total)} reported by the source"
    if one.same_key:
        yield f"{_format_count(one.same_key)} share listener and time with a different session"
    if one.expired:
        yield f"{_format_count(one.expired)} expired at the source"
    if one.future_times:
        yield f"{_format_count(one.future_times)} with a time after the run"
    if one.corrections:
        counts = (f"{what} ({_format_count(rows)})" for what, rows in one.corrections.items())
        yield f"corrected: {'; '.join(counts)}"
    if one.rejection_reasons:
        yield f"rejected because {describe_reasons(one.rejection_reasons)}"


def describe_reasons(reasons: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{one['field']} {one['reason']} ({_format_count(one['rows'])})".strip() for one in reasons
    )


def describe_rejections(run: IngestionRun) -> str:
    return ". ".join(
        f"{english_label(one, 'resource')}: {describe_reasons(one.rejection_reasons)}"
        for one in run.reports.all()
        if one.rejection_reasons
    )


def _differences(table: MirroredTable, before: Record, after: Record) -> Iterator[dict[str, Any]]:
    width = table.schema.source_key_length
    key = after[0] if width == 1 else [str(part) for part in after[:width]]
    for column, old, new in zip(table.columns, before, after, strict=True):
        if old == new:
            continue
        entry: dict[str, Any] = {"key": key, "field": column}
        # Personal data of listeners is left out: reports are kept for years.
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


def _as_of(report: ResourceReport) -> str:
    return f" as of {report.read_at:%Y-%m-%d %H:%M} UTC" if report.resumed and report.read_at else ""


def _format_count(count: int) -> str:
    return f"{count:,}".replace(",", " ")


# Columns that each heartbeat saves besides its time.
HEARTBEAT_COLUMNS: Final = ("stage", "stage_done", "stage_total", "stages")


class StageTimeline:
    """Measures the stages; it changes the run's attributes and saves nothing."""

    def __init__(self, run: IngestionRun) -> None:
        self._run = run
        self._began = time.monotonic()
        self._resource = ""
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def begin_stage(self, name: str, resource: str = "") -> None:
        """Begin a stage and end the current one; `resource` is empty if the stage concerns none."""
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
        if not self._run.stages or self._run.stages[-1]["seconds"] is not None:
            return
        seconds = time.monotonic() - self._began
        self._run.stages[-1]["seconds"] = round(seconds, 3)
        self._seconds[self._resource] += seconds

    def set_progress(self, done: int, total: int) -> None:
        self._run.stage_done, self._run.stage_total = done, total

    def seconds_of(self, resource: str) -> float | None:
        return self._seconds.get(resource)
