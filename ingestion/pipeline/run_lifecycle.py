"""The run's row: the lock that lets one run work at a time, its heartbeat and its end.

The lock is the running row itself (a partial UNIQUE allows one). It belongs to a process; a run whose
process is gone, or whose heart has not beaten for `LEASE`, is marked abandoned by the next one.
"""

from datetime import timedelta
from typing import Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from ingestion.jobs.lock import abandon_dead_job, find_running, lock_owner
from ingestion.models import IngestionRun

# Longer than a missed slot is caught up for.
RESUMABLE_FOR: Final = timedelta(days=1)


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


def start_run(
    *, trigger: str, slot: str = "", dry_run: bool = False, accept_reset: bool = False
) -> IngestionRun:
    """Take the lock.

    Raises:
        AlreadyRunning: a living run holds it.
        SlotTaken: the slot has had its run.
    """
    now = timezone.now()
    try:
        with transaction.atomic():
            abandon_dead_job(IngestionRun, now)
            return IngestionRun.objects.create(
                trigger=trigger, slot=slot, dry_run=dry_run, accept_reset=accept_reset,
                started_at=now, heartbeat_at=now, **lock_owner(),
            )  # fmt: skip
    except IntegrityError:
        taken = slot and IngestionRun.objects.filter(slot=slot).exclude(status="abandoned").first()
        if taken:
            raise SlotTaken(taken) from None
        at_work = find_running(IngestionRun)
        if at_work is None:
            raise
        raise AlreadyRunning(at_work) from None


def require_idle() -> None:
    """Called inside a transaction that writes the catalogue without being a run.

    Raises:
        AlreadyRunning: a living run holds the lock.
    """
    abandon_dead_job(IngestionRun, timezone.now())
    at_work = find_running(IngestionRun)
    if at_work is not None:
        raise AlreadyRunning(at_work)


def find_predecessor(run: IngestionRun) -> IngestionRun | None:
    """The dead run whose staged pages this one may take up: the last one of the same slot."""
    last = (
        IngestionRun.objects.filter(slot=run.slot, pk__lt=run.pk, dry_run=run.dry_run).order_by("-pk").first()
    )
    return last if last is not None and last.status in {"abandoned", "failed"} else None


def resumable_run_ids() -> list[int]:
    """Dead runs whose slot may still be taken up again, and whose pages are kept for it."""
    dead = IngestionRun.objects.filter(status=IngestionRun.Status.ABANDONED).exclude(slot="")
    return list(dead.filter(started_at__gt=timezone.now() - RESUMABLE_FOR).values_list("pk", flat=True))
