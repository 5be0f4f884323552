"""Did the run that was due start, and does the one that started come to an end?"""

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Max, Q

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.jobs import lock
from ingestion.jobs.heartbeats import is_silent, latest_heartbeats
from ingestion.models import Heartbeat, IngestionRun
from ingestion.schedules import DueSlot, last_due_slot, next_due

NOT_STARTED: Final = "run_not_started"
NOT_FINISHED: Final = "run_not_finished"
STARTERS: Final = (Heartbeat.Part.BEAT, Heartbeat.Part.SCHEDULER)
# A trial run and an import of old data bring no day's data in.
DAILY_RUNS: Final = Q(dry_run=False) & ~Q(trigger=IngestionRun.Trigger.LEGACY)


def runs_started(now: datetime, grace: timedelta) -> None:
    """Report a run that was due `grace` ago and has not started; a later one, also by hand, ends it.

    Nothing is due where the timetable has no entry, or a person has switched it off. While another run holds
    the lock, and where the machine was off, the grace begins when the run could have started.
    """
    due = last_due_slot(now - grace)
    started = due and _run_for_slot(due)
    if due is None or started:
        incidents.resolve(NOT_STARTED, now, run_id=started.pk if started else None)
        return
    alive = latest_heartbeats()
    if lock.find_running(IngestionRun) or now < _earliest_possible_start(due, alive, now) + grace:
        return
    coming = next_due(now)
    facts = {
        "due_at": due.at.isoformat(),
        "slot": due.slot,
        "reason": _why_not_started(alive, now),
        "limit_minutes": grace.total_seconds() / 60,
    }
    if coming is not None:
        facts["next_due_at"] = coming.isoformat()
    incidents.open_or_update(Condition(NOT_STARTED, NOT_STARTED, Severity.CRITICAL, facts), now)


def runs_finished(now: datetime, longest: timedelta) -> None:
    """Report a run that is at work for longer than that; one that has died is marked abandoned at once."""
    with transaction.atomic():
        lock.abandon_dead_job(IngestionRun, now)
    run = lock.find_running(IngestionRun)
    if run is None or now - run.started_at <= longest:
        ended = IngestionRun.objects.exclude(status=IngestionRun.Status.RUNNING).first()
        incidents.resolve(NOT_FINISHED, now, run_id=ended.pk if ended else None)
        return
    facts = {
        "run": run.pk,
        "started_at": run.started_at.isoformat(),
        "running_seconds": (now - run.started_at).total_seconds(),
        "limit_minutes": longest.total_seconds() / 60,
        "heartbeat_at": run.heartbeat_at.isoformat(),
        "stage": run.stage,
        "reason": "too_long",
    }
    incidents.open_or_update(Condition(NOT_FINISHED, NOT_FINISHED, Severity.CRITICAL, facts, run.pk), now)


def _run_for_slot(due: DueSlot) -> IngestionRun | None:
    """The run of this slot, or else the first one after it was due."""
    runs = IngestionRun.objects.filter(DAILY_RUNS & Q(started_at__gte=due.at) | Q(slot=due.slot))
    return runs.order_by("pk").first()


def _earliest_possible_start(due: DueSlot, alive: dict[str, Heartbeat], now: datetime) -> datetime:
    """When nothing stood in the run's way any more: no other run, and somebody there to start it."""
    held = IngestionRun.objects.filter(started_at__lt=due.at, finished_at__gt=due.at)
    moments: list[datetime] = [due.at, held.aggregate(at=Max("finished_at"))["at"] or due.at]
    # Only of those who live: a scheduler that came too late and died again excuses nothing.
    living = [alive[part].since for part in STARTERS if not is_silent(alive.get(part), now)]
    moments += [min(living)] if living else []
    return max(moments)


def _why_not_started(alive: dict[str, Heartbeat], now: datetime) -> str:
    starters = [alive[part] for part in STARTERS if part in alive]
    last = max(starters, key=lambda pulse: pulse.at, default=None)
    if last is not None and last.part == Heartbeat.Part.SCHEDULER:
        return "scheduler_dead" if is_silent(last, now) else "not_taken"
    if is_silent(last, now):
        return "beat_dead"
    return "worker_gone" if is_silent(alive.get(Heartbeat.Part.WORKER), now) else "not_taken"
