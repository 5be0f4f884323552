"""Celery Beat's scheduler: the timetable lives in the database, and is made there when Beat starts."""

from django.conf import settings
from django_celery_beat.schedulers import DatabaseScheduler

from ingestion.schedules import sync_timetable


class TimetableScheduler(DatabaseScheduler):
    """django-celery-beat's scheduler, with our own entries made first."""

    def setup_schedule(self) -> None:
        super().setup_schedule()
        sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
