"""Watchdog checks: did a scheduled run start, and does the running one end in time?"""

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
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
# A dry run or a legacy import does not import the day's data.
DAILY_RUNS: Final = Q(dry_run=False) & ~Q(trigger=IngestionRun.Trigger.LEGACY)


def runs_started(now: datetime) -> None:
    """Report a run that has not started START_GRACE_MINUTES after it was due; any later run resolves this.

    If another run held the lock, or the machine was off, the grace period begins when the run could have
    started.
    """
    grace = timedelta(minutes=settings.START_GRACE_MINUTES)
    due = last_due_slot(now - grace)
    started = due and _run_for_slot(due)
    if due is None or started:
        incidents.resolve(NOT_STARTED, now, run_id=started.pk if started else None)
        return
    heartbeats = latest_heartbeats()
    if lock.find_running(IngestionRun) or now < _earliest_possible_start(due, heartbeats, now) + grace:
        return
    upcoming = next_due(now)
    facts = {
        "due_at": due.at.isoformat(),
        "slot": due.slot,
        "reason": _why_not_started(heartbeats, now),
        "limit_minutes": grace.total_seconds() / 60,
    }
    if upcoming is not None:
        facts["next_due_at"] = upcoming.isoformat()
    incidents.open_or_update(Condition(NOT_STARTED, NOT_STARTED, Severity.CRITICAL, facts), now)


def runs_finished(now: datetime) -> None:
    """Report a run longer than MAX_RUN_MINUTES; mark a dead one abandoned at once."""
    longest = timedelta(minutes=settings.MAX_RUN_MINUTES)
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
    runs = IngestionRun.objects.filter(DAILY_RUNS & Q(started_at__gte=due.at) | due.runs())
    return runs.order_by("pk").first()


def _earliest_possible_start(due: DueSlot, heartbeats: dict[str, Heartbeat], now: datetime) -> datetime:
    held = IngestionRun.objects.filter(started_at__lt=due.at, finished_at__gt=due.at)
    moments: list[datetime] = [due.at, held.aggregate(at=Max("finished_at"))["at"] or due.at]
    # Only live schedulers count; one that started late and died again does not excuse the missing run.
    started = [heartbeats[part].since for part in STARTERS if not is_silent(heartbeats.get(part), now)]
    moments += [min(started)] if started else []
    return max(moments)


def _why_not_started(heartbeats: dict[str, Heartbeat], now: datetime) -> str:
    starters = [heartbeats[part] for part in STARTERS if part in heartbeats]
    last = max(starters, key=lambda heartbeat: heartbeat.at, default=None)
    if last is not None and last.part == Heartbeat.Part.SCHEDULER:
        return "scheduler_dead" if is_silent(last, now) else "not_taken"
    if is_silent(last, now):
        return "beat_dead"
    return "worker_gone" if is_silent(heartbeats.get(Heartbeat.Part.WORKER), now) else "not_taken"
