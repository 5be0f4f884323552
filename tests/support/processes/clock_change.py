"""Simulates three nights around a change of the clocks, in steps of half an hour.

Usage: python -m tests.support.processes.clock_change DAY HOUR. In the night to DAY no scheduler runs before
HOUR (UTC); the watchdog always runs. Prints the status, slot and local time of each run.
"""

import os
import sys
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
django.setup()

from django.conf import settings
from django.utils import timezone

from ingestion.jobs.heartbeats import record_heartbeat
from ingestion.models import Heartbeat, IngestionRun
from ingestion.schedules import run_due_slot, sync_timetable
from ingestion.services import ingest_now, run_watchdog

STEP = timedelta(minutes=30)
EVENING, MORNING = timedelta(hours=-1), timedelta(hours=5)
REAL_NOW = timezone.now


def main(day: date, starts_at: int) -> None:
    midnight = datetime.combine(day, datetime.min.time(), UTC)
    set_clock(midnight - timedelta(days=1) + EVENING)
    sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
    for night in (midnight - timedelta(days=1), midnight, midnight + timedelta(days=1)):
        simulate_night(night, midnight + timedelta(hours=starts_at))


def simulate_night(night: datetime, starts_at: datetime) -> None:
    now = night + EVENING
    while now <= night + MORNING:
        set_clock(now)
        if now >= starts_at or night.date() != starts_at.date():
            record_heartbeat(Heartbeat.Part.SCHEDULER, now)
            print_run(run_due_slot(lambda slot: ingest_now(trigger="schedule", slot=slot), now))
        run_watchdog(now)
        now += STEP


def set_clock(to: datetime) -> None:
    ahead = to - REAL_NOW()
    timezone.now = lambda: REAL_NOW() + ahead


def print_run(run: IngestionRun | None) -> None:
    if run is not None:
        here = run.started_at.astimezone(ZoneInfo(settings.TIME_ZONE))
        sys.stdout.write(f"{run.status} {run.slot} at {here:%H:%M}\n")


main(date.fromisoformat(sys.argv[1]), int(sys.argv[2]))
