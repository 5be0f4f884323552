"""When shelves are prepared: an entry in the timetable, which a person may move or switch off."""

from typing import Final

from django_celery_beat.models import IntervalSchedule, PeriodicTask

ENTRY: Final = "Prepare shelves for active listeners"
TASK: Final = "recommender.tasks.prepare_shelves"
# It looks for what an ingestion or a promotion has left behind, and finds nothing to do at other times.
EVERY: Final = 15  # minutes


def sync_timetable() -> None:
    """Make the entry, unless it is there."""
    fields = {"every": EVERY, "period": IntervalSchedule.MINUTES}
    # Nothing keeps a person from making the same schedule twice, which `get_or_create` refuses to see.
    interval = IntervalSchedule.objects.filter(**fields).first() or IntervalSchedule.objects.create(**fields)
    PeriodicTask.objects.get_or_create(
        name=ENTRY,
        defaults={
            "task": TASK, "interval": interval, "expire_seconds": EVERY * 60,
            "description": "Makes a new shelf for each active listener whose shelf is older than their "
            "newest listening, their newest feedback or the model.",
        },
    )  # fmt: skip
