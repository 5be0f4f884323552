"""Run the daily ingestion from a foreground process, without Celery."""

import signal
from threading import Event
from typing import Any

from django.conf import settings
from django.utils import timezone

from ingestion.english import english_label
from ingestion.jobs.stop_signals import SIGNAL_NAMES as STOP_SIGNALS
from ingestion.management.base import GuidedCommand, require_migrations
from ingestion.management.progress import IngestionProgressBar
from ingestion.models import IngestionRun
from ingestion.schedules import next_due, run_scheduler, sync_timetable
from ingestion.services import delete_expired_rows, ingest_now, run_watchdog
from ingestion.source.errors import without_secrets

HELP = """Run the ingestion every day at SCHEDULED_TIME, in the foreground, until Ctrl-C. Each day runs once;
a missed day is caught up if it is less than 12 hours late. The watchdog runs every minute too. If the
schedule was edited in the admin, that one is followed instead.

example:
  SCHEDULED_TIME=03:30 TIME_ZONE=Europe/Paris python manage.py runscheduler

next:
  python manage.py testalert            checks that alerts arrive
  python manage.py work                 replaces this command; it trains models and sends alerts too
"""


class Command(GuidedCommand):
    help = HELP
    requires_system_checks = ("settings",)

    def handle(self, *_: Any, **__: Any) -> None:
        require_migrations()
        stop = Event()
        # A run in progress handles the signal first and ends as stopped. `nohup` ignores SIGHUP.
        for number in (getattr(signal, name) for name in STOP_SIGNALS):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: stop.set())
        sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
        source = without_secrets(settings.BASE_URL)
        self._print(self._time_zone())
        self._print(f"Scheduler started: {self._next_run()}, from {source}. Ctrl-C stops.")
        run_scheduler(self._ingest, stop, on_tick=run_watchdog)
        self._print("Scheduler stopped.")

    def _next_run(self) -> str:
        due = next_due(timezone.now())
        if due is None:
            return "no run is scheduled: its entry in the admin is disabled or never comes due"
        return f"next run {timezone.localtime(due):%Y-%m-%d %H:%M %Z}"

    def _time_zone(self) -> str:
        said = f"SCHEDULED_TIME {settings.SCHEDULED_TIME:%H:%M} is a time in {settings.TIME_ZONE} (TIME_ZONE)"
        if settings.IS_TIME_ZONE_SET:
            return f"{said}."
        return (
            f"{said}, not this machine's local time, which the original project used. "
            "For local time set, for example: TIME_ZONE=Europe/Paris"
        )

    def _print(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _ingest(self, slot: str) -> IngestionRun:
        progress = IngestionProgressBar()
        try:
            run = ingest_now(progress, trigger=IngestionRun.Trigger.SCHEDULE, slot=slot)
        finally:
            progress.close()
        self.stdout.write(
            f"Run {run.pk} {english_label(run, 'status').lower()}: {run.summary} {run.error}".rstrip()
        )
        self.stdout.flush()
        # Without Beat, no other process deletes expired rows.
        delete_expired_rows(timezone.now())
        return run
