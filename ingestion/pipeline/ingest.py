"""One ingestion run: reads the source, validates, checks the quality, and writes what changed.

The catalogue is written only after the quality gate has accepted the run. Every transaction checks that
the run still holds the lock.
"""

import errno
import logging
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta, tzinfo
from pathlib import Path
from typing import Final

from django.db import DataError, IntegrityError, connection, transaction
from django.utils import timezone

from ingestion.jobs.database_patience import with_patience
from ingestion.jobs.lock import JobHeartbeat, LockLost, add_log_context, describe_error, finish_job
from ingestion.jobs.resource_usage import ResourceMonitor
from ingestion.jobs.stop_signals import StopRequested, StopSignals, describe_stop
from ingestion.models import IngestionRun, ResourceReport
from ingestion.pipeline import rejections, run_lifecycle
from ingestion.pipeline.change_detection import KnownIds, RowChange, hash_key
from ingestion.pipeline.compact.compact_ids import CompactIds
from ingestion.pipeline.history_window import find_expired
from ingestion.pipeline.quality_gate import (
    QualityGateResult,
    QualityLimits,
    Status,
    check_quality,
    is_held,
    mark_incomplete,
)
from ingestion.pipeline.resource_reader import DataSource, ResourceReader
from ingestion.pipeline.run_log import RunLog
from ingestion.pipeline.run_report import (
    HEARTBEAT_COLUMNS,
    StageTimeline,
    WriteResult,
    build_report,
    compute_latency,
    sample_changes,
    summarize_reports,
)
from ingestion.pipeline.staging import Staging, open_staging
from ingestion.pipeline.upsert import (
    HISTORY_TABLE,
    LISTENER_TABLE,
    SONG_TABLE,
    available_keys,
    end_expired,
    mark_missing,
    upsert,
)
from ingestion.source.errors import SourceError
from ingestion.source.schemas import Resource, clean_text

logger = logging.getLogger(__name__)

# Songs and listeners first: sessions point to both.
IMPORT_ORDER: Final = (SONG_TABLE, LISTENER_TABLE, HISTORY_TABLE)
EXIT_CODES: Final = {
    Status.SUCCEEDED: 0, Status.FAILED: 1, Status.PARTIAL: 2, Status.REFUSED: 4, Status.STOPPED: 5,
}  # fmt: skip
LOCKED_EXIT_CODE: Final = 3
DISK_ERRORS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
STAGING_ADVICE: Final = (
    "STAGING_DIR holds the pages until they are checked: it needs free space and must be writable."
)


@dataclass(frozen=True)
class IngestionOptions:
    staging: Path  # folder for the pages until the quality gate has checked them
    trigger: str = IngestionRun.Trigger.COMMAND
    slot: str = ""  # the due time of the schedule; empty for a run by hand
    dry_run: bool = False
    accept_reset: bool = False
    # How long the source promises to keep a session; None if it promises nothing.
    history_retention: timedelta | None = None
    limits: QualityLimits = field(default_factory=QualityLimits)
    zone: tzinfo = UTC  # time zone of source times that have none


class IngestionProgress:
    """Callbacks for the progress of a run; this class ignores them."""

    def on_stage(self, run: IngestionRun, name: str) -> None:
        """Called when a stage begins, such as "reading songs"."""

    def on_progress(self, done: int, total: int) -> None:
        """Called with the number of rows processed in this stage, and the number expected."""

    def on_change(self, resource: Resource, change: RowChange) -> None:
        """Called if a dry run found a row that a real run would write."""

    def on_missing(self, resource: Resource, key: tuple[object, ...]) -> None:
        """Called if a dry run found an available row that the source did not send."""


def ingest(
    client: DataSource, options: IngestionOptions, callback: IngestionProgress | None = None
) -> IngestionRun:
    """Import songs, listeners and listening histories from the source.

    Returns:
        The finished run: succeeded, partial, refused, failed because of the source, or stopped by a signal.

    Raises:
        AlreadyRunning: another run is in progress.
        SlotTaken: the slot already has a run.
        Exception: any other error; the run's row says that it failed.
    """
    with StopSignals().installed() as stop:
        run = run_lifecycle.start_run(
            trigger=options.trigger, slot=options.slot,
            dry_run=options.dry_run, accept_reset=options.accept_reset,
        )  # fmt: skip
        with add_log_context(run=run.pk), RunLog(run).collecting() as log:
            logger.info("run_started run=%s trigger=%s slot=%s", run.pk, run.trigger, run.slot or "-")
            job = _IngestionJob(run, options, callback or IngestionProgress(), stop, log)
            with job.record_end():
                job.read_source(client)
                job.check_and_apply()
            with_patience(run.refresh_from_db)
            logger.info("run_finished run=%s status=%s rows=%s", run.pk, run.status, run.received)
    return run


