"""The recommender's Beat entries, which a person may change or disable in the admin."""

from dataclasses import dataclass
from typing import Final

from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from ingestion.schedules import find_or_create_schedule

# Candidate lists become stale after an ingestion, a promotion or feedback; else the task does nothing.
CANDIDATES_EVERY_MINUTES: Final = 15  # minutes
DAY: Final = 86_400  # seconds
# Name (stored, so never renamed), task, description.
INTERVAL_ENTRIES: Final = (
    ("Prepare shelves for active listeners", "recommender.tasks.prepare_shelves",
     "Generates candidate lists for active listeners whose list lacks listening, feedback or the champion."),
    ("Count the charts after each import", "recommender.tasks.count_charts",
     "Counts the most played songs of every window of days if an import has ended since."),
)  # fmt: skip


@dataclass(frozen=True)
class ScheduleEntry:
    name: str  # stored name, by which entries of older installations are found
    task: str
    description: str
    hour: int
    day: str = "*"  # "*": every day, "0": Sundays
    zone: str = ""  # time zone; "": the site's time zone


CRONTAB_ENTRIES: Final = (
    ScheduleEntry(
        "Judge the tests between models every day", "recommender.tasks.look_daily",
        "Counts engagement, decides experiments, and checks engagement, cohesion and audio features.", 5,
    ),
    ScheduleEntry(
        "Delete old lists every day", "recommender.tasks.delete_old_lists",
        "Deletes lists older than KEEP_LISTS_DAYS, and files of old versions that never were champion.", 7,
    ),
    ScheduleEntry(
        "Learn a new model every week", "recommender.tasks.learn_weekly",
        "Trains on new data, validates the version and tests it against the champion.", 4, "0",
    ),
    ScheduleEntry(
        "Look for drift every week", "recommender.tasks.check_drift",
        "Compares last week with the eight weeks before; runs a full retrain if listening or songs drifted.",
        # In UTC, because the compared weeks end in UTC; east of it, Monday begins before the UTC week ends.
        6, "1", "UTC",
    ),
)  # fmt: skip


def sync_timetable(time_zone: str = "UTC") -> None:
    every = find_or_create_schedule(
        IntervalSchedule, every=CANDIDATES_EVERY_MINUTES, period=IntervalSchedule.MINUTES
    )
    for name, task, description in INTERVAL_ENTRIES:
        PeriodicTask.objects.get_or_create(
            name=name,
            defaults={
                "task": task, "interval": every, "expire_seconds": CANDIDATES_EVERY_MINUTES * 60,
                "description": description,
            },
        )  # fmt: skip
    for entry in CRONTAB_ENTRIES:
        at = find_or_create_schedule(
            CrontabSchedule, minute="0", hour=str(entry.hour), day_of_week=entry.day, day_of_month="*",
            month_of_year="*", timezone=entry.zone or time_zone,
        )  # fmt: skip
        PeriodicTask.objects.get_or_create(
            name=entry.name,
            defaults={
                "task": entry.task, "crontab": at, "expire_seconds": DAY, "description": entry.description,
            },
        )  # fmt: skip
