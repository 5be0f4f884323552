"""Celery Beat's scheduler; creates the entries of both apps when Beat starts."""

import logging
import time
from typing import Any, Final

from celery.exceptions import ImproperlyConfigured
from celery.schedules import schedstate
from django.conf import settings
from django.db import Error
from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from ingestion import schedules as ingestion_schedules
from ingestion.jobs.heartbeats import record_heartbeat
from ingestion.models import Heartbeat
from ingestion.monitoring.checks.infrastructure import report_missing_watchdog
from ingestion.services import alert_on_database_outage
from moovitamix import schedules
from recommender import schedules as recommender_schedules

logger = logging.getLogger(__name__)

# Far shorter than the silence that the watchdog reports; one row each time costs almost nothing.
HEARTBEAT_INTERVAL: Final = 30.0  # seconds
# An entry without a next due time is checked again after this time.
RETRY_INTERVAL: Final = 300.0  # seconds


class TimetableEntry(ModelEntry):
    """A Beat entry that is skipped if its next due time can't be computed."""

    def __init__(self, model: Any, app: Any = None) -> None:
        try:
            super().__init__(model, app)
        except (OverflowError, ImproperlyConfigured) as error:
            # An interval of millions of days, or a solar schedule; entries that raise ValueError are skipped.
            raise ValueError(str(error)) from error

    def is_due(self) -> Any:
        try:
            return super().is_due()
        except (RuntimeError, ValueError, OverflowError) as error:
            logger.warning("entry_skipped entry=%r reason=%r", self.name, str(error))
            return schedstate(is_due=False, next=RETRY_INTERVAL)


class TimetableScheduler(DatabaseScheduler):
    """django-celery-beat's scheduler; also creates the product's entries and records heartbeats."""

    Entry = TimetableEntry
    _last_heartbeat = 0.0

    def setup_schedule(self) -> None:
        super().setup_schedule()
        ingestion_schedules.sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
        recommender_schedules.sync_timetable(settings.TIME_ZONE)
        schedules.sync_timetable(settings.TIME_ZONE)

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        if not self._last_heartbeat or time.monotonic() - self._last_heartbeat >= HEARTBEAT_INTERVAL:
            self._send_heartbeat()
        return super().tick(*args, **kwargs)

    def _send_heartbeat(self) -> None:
        self._last_heartbeat = time.monotonic()
        try:
            with alert_on_database_outage(timezone.now()):
                record_heartbeat(Heartbeat.Part.BEAT, timezone.now())
                report_missing_watchdog(timezone.now())
        except Error as error:
            # The tick reconnects or logs the error; the watchdog reports a missing heartbeat.
            logger.warning("heartbeat_not_recorded part=beat reason=%s", type(error).__name__)