class _IngestionJob:
    def __init__(
        self,
        run: IngestionRun,
        options: IngestionOptions,
        callback: IngestionProgress,
        stop: StopSignals,
        log: RunLog,
    ) -> None:
        self.run, self.options, self.callback, self.stop, self.log = run, options, callback, stop, log
        self.monitor = ResourceMonitor()
        self.heartbeat = JobHeartbeat(run, HEARTBEAT_COLUMNS)
        self.timeline = StageTimeline(run)
        self.staging = Staging(options.staging)  # replaced by `read_source`
        self.known_ids = KnownIds()
        self.readers: list[ResourceReader] = []
        self.written: dict[Resource, WriteResult] = {}
        # Error of each list that could not be read.
        self.failures: dict[Resource, SourceError] = {}

    @contextmanager
    def record_end(self) -> Iterator[None]:
        """Record how the block ended, and delete the staged pages."""
        try:
            with self.stop.interruptible():
                yield
        except LockLost:
            raise
        except SourceError as error:
            self._discard_pages()
            self._finish(QualityGateResult(Status.FAILED, error.kind, str(error)))
        except BaseException as error:
            # Before the end is recorded: pages that made this run fail must not make the next one fail.
            self._discard_pages()
            # The run may have ended because the connection broke; recording that needs a new one.
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            self._finish(_failure_result(error))
            if not _is_disk_error(error) and not isinstance(error, StopRequested):
                raise
        else:
            self._discard_pages()
        finally:
            self._close_readers()
            self.staging.close()

    def _discard_pages(self) -> None:
        self._close_readers()
        self.staging.discard()

    def _close_readers(self) -> None:
        for reader in self.readers:
            reader.close()

    def read_source(self, client: DataSource) -> None:
        self.staging = open_staging(self.run, self.options.staging)
        for table in IMPORT_ORDER:
            spool = self.staging.spool(table.schema.resource)
            reader = ResourceReader(
                table, spool, self.known_ids, self.options.zone, self._tick, self._progress
            )
            self.readers.append(reader)
            reader.start(client)
        for reader in self.readers:
            if self.failures and reader.table is HISTORY_TABLE:
                # Sessions need all songs and listeners, and only these two lists show a reset of the source.
                break
            self._stage("reading", reader)
            try:
                reader.read_pages()
            except SourceError as error:
                self.failures[reader.table.schema.resource] = error
            else:
                if is_held(with_patience(reader.assess), self.options.limits):
                    # Sessions must not name listeners that will not be written.
                    reader.forget_known_ids()
        if not self._complete_readers():
            raise next(iter(self.failures.values()))

    def _complete_readers(self) -> list[ResourceReader]:
        return [reader for reader in self.readers if reader.is_read]

    def check_and_apply(self) -> None:
        self._stage("judging")
        with_patience(self._find_expired)
        assessments = [with_patience(reader.assess) for reader in self._complete_readers()]
        result = check_quality(assessments, self.options.limits, accept_reset=self.options.accept_reset)
        if self.failures and not result.is_refusal:
            result = mark_incomplete(result, {name: str(error) for name, error in self.failures.items()})
        if result.status != Status.SUCCEEDED or self.options.accept_reset:
            # An incomplete run expires nothing. After --accept-reset, missing sessions count as deleted.
            self.readers[-1].expired = set()
        if self.options.dry_run:
            self._report_changes()
        elif not result.is_refusal:
            for reader in self._complete_readers():
                if reader.table.schema.resource not in result.held:
                    self._apply(reader, whole=result.status == Status.SUCCEEDED)
            if result.new_catalogue:
                end_expired(self._guard)
        self.stop.hold()
        self._finish(result)

    def _find_expired(self) -> None:
        _, listeners, history = self.readers
        if not history.missing:
            return
        history.is_window_known = self.options.history_retention is not None or (
            ResourceReport.objects.filter(resource=Resource.LISTENING_HISTORY, expired__gt=0).exists()
        )
        sent, sent_listeners = history.detector.sent_keys(), listeners.detector.sent_keys()
        history.expired = find_expired(
            available_keys(history.table),
            lambda key: hash_key(key) in sent,
            sent_listeners.__contains__,
            retention=self.options.history_retention,
            is_window_known=history.is_window_known,
            now=self.run.started_at,
        )

    def _apply(self, reader: ResourceReader, *, whole: bool) -> None:
        resource = reader.table.schema.resource
        self._stage("writing", reader)
        written = self.written[resource] = WriteResult()
        times = array("d")
        records = self._records_to_write(reader, written, times)
        written.rows = upsert(reader.table, records, self._guard, into_empty=reader.detector.into_empty)
        written.latency = compute_latency(times, timezone.now())
        with_patience(lambda: self._apply_rejections_and_gaps(reader, whole=whole))

    def _apply_rejections_and_gaps(self, reader: ResourceReader, *, whole: bool) -> None:
        resource = reader.table.schema.resource
        rejections.save_rejected_rows(self.run, resource, reader.detector.read_rejected_rows(), self._guard)
        if whole:
            if reader.table is HISTORY_TABLE:
                rejections.settle_waiting(self.run, self.options.zone)
            rejections.close_unsent(self.run, resource)
            self._mark_missing(reader)

    def _mark_missing(self, reader: ResourceReader) -> None:
        if not reader.missing:
            return
        seen = reader.detector.sent_keys()
        mark_missing(
            reader.table, self.run, lambda key: hash_key(key) in seen, self._guard,
            at_once=self.options.accept_reset, expired=reader.expired,
        )  # fmt: skip

    def _records_to_write(
        self, reader: ResourceReader, written: WriteResult, times: "array[float]"
    ) -> Iterator[tuple[object, ...]]:
        """Yield the records; add the newest time of each new or changed one to `times`."""
        total = reader.count_rows("new") + reader.count_rows("changed")
        changes = sample_changes(reader.table, reader.detector.read_changes(), written.sample)
        for done, change in enumerate(changes, 1):
            if (newest := reader.detector.newest_time(change)) is not None:
                times.append(newest)
            yield change.record
            if done % 1_000 == 0:
                self._tick()
                self._progress(done, total)

    def _report_changes(self) -> None:
        for reader in self._complete_readers():
            resource = reader.table.schema.resource
            for change in reader.detector.read_changes():
                self.callback.on_change(resource, change)
            seen = reader.detector.sent_keys() if reader.missing else CompactIds()
            for pk, key in available_keys(reader.table) if reader.missing else ():
                if hash_key(key) not in seen and pk not in reader.expired:
                    self.callback.on_missing(resource, key)

    def _finish(self, result: QualityGateResult) -> None:
        self.monitor.sample()
        self.timeline.end_stage()
        with_patience(lambda: self._write_end(result))

    def _write_end(self, result: QualityGateResult) -> None:
        reports = [self._report(reader) for reader in self.readers]
        try:
            self._save_end(result, reports)
        except (DataError, IntegrityError, ValueError, OverflowError) as error:
            # The run's end must be saved even if its report cannot be.
            logger.exception("report_not_saved run=%s", self.run.pk)
            status = Status.PARTIAL if result.status == Status.SUCCEEDED else result.status
            reason = f"{result.reason} The report could not be saved ({type(error).__name__}).".strip()
            self._save_end(replace(result, status=status, kind=result.kind or "report", reason=reason), [])

    def _save_end(self, result: QualityGateResult, reports: list[ResourceReport]) -> None:
        names = ("received", "new", "changed", "unchanged", "rejected", "missing", "bytes")
        totals = {name: sum(getattr(report, name) for report in reports) for name in names}
        with transaction.atomic():
            ResourceReport.objects.bulk_create(reports)
            finish_job(
                self.run,
                result.status,
                **totals,
                stages=self.run.stages,
                error_kind=result.kind,
                error=clean_text(result.reason),
                summary=summarize_reports(reports)
                if totals["received"] or result.status != Status.FAILED
                else "",
                # A run that wrote nothing left the catalogue as it was.
                new_catalogue=result.new_catalogue and any(one.rows for one in self.written.values()),
                cpu_seconds=self.monitor.cpu_seconds,
                peak_memory=self.monitor.peak_memory,
                rows_per_second=totals["received"] / max(self.monitor.seconds, 1e-9),
            )

    def _report(self, reader: ResourceReader) -> ResourceReport:
        resource = reader.table.schema.resource
        written = self.written.get(resource, WriteResult())
        return build_report(self.run, reader, written, self.timeline.seconds_of(resource))

    def _stage(self, name: str, reader: ResourceReader | None = None) -> None:
        resource = reader.table.schema.resource if reader else ""
        self.timeline.begin_stage(f"{name} {resource.replace('_', ' ')}".rstrip(), resource)
        self.heartbeat.try_send()
        self.callback.on_stage(self.run, self.run.stage)

    def _progress(self, done: int, total: int) -> None:
        self.timeline.set_progress(done, total)
        self.callback.on_progress(done, total)

    def _tick(self) -> None:
        self.stop.check()
        self.heartbeat.send_if_due()
        self.log.save_if_due()
        self.monitor.sample()

    def _guard(self) -> None:
        self.stop.check()
        self.heartbeat.send()


def _is_disk_error(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in DISK_ERRORS


def _failure_result(error: BaseException) -> QualityGateResult:
    if isinstance(error, StopRequested):
        return QualityGateResult(Status.STOPPED, error.kind, str(error))
    if isinstance(error, KeyboardInterrupt | SystemExit):
        kind = type(error).__name__
        return QualityGateResult(Status.STOPPED, kind, describe_stop(kind))
    if _is_disk_error(error):
        return QualityGateResult(Status.FAILED, "staging", f"{error}. {STAGING_ADVICE}")
    return QualityGateResult(Status.FAILED, type(error).__name__, describe_error(error))
