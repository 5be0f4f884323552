"""When the recommender works: entries in the timetable, which a person may move or switch off."""

from dataclasses import dataclass
from typing import Any, Final

from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

# It looks for what an ingestion or a promotion has left behind, and finds nothing to do at other times.
CANDIDATES_EVERY_MINUTES: Final = 15  # minutes
DAY: Final = 86_400  # seconds


@dataclass(frozen=True)
class ScheduleEntry:
    """One line of the timetable; `day` "*": every day, "0": Sundays; `zone` "": the site's."""

    name: str
    task: str
    description: str
    hour: int
    day: str = "*"
    zone: str = ""


CRONTAB_ENTRIES: Final = (
    ScheduleEntry(
        "Judge the tests between models every day", "recommender.tasks.look_daily",
        "Closes lists, counts engagement, judges the tests and watches engagement, cohesion and feed.", 5,
    ),
    ScheduleEntry(
        "Learn a new model every week", "recommender.tasks.learn_weekly",
        "Learns from what is new, passes the gates and tests the new model against the champion.", 4, "0",
    ),
    ScheduleEntry(
        "Look for drift every week", "recommender.tasks.check_drift",
        "Compares the week that is over with those before; learns from scratch where the world has moved.",
        # The weeks that are compared end in UTC: east of it Monday morning is still their Sunday.
        6, "1", "UTC",
    ),
)  # fmt: skip


def sync_timetable(time_zone: str = "UTC") -> None:
    """Make the entries, unless they are there."""
    every = _first_or_new(IntervalSchedule, every=CANDIDATES_EVERY_MINUTES, period=IntervalSchedule.MINUTES)
    PeriodicTask.objects.get_or_create(
        name="Prepare shelves for active listeners",
        defaults={
            "task": "recommender.tasks.prepare_shelves", "interval": every,
            "expire_seconds": CANDIDATES_EVERY_MINUTES * 60,
            "description": "Makes a new shelf for each active listener whose shelf is older than their "
            "newest listening, their newest feedback or the model.",
        },
    )  # fmt: skip
    for entry in CRONTAB_ENTRIES:
        at = _first_or_new(
            CrontabSchedule, minute="0", hour=str(entry.hour), day_of_week=entry.day, day_of_month="*",
            month_of_year="*", timezone=entry.zone or time_zone,
        )  # fmt: skip
        PeriodicTask.objects.get_or_create(
            name=entry.name,
            defaults={
                "task": entry.task, "crontab": at, "expire_seconds": DAY, "description": entry.description,
            },
        )  # fmt: skip


def _first_or_new(schedule: Any, **fields: Any) -> Any:
    """Nothing keeps a person from making the same schedule twice, which `get_or_create` refuses to see."""
    return schedule.objects.filter(**fields).first() or schedule.objects.create(**fields)
