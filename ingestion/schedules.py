"""Decides when runs are due: the ingestion's Beat entry, its slots, and the catch-up of a missed slot.

`SCHEDULED_TIME` creates and moves the entry, unless a person has edited it. A slot is one due time of the
entry. It gets one run, even if Beat, the broker, the catch-up and the foreground scheduler all start it;
only a crashed or failed run is repeated.
"""

import json
import logging
from collections.abc import Callable
from datetime import datetime, time, timedelta
from functools import lru_cache
from threading import Event
from typing import Any, Final, NamedTuple

from django.db import close_old_connections, transaction
from django.db.models import Q
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks

from ingestion import due_times
from ingestion.jobs.heartbeats import record_heartbeat
from ingestion.models import Heartbeat, IngestionRun
from ingestion.pipeline.run_lifecycle import AlreadyRunning, SlotTaken

logger = logging.getLogger(__name__)

DAILY_ENTRY: Final = "Ingest the source every day"
CATCH_UP_ENTRY: Final = "Catch up on a missed ingestion"
INGEST_TASK: Final = "ingestion.tasks.ingest_due"
CATCH_UP_WITHIN: Final = timedelta(hours=12)
# A crashed run is restarted at once, but only this often.
MAX_CRASHES_PER_SLOT: Final = 3
# A failed run is restarted after these pauses, counted from the end of each failure.
RETRY_PAUSES: Final = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=3))
POLL_INTERVAL: Final = 30.0  # seconds

Status = IngestionRun.Status
IngestSlot = Callable[[str], IngestionRun]
OnTick = Callable[[datetime], object]


class DueSlot(NamedTuple):
    """A slot's name and when it was due, in UTC."""

    slot: str
    at: datetime
    old_slot: str  # its name in earlier releases, which had one slot a day

    def runs(self) -> Q:
        return Q(slot=self.slot) | Q(slot=self.old_slot, started_at__gte=self.at)


# Beat entries that run every minute: name (stored, so never renamed), task, description.
MINUTELY_ENTRIES: Final = (
    (CATCH_UP_ENTRY, INGEST_TASK, "Starts a due run that has not started, if it is less than 12 hours late."),
    ("Give a sign of life every minute", "ingestion.tasks.pulse",
     "Records a worker's heartbeat; the watchdog reports if there is none."),
    ("Look after the service every minute", "ingestion.tasks.watch",
     "The watchdog: runs the health checks and sends the alerts."),
)  # fmt: skip
# The watchdog reports a stopped worker if these do not run for five minutes.
HEARTBEAT_ENTRIES: Final = ("Give a sign of life every minute", "Look after the service every minute")
CLEANUP_ENTRY: Final = "Forget what is old every day"
# After the daily run at its default time, and before the weekly training.
CLEANUP_TIME: Final = ("3", "30")


def sync_timetable(scheduled_time: time, time_zone: str) -> None:
    """Create the daily entry, or move it to `SCHEDULED_TIME`, unless a person has edited it."""
    wanted = f"{scheduled_time:%H:%M} {time_zone}"
    crontab = find_or_create_schedule(
        CrontabSchedule, minute=str(scheduled_time.minute), hour=str(scheduled_time.hour), day_of_week="*",
        day_of_month="*", month_of_year="*", timezone=time_zone,
    )  # fmt: skip
    with transaction.atomic():
        entry, is_new = PeriodicTask.objects.select_for_update().get_or_create(
            name=DAILY_ENTRY,
            defaults={
                "task": INGEST_TASK,
                "crontab": crontab,
                "description": _entry_description(wanted),
                "start_time": timezone.now(),
            },
        )
        _create_fixed_entries(time_zone)
        if is_new or _describe_schedule(entry) == wanted:
            return
        if entry.description != _entry_description(_describe_schedule(entry)):
            logger.info(
                "schedule_kept entry=%r runs=%r scheduled_time=%r reason='edited in the admin'",
                DAILY_ENTRY, _describe_schedule(entry), wanted,
            )  # fmt: skip
            return
        entry.crontab, entry.description, entry.start_time = (
            crontab,
            _entry_description(wanted),
            timezone.now(),
        )
        entry.save()
        logger.info("schedule_moved entry=%r to=%r", DAILY_ENTRY, wanted)


def run_due_slot(ingest: IngestSlot, now: datetime) -> IngestionRun | None:
    """Run the slot that is due, if any; `ingest` runs the slot with the given name."""
    slot = due_slot(now)
    if slot is None:
        return None
    try:
        return ingest(slot)
    except (AlreadyRunning, SlotTaken) as busy:
        logger.info("slot_not_started slot=%s reason=%r", slot, str(busy))
        return None


def due_slot(now: datetime) -> str | None:
    """The slot that should run now, for the first time or again."""
    due = last_due_slot(now)
    if due is None:
        return None
    attempt_at = _next_attempt_at(due)
    if attempt_at is None or attempt_at > now:
        return None
    if now - due.at > CATCH_UP_WITHIN:
        if attempt_at == due.at:
            _log_missed(due.slot, due.at)
        return None
    return due.slot


