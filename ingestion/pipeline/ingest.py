"""ingest(): source -> validate -> judge -> apply. A run is a success only when it is proven to be one.

The catalogue is touched only after the judge has said yes; every transaction checks that the run still
holds the lock; whatever happens, the run's row says how it ended.
"""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final

from django.db import connection, transaction
from django.utils import timezone

from ingestion.jobs.lock import at_work_on
from ingestion.jobs.resource_usage import Meter
from ingestion.models import IngestionRun, ResourceReport
from ingestion.pipeline import rejections, run_lifecycle
from ingestion.pipeline.change_detection import Change, Known, number_of
from ingestion.pipeline.quality_gate import Limits, Status, Verdict, judge
from ingestion.pipeline.resource_reader import Intake, Source
from ingestion.pipeline.run_report import TOLD, Timeline, Written, latency_of, report_on, sampled, summary
from ingestion.pipeline.staging import Staging, staging_of
from ingestion.pipeline.upsert import (
    HISTORY_TABLE,
    LISTENER_TABLE,
    SONG_TABLE,
    available_keys,
    mark_missing,
    upsert,
)
from ingestion.source.errors import SourceError
from ingestion.source.schemas import Resource

logger = logging.getLogger(__name__)

# Songs and listeners first: sessions point to both.
ORDER: Final = (SONG_TABLE, LISTENER_TABLE, HISTORY_TABLE)
EXIT_CODES: Final = {Status.SUCCEEDED: 0, Status.FAILED: 1, Status.PARTIAL: 2, Status.REFUSED: 4}
LOCKED_EXIT_CODE: Final = 3
DISK_ERRORS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
ABOUT_STAGING: Final = (
    "Pages are kept in STAGING_DIR until they are judged: it needs room, and must be writable."
)


@dataclass(frozen=True)
class Order:
    """What kind of run is wanted.

    Attributes:
        staging: the folder under which pages are kept until they are judged.
        slot: the schedule and due day; a slot runs once.
        zone: the zone of the source's times that name none.
    """

    staging: Path
    trigger: str = IngestionRun.Trigger.COMMAND
    slot: str = ""
    dry_run: bool = False
    accept_reset: bool = False
    limits: Limits = field(default_factory=Limits)
    zone: tzinfo = UTC


class Watch:
    """Follows a run; this one looks away."""

    def stage(self, run: IngestionRun, name: str) -> None:
        """A stage begins, such as "reading songs"."""

    def progress(self, done: int, total: int) -> None:
        """Rows done in this stage, of how many."""

    def change(self, resource: Resource, change: Change) -> None:
        """A dry run found a row that a real run would write."""

    def missing(self, resource: Resource, key: tuple[object, ...]) -> None:
        """A dry run found an available row that the source did not send."""


def ingest(client: Source, order: Order, watch: Watch | None = None) -> IngestionRun:
    """Bring the source's songs, listeners and listening histories in.

    Returns:
        The finished run: succeeded, partial, failed (the source's doing) or refused.

    Raises:
        AlreadyRunning: another run holds the lock.
        SlotTaken: the slot has had its run.
        Exception: what nobody foresaw; the run's row says that it failed.
    """
    run = run_lifecycle.begin(
        trigger=order.trigger, slot=order.slot, dry_run=order.dry_run, accept_reset=order.accept_reset
    )
    with at_work_on(run=run.pk):
        logger.info("run_started run=%s trigger=%s slot=%s", run.pk, run.trigger, run.slot or "-")
        job = _Job(run, order, watch or Watch())
        with job.ending():
            job.read(client)
            job.judge_and_apply()
        run.refresh_from_db()
        logger.info("run_finished run=%s status=%s rows=%s", run.pk, run.status, run.received)
    return run


