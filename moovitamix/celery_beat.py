"""Celery Beat's scheduler: the timetable lives in the database, and is made there when Beat starts."""

import logging
import time
from typing import Any, Final

from django.conf import settings
from django.db import Error
from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler

from ingestion import schedules as of_ingestion
from ingestion.jobs.heartbeats import record_heartbeat
from ingestion.models import Heartbeat
from ingestion.services import alert_on_database_outage
from recommender import schedules as of_recommender

logger = logging.getLogger(__name__)

# Far more often than the watchdog begins to miss it; a row written each half minute is nothing.
HEARTBEAT_INTERVAL: Final = 30.0  # seconds


class TimetableScheduler(DatabaseScheduler):
    """django-celery-beat's scheduler, with our own entries made first and a sign of life at its ticks."""

    _last_heartbeat = 0.0

    def setup_schedule(self) -> None:
        super().setup_schedule()
        of_ingestion.sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
        of_recommender.sync_timetable(settings.TIME_ZONE)

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        if not self._last_heartbeat or time.monotonic() - self._last_heartbeat >= HEARTBEAT_INTERVAL:
            self._send_heartbeat()
        return super().tick(*args, **kwargs)

    def _send_heartbeat(self) -> None:
        self._last_heartbeat = time.monotonic()
        try:
            with alert_on_database_outage(timezone.now()):
                record_heartbeat(Heartbeat.Part.BEAT, timezone.now())
        except Error as error:
            # The tick itself mends the connection, or tells; silence is what the watchdog then hears.
            logger.warning("pulse_not_written part=beat reason=%s", type(error).__name__)
