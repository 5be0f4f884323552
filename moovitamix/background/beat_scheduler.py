"""Celery Beat's scheduler; creates the entries of both apps when Beat starts."""

import logging
import time
from datetime import timedelta
from typing import Any, Final

from celery.exceptions import ImproperlyConfigured
from celery.schedules import schedstate
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import Error, IntegrityError, close_old_connections
from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from ingestion import schedules as ingestion_schedules
from ingestion.jobs.database_patience import with_patience
from ingestion.jobs.heartbeats import record_heartbeat
from ingestion.jobs.leases import HeldLeases, take_lease
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
LEASE: Final = "beat"
# So long after the last sign of a Beat on another host the next one takes over.
LEASE_DURATION: Final = timedelta(seconds=60)
LEASE_RENEWAL: Final = 15.0  # seconds
# A Beat that waits for the lease asks again after this time.
STANDBY_INTERVAL: Final = 5.0  # seconds
# More than there are entries: each attempt gets past the entry of the one before.
START_ATTEMPTS: Final = 50


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
    """django-celery-beat's scheduler; also creates the product's entries and records heartbeats.

    Of several Beats, the one that holds the lease sends tasks; the others wait, and one of them takes over.
    """

    Entry = TimetableEntry
    _last_heartbeat = 0.0
    _lease: HeldLeases | None = None
    _lease_renewed = 0.0

    def setup_schedule(self) -> None:
        # Beats that start at once write the same rows, so one may be chosen to end a deadlock; and nothing
        # starts the Beat of a worker again.
        for attempt in range(START_ATTEMPTS):
            try:
                with_patience(self._create_entries)
            except (ValidationError, IntegrityError):
                # Another Beat has created this entry since it was looked for; the next attempt finds it.
                if attempt == START_ATTEMPTS - 1:
                    raise
            else:
                return

    def _create_entries(self) -> None:
        super().setup_schedule()
        ingestion_schedules.sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
        recommender_schedules.sync_timetable(settings.TIME_ZONE)
        schedules.sync_timetable(settings.TIME_ZONE)

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        is_active = self._holds_lease()
        is_heartbeat_due = time.monotonic() - self._last_heartbeat >= HEARTBEAT_INTERVAL
        # Also of a Beat that is cut off from the database: the attempt reports the outage.
        if self._lease is not None and (is_heartbeat_due or not self._last_heartbeat):
            self._send_heartbeat()
        return super().tick(*args, **kwargs) if is_active else STANDBY_INTERVAL

    def close(self) -> None:
        super().close()
        if self._lease is not None:
            try:
                self._lease.release()
            except Error as error:
                # It expires by itself.
                logger.warning("beat_lease_not_released reason=%s", type(error).__name__)
            self._lease = None

    def _holds_lease(self) -> bool:
        if self._lease is not None and time.monotonic() - self._lease_renewed < LEASE_RENEWAL:
            return True
        try:
            close_old_connections()
            return self._renew_lease() or self._take_lease()
        except Error as error:
            logger.warning("beat_lease_not_renewed reason=%s", type(error).__name__)
            # Another Beat may still reach the database, and takes the lease when it has expired.
            is_valid = time.monotonic() - self._lease_renewed < LEASE_DURATION.total_seconds()
            return self._lease is not None and is_valid

    def _renew_lease(self) -> bool:
        if self._lease is None:
            return False
        if not self._lease.renew(timezone.now() + LEASE_DURATION):
            # This process stood still for longer than the lease lasts, and another Beat took over.
            logger.warning("beat_lease_lost")
            self._lease = None
            # What this Beat remembers of its entries is older than what the other one has written.
            self._dirty.clear()
            return False
        self._lease_renewed = time.monotonic()
        return True

    def _take_lease(self) -> bool:
        self._lease = take_lease(LEASE, timezone.now(), LEASE_DURATION)
        if self._lease is None:
            return False
        self._lease_renewed = time.monotonic()
        logger.info("beat_lease_taken")
        # The Beat before this one has sent entries since this one read them.
        self._schedule = self.all_as_schedule()
        self._heap = None
        return True

    def _send_heartbeat(self) -> None:
        self._last_heartbeat = time.monotonic()
        try:
            with alert_on_database_outage(timezone.now()):
                record_heartbeat(Heartbeat.Part.BEAT, timezone.now())
                report_missing_watchdog(timezone.now())
        except Error as error:
            # The tick reconnects or logs the error; the watchdog reports a missing heartbeat.
            logger.warning("heartbeat_not_recorded part=beat reason=%s", type(error).__name__)
