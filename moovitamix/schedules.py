"""The project's Beat entry: the daily backup."""

from typing import Final

from django_celery_beat.models import CrontabSchedule, PeriodicTask

from ingestion.schedules import find_or_create_schedule

BACKUP_ENTRY: Final = "Back up every day"
# After the daily deletions, before the weekly training.
BACKUP_TIME: Final = ("3", "45")


def sync_timetable(time_zone: str) -> None:
    hour, minute = BACKUP_TIME
    daily = find_or_create_schedule(
        CrontabSchedule, minute=minute, hour=hour, day_of_week="*", day_of_month="*", month_of_year="*",
        timezone=time_zone,
    )  # fmt: skip
    PeriodicTask.objects.get_or_create(
        name=BACKUP_ENTRY,
        defaults={
            "task": "moovitamix.tasks.back_up", "crontab": daily, "expire_seconds": 12 * 3600,
            "description": "Backs up all tables and model files into BACKUP_DIR, if that is set.",
        },
    )  # fmt: skip
