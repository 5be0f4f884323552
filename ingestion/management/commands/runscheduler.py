"""The foreground scheduler, for those who run no Celery."""

import signal
from threading import Event
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from ingestion.management.base import require_migrations
from ingestion.management.progress import IngestionProgressBar
from ingestion.models import IngestionRun
from ingestion.schedules import next_due, run_scheduler, sync_timetable
from ingestion.services import delete_expired_rows, ingest_now, run_watchdog
from ingestion.source.errors import without_secrets


class Command(BaseCommand):
    help = (
        "Run the ingestion every day at SCHEDULED_TIME, in the foreground, until Ctrl-C. A day is run once; "
        "one that was missed is caught up if it is less than 12 hours late. With workers, use instead: "
        "celery -A moovitamix worker -B"
    )
    requires_system_checks = ("settings",)

    def handle(self, *_: Any, **__: Any) -> None:
        require_migrations()
        stop = Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        try:
            sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
            self._say(
                f"Scheduler started: {self._plan()}, from {without_secrets(settings.BASE_URL)}. Ctrl-C stops."
            )
            run_scheduler(self._ingest, stop, on_tick=run_watchdog)
        except KeyboardInterrupt:
            stop.set()
        self._say("Scheduler stopped.")

    def _plan(self) -> str:
        due = next_due(timezone.now())
        if due is None:
            return "no run will come, for its entry is switched off in the admin"
        return f"next run {timezone.localtime(due):%Y-%m-%d %H:%M %Z}"

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _ingest(self, slot: str) -> IngestionRun:
        watch = IngestionProgressBar()
        try:
            run = ingest_now(watch, trigger=IngestionRun.Trigger.SCHEDULE, slot=slot)
        finally:
            watch.close()
        self.stdout.write(
            f"Run {run.pk} {run.get_status_display().lower()}: {run.summary} {run.error}".rstrip()
        )
        self.stdout.flush()
        # Without Beat nobody else does it; once after each day's run.
        delete_expired_rows(timezone.now())
        return run
