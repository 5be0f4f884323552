"""Starts a run: its row is the lock that lets one run work at a time.

The next run abandons a run whose process has ended, or whose heartbeat is too old.
"""

from django.db import IntegrityError, transaction
from django.utils import timezone

from ingestion.english import english_label
from ingestion.jobs.lock import abandon_dead_job, find_running, lock_owner
from ingestion.models import IngestionRun


class AlreadyRunning(Exception):
    def __init__(self, run: IngestionRun) -> None:
        super().__init__(
            f"Run {run.pk} holds the lock since {run.started_at:%Y-%m-%d %H:%M:%S} UTC "
            f"(process {run.pid} on {run.host}, started by {english_label(run, 'trigger').lower()}, "
            f"now {run.stage or 'starting'})."
        )
        self.run = run


class SlotTaken(Exception):
    def __init__(self, run: IngestionRun) -> None:
        super().__init__(f"Slot {run.slot} was run {run.pk}, which {english_label(run, 'status').lower()}.")
        self.run = run


def start_run(
    *, trigger: str, slot: str = "", dry_run: bool = False, accept_reset: bool = False
) -> IngestionRun:
    """Create the run's row, which takes the lock.

    Raises:
        AlreadyRunning: another run is in progress.
        SlotTaken: the slot already has a run.
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
        settled = IngestionRun.objects.filter(slot=slot, status__in=("succeeded", "refused"))
        taken = slot and settled.first()
        if taken:
            raise SlotTaken(taken) from None
        at_work = find_running(IngestionRun)
        if at_work is None:
            raise
        raise AlreadyRunning(at_work) from None


def require_idle() -> None:
    abandon_dead_job(IngestionRun, timezone.now())
    at_work = find_running(IngestionRun)
    if at_work is not None:
        raise AlreadyRunning(at_work)


def find_crashed_attempt(run: IngestionRun) -> IngestionRun | None:
    """The run just before this one if it belongs to the same slot and crashed; else None.

    After any other run, the crashed run's pages may be older than the catalogue.
    """
    last = IngestionRun.objects.filter(pk__lt=run.pk, dry_run=False).order_by("-pk").first()
    if last is None or not run.slot or last.slot != run.slot:
        return None
    return last if last.status == IngestionRun.Status.ABANDONED else None