def _next_attempt_at(due: DueSlot) -> datetime | None:
    runs = list(IngestionRun.objects.filter(due.runs()).order_by("pk"))
    if not runs:
        return due.at
    last = runs[-1]
    crashes = sum(run.status == Status.ABANDONED for run in runs)
    # Stops are not counted, because a person or a deployment stopped the run; it had no fault.
    if last.status in {Status.ABANDONED, Status.RUNNING, Status.STOPPED}:
        return due.at if crashes < MAX_CRASHES_PER_SLOT else None
    failures = sum(run.may_be_repeated for run in runs)
    if not last.may_be_repeated or last.finished_at is None or failures > len(RETRY_PAUSES):
        return None
    return last.finished_at + RETRY_PAUSES[failures - 1]


def last_due_slot(now: datetime) -> DueSlot | None:
    """The latest slot up to now; None if the entry is disabled or was not due since its last change."""
    entry = _enabled_entry()
    at = None if entry is None else due_times.last_due_at(entry, now)
    if entry is None or at is None:
        return None
    return DueSlot(due_times.slot_name(entry, at), at, due_times.old_slot_name(entry, at))


def next_due(now: datetime) -> datetime | None:
    """When the next slot or retry is due, in UTC; None if the entry is disabled or never due."""
    entry = _enabled_entry()
    if entry is None:
        return None
    last = last_due_slot(now)
    times = (due_times.next_due_at(entry, now), _next_attempt_at(last) if last else None)
    return min((due for due in times if due is not None and due > now), default=None)


def start_new_slots(now: datetime, **schedule: Any) -> None:
    """Count the ingestion's slots from now on, because its schedule has been edited.

    Otherwise the new schedule's last due time before the edit would count as missed.

    Args:
        schedule: what was edited, as `crontab=`, `interval=` or the entry's `pk=`. Other entries are ignored.
    """
    if PeriodicTask.objects.filter(name=DAILY_ENTRY, **schedule).update(start_time=now):
        PeriodicTasks.update_changed()


def is_daily_entry_disabled() -> bool:
    return bool(PeriodicTask.objects.filter(name=DAILY_ENTRY, enabled=False).exists())


def run_scheduler(
    ingest: IngestSlot,
    stop: Event,
    clock: Callable[[], datetime] = timezone.now,
    on_tick: OnTick = lambda now: None,
) -> None:
    """Foreground scheduler: start due slots until `stop` is set; no exception ends it.

    Args:
        on_tick: called after every poll.
    """
    while not stop.is_set():
        try:
            # Otherwise the thread would keep a connection that the server has closed.
            close_old_connections()
            record_heartbeat(Heartbeat.Part.SCHEDULER, clock())
            run_due_slot(ingest, clock())
            on_tick(clock())
        except Exception:
            logger.exception("run_raised reason='the scheduler continues'")
        stop.wait(POLL_INTERVAL)


@lru_cache(maxsize=8)
def _log_missed(slot: str, due: datetime) -> None:
    logger.warning("slot_missed slot=%s due=%s late_hours_allowed=12", slot, due.isoformat())


def _enabled_entry() -> PeriodicTask | None:
    entries = PeriodicTask.objects.filter(name=DAILY_ENTRY, enabled=True)
    entry: PeriodicTask | None = entries.select_related("crontab", "interval").first()
    return entry


def _create_fixed_entries(time_zone: str) -> None:
    every = find_or_create_schedule(IntervalSchedule, every=1, period=IntervalSchedule.MINUTES)
    for name, task, description in MINUTELY_ENTRIES:
        # A task that waited for a minute is dropped, because the next one replaces it.
        PeriodicTask.objects.get_or_create(
            name=name,
            defaults={
                "task": task, "interval": every, "expire_seconds": 60, "kwargs": json.dumps({}),
                "description": description,
            },
        )  # fmt: skip
    hour, minute = CLEANUP_TIME
    daily = find_or_create_schedule(
        CrontabSchedule, minute=minute, hour=hour, day_of_week="*", day_of_month="*", month_of_year="*",
        timezone=time_zone,
    )  # fmt: skip
    PeriodicTask.objects.get_or_create(
        name=CLEANUP_ENTRY,
        defaults={
            "task": "ingestion.tasks.forget_old", "crontab": daily, "expire_seconds": 12 * 3600,
            "description": "Deletes runs, resolved incidents and other closed rows past their retention.",
        },
    )  # fmt: skip


def find_or_create_schedule(schedule: Any, **fields: Any) -> Any:
    """The schedule with these fields; `get_or_create` would fail if a person has created it twice."""
    return schedule.objects.filter(**fields).first() or schedule.objects.create(**fields)


def _entry_description(says: str) -> str:
    # Compared with the stored text to detect an edit: a new wording would make every entry look edited.
    return f"Set by SCHEDULED_TIME to {says}. Edit the schedule here and it stays as you set it."


def _describe_schedule(entry: PeriodicTask) -> str:
    crontab = entry.crontab
    if crontab is None:
        return str(entry.scheduler)
    rest = (crontab.day_of_week, crontab.day_of_month, crontab.month_of_year)
    if crontab.hour.isdigit() and crontab.minute.isdigit() and rest == ("*", "*", "*"):
        return f"{int(crontab.hour):02}:{int(crontab.minute):02} {crontab.timezone}"
    return str(crontab)
