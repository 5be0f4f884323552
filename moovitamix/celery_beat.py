"""Celery Beat's scheduler: the timetable lives in the database, and is made there when Beat starts."""

import logging
import time
from typing import Any, Final

from django.conf import settings
from django.db import Error
from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler

from ingestion import schedules as of_ingestion
from ingestion.jobs.heartbeats import beat
from ingestion.models import Heartbeat
from ingestion.services import outage_told
from recommender import schedules as of_recommender

logger = logging.getLogger(__name__)

# Far more often than the watchdog begins to miss it; a row written each half minute is nothing.
PULSE_EVERY: Final = 30.0  # seconds


class TimetableScheduler(DatabaseScheduler):
    """django-celery-beat's scheduler, with our own entries made first and a sign of life at its ticks."""

    _pulsed = 0.0

    def setup_schedule(self) -> None:
        super().setup_schedule()
        of_ingestion.sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
        of_recommender.sync_timetable(settings.TIME_ZONE)

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        if not self._pulsed or time.monotonic() - self._pulsed >= PULSE_EVERY:
            self._pulse()
        return super().tick(*args, **kwargs)

    def _pulse(self) -> None:
        self._pulsed = time.monotonic()
        try:
            with outage_told(timezone.now()):
                beat(Heartbeat.Part.BEAT, timezone.now())
        except Error as error:
            # The tick itself mends the connection, or tells; silence is what the watchdog then hears.
            logger.warning("pulse_not_written part=beat reason=%s", type(error).__name__)