class _Job:
    """One run at work."""

    def __init__(self, run: IngestionRun, order: Order, watch: Watch) -> None:
        self.run, self.order, self.watch = run, order, watch
        self.meter = Meter()
        self.heart = run_lifecycle.Heart(run, TOLD)
        self.timeline = Timeline(run)
        self.staging = Staging(order.staging)  # until `read` has found the run's own
        self.known = Known()
        self.intakes: list[Intake] = []
        self.written: dict[Resource, Written] = {}

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Whatever happens inside, the run's row says how it ended; pages of a failed run are kept."""
        try:
            yield
        except run_lifecycle.RunLost:
            raise
        except SourceError as error:
            self._finish(Verdict(Status.FAILED, error.kind, str(error)))
        except BaseException as error:
            # A connection that broke is what may have ended the run; its end needs a new one.
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            self._finish(_verdict_on(error))
            if not _is_of_the_disk(error):
                raise
        else:
            self.staging.discard()
        finally:
            for intake in self.intakes:
                intake.close()
            self.staging.close()

    def read(self, client: Source) -> None:
        self.staging = staging_of(self.run, self.order.staging)
        for table in ORDER:
            spool = self.staging.spool(table.schema.resource)
            intake = Intake(table, spool, self.known, self.order.zone, self._tick, self._progress)
            self.intakes.append(intake)
            intake.begin(client)
        for intake in self.intakes:
            self._stage("reading", intake)
            intake.read()

    def judge_and_apply(self) -> None:
        self._stage("judging")
        assessments = [intake.assess() for intake in self.intakes]
        verdict = judge(assessments, self.order.limits, accept_reset=self.order.accept_reset)
        if self.order.dry_run:
            self._show_changes()
        elif not verdict.is_refusal:
            for intake in self.intakes:
                self._apply(intake, whole=verdict.status == Status.SUCCEEDED)
            self._stage("replaying refused rows")
            rejections.replay(self.order.zone, self._guard, reason=rejections.UNKNOWN_USER)
        self._finish(verdict)

    def _apply(self, intake: Intake, *, whole: bool) -> None:
        resource = intake.table.schema.resource
        self._stage("writing", intake)
        written = self.written[resource] = Written()
        records = self._counted(intake, written)
        written.rows = upsert(intake.table, records, self._guard, into_empty=intake.landing.into_empty)
        newest = (moment for landed in intake.landing.pages.values() for moment in landed.newest)
        written.latency = latency_of(newest, timezone.now())
        rejections.keep(self.run, resource, intake.landing.refusals(), self._guard)
        if whole:
            rejections.settle(self.run, resource)
            self._mark_missing(intake)

    def _mark_missing(self, intake: Intake) -> None:
        if not intake.missing:
            return
        seen = intake.landing.seen()
        mark_missing(
            intake.table, self.run, lambda key: number_of(key) in seen, self._guard,
            at_once=self.order.accept_reset,
        )  # fmt: skip

    def _counted(self, intake: Intake, written: Written) -> Iterator[tuple[object, ...]]:
        total = intake.sum("new") + intake.sum("changed")
        changes = sampled(intake.table, intake.landing.changes(), written.sample)
        for done, change in enumerate(changes, 1):
            yield change.record
            if done % 1_000 == 0:
                self._tick()
                self._progress(done, total)

    def _show_changes(self) -> None:
        for intake in self.intakes:
            resource = intake.table.schema.resource
            for change in intake.landing.changes():
                self.watch.change(resource, change)
            seen = intake.landing.seen() if intake.missing else set()
            for _, key in available_keys(intake.table) if intake.missing else ():
                if number_of(key) not in seen:
                    self.watch.missing(resource, key)

    def _finish(self, verdict: Verdict) -> None:
        """Write the reports and the run's end together."""
        self.meter.sample()
        self.timeline.end()
        reports = [self._report(intake) for intake in self.intakes]
        names = ("received", "new", "changed", "unchanged", "rejected", "missing", "bytes")
        totals = {name: sum(getattr(report, name) for report in reports) for name in names}
        with transaction.atomic():
            ResourceReport.objects.bulk_create(reports)
            run_lifecycle.finish(
                self.run, verdict.status, **totals, stages=self.run.stages,
                error_kind=verdict.kind, error=verdict.reason,
                summary=summary(reports) if totals["received"] or verdict.status != Status.FAILED else "",
                new_catalogue=verdict.new_catalogue and not self.order.dry_run,
                cpu_seconds=self.meter.cpu_seconds, peak_memory=self.meter.peak_memory,
                rows_per_second=totals["received"] / max(self.meter.seconds, 1e-9),
            )  # fmt: skip

    def _report(self, intake: Intake) -> ResourceReport:
        resource = intake.table.schema.resource
        written = self.written.get(resource, Written())
        return report_on(self.run, intake, written, self.timeline.seconds_of(resource))

    def _stage(self, name: str, intake: Intake | None = None) -> None:
        resource = intake.table.schema.resource if intake else ""
        self.timeline.begin(f"{name} {resource.replace('_', ' ')}".rstrip(), resource)
        self.heart.beat_now()
        self.watch.stage(self.run, self.run.stage)

    def _progress(self, done: int, total: int) -> None:
        self.timeline.progress(done, total)
        self.watch.progress(done, total)

    def _tick(self) -> None:
        self.heart.beat()
        self.meter.sample()

    def _guard(self) -> None:
        self.heart.beat_now()


def _is_of_the_disk(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in DISK_ERRORS


def _verdict_on(error: BaseException) -> Verdict:
    """What a run that ended so is called."""
    if _is_of_the_disk(error):
        return Verdict(Status.FAILED, "staging", f"{error}. {ABOUT_STAGING}")
    name = type(error).__name__
    return Verdict(Status.FAILED, name, f"{name}: {first_line(error)}".removesuffix(": "))


def first_line(error: BaseException) -> str:
    """What an error says, without what follows: PostgreSQL names the row there, which may hold an e-mail."""
    return str(error).partition("\n")[0]
