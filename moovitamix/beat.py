"""Celery Beat's scheduler: the timetable lives in the database, and is made there when Beat starts."""

from django.conf import settings
from django_celery_beat.schedulers import DatabaseScheduler

from ingestion import schedules as of_ingestion
from recommender import schedules as of_recommender


class TimetableScheduler(DatabaseScheduler):
    """django-celery-beat's scheduler, with our own entries made first."""

    def setup_schedule(self) -> None:
        super().setup_schedule()
        of_ingestion.sync_timetable(settings.SCHEDULED_TIME, settings.TIME_ZONE)
        of_recommender.sync_timetable(settings.TIME_ZONE)
