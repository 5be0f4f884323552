"""The run's row: the lock that lets one run work at a time, its heartbeat and its end.

The lock is the running row itself (a partial UNIQUE allows one). It belongs to a process; a run whose
process is gone, or whose heart has not beaten for `LEASE`, is marked abandoned by the next one.
"""

import os
import socket
import time
from datetime import datetime, timedelta
from typing import Any, Final

import psutil
from django.db import IntegrityError, transaction
from django.utils import timezone

from ingestion.models import IngestionRun

LEASE: Final = timedelta(minutes=5)
BEAT_EVERY: Final = 5.0  # seconds
# Longer than a missed slot is caught up for.
KEPT: Final = timedelta(days=1)


class AlreadyRunning(Exception):
    """Another run holds the lock."""

    def __init__(self, run: IngestionRun) -> None:
        super().__init__(
            f"Run {run.pk} holds the lock since {run.started_at:%Y-%m-%d %H:%M:%S} UTC "
            f"(process {run.pid} on {run.host}, started by {run.get_trigger_display()}, "
            f"now {run.stage or 'starting'})."
        )
        self.run = run


class SlotTaken(Exception):
    """This slot has had its run."""

    def __init__(self, run: IngestionRun) -> None:
        super().__init__(f"Slot {run.slot} was run {run.pk}, which {run.get_status_display()}.")
        self.run = run


class RunLost(Exception):
    """This run was marked abandoned by another one, and must write nothing more."""


def begin(*, trigger: str, slot: str = "", dry_run: bool = False, accept_reset: bool = False) -> IngestionRun:
    """Take the lock.

    Raises:
        AlreadyRunning: a living run holds it.
        SlotTaken: the slot has had its run.
    """
    now = timezone.now()
    try:
        with transaction.atomic():
            _abandon_dead_run(now)
            return IngestionRun.objects.create(
                trigger=trigger, slot=slot, dry_run=dry_run, accept_reset=accept_reset,
                started_at=now, heartbeat_at=now, host=socket.gethostname(), pid=os.getpid(),
                process_started=psutil.Process().create_time(),
            )  # fmt: skip
    except IntegrityError:
        taken = slot and IngestionRun.objects.filter(slot=slot).exclude(status="abandoned").first()
        if taken:
            raise SlotTaken(taken) from None
        running = IngestionRun.objects.filter(status=IngestionRun.Status.RUNNING).first()
        if running is None:
            raise
        raise AlreadyRunning(running) from None


def require_idle() -> None:
    """Called inside a transaction that writes the catalogue without being a run.

    Raises:
        AlreadyRunning: a living run holds the lock.
    """
    _abandon_dead_run(timezone.now())
    running = IngestionRun.objects.filter(status=IngestionRun.Status.RUNNING).first()
    if running is not None:
        raise AlreadyRunning(running)


def predecessor(run: IngestionRun) -> IngestionRun | None:
    """The dead run whose staged pages this one may take up: the last one of the same slot."""
    last = (
        IngestionRun.objects.filter(slot=run.slot, pk__lt=run.pk, dry_run=run.dry_run).order_by("-pk").first()
    )
    return last if last is not None and last.status in {"abandoned", "failed"} else None


def resumable() -> list[int]:
    """Dead runs whose slot may still be taken up again, and whose pages are kept for it."""
    dead = IngestionRun.objects.filter(status=IngestionRun.Status.ABANDONED).exclude(slot="")
    return list(dead.filter(started_at__gt=timezone.now() - KEPT).values_list("pk", flat=True))


class Heart:
    """Beats for a run, and learns when the run is no longer ours."""

    def __init__(self, run: IngestionRun) -> None:
        self._run = run
        self._beaten = time.monotonic()

    def beat(self) -> None:
        """Write the heartbeat if the last one is some seconds old.

        Raises:
            RunLost: another run has taken over.
        """
        if time.monotonic() - self._beaten >= BEAT_EVERY:
            self.beat_now()

    def beat_now(self) -> None:
        """Write the heartbeat; inside a transaction this also keeps others from taking over until its end."""
        alive = IngestionRun.objects.filter(pk=self._run.pk, status=IngestionRun.Status.RUNNING)
        if not alive.update(heartbeat_at=timezone.now(), stage=self._run.stage):
            raise RunLost(f"Run {self._run.pk} was taken for dead and abandoned; it stops here.")
        self._beaten = time.monotonic()


def finish(run: IngestionRun, status: str, **fields: Any) -> None:
    """End a run.

    Raises:
        RunLost: another run has taken over.
    """
    run.status, run.finished_at, run.stage = status, timezone.now(), ""
    for name, value in fields.items():
        setattr(run, name, value)
    values = {name: getattr(run, name) for name in ("status", "finished_at", "stage", *fields)}
    if not IngestionRun.objects.filter(pk=run.pk, status=IngestionRun.Status.RUNNING).update(**values):
        raise RunLost(f"Run {run.pk} was taken for dead and abandoned; its end was not written.")


def _abandon_dead_run(now: datetime) -> None:
    running = IngestionRun.objects.select_for_update().filter(status=IngestionRun.Status.RUNNING).first()
    if running is None or (running.heartbeat_at > now - LEASE and _process_lives(running)):
        return
    last = f"{running.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
    IngestionRun.objects.filter(pk=running.pk).update(
        status=IngestionRun.Status.ABANDONED,
        finished_at=now,
        error_kind="abandoned",
        error=f"Its process ended without a word; its last heartbeat was at {last}, while it was "
        f"{running.stage or 'starting'}.",
    )


def _process_lives(run: IngestionRun) -> bool:
    """Whether the run's process may still be there; on another machine nobody can tell."""
    if run.host != socket.gethostname():
        return True
    try:
        process = psutil.Process(run.pid)
        same = abs(process.create_time() - run.process_started) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
