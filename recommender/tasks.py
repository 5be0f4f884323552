"""Celery tasks: doors that call one function each."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from recommender import champion, shelves
from recommender.models import TrainingRun
from recommender.trainer import retrain_now
from recommender.training import AlreadyTraining


@shared_task(ignore_result=True)
def prepare_shelves() -> int:
    """Make a shelf for every active listener who has none, or a stale one; how many were made."""
    now, loaded = timezone.now(), champion.current(settings.MODEL_STORAGE)
    return shelves.prepare(shelves.due(loaded, now), loaded, now)


@shared_task
def retrain_by_hand() -> str:
    """Train once now, as asked for in the admin."""
    try:
        run = retrain_now(trigger=TrainingRun.Trigger.ADMIN)
    except AlreadyTraining as busy:
        return str(busy)
    return run.summary or run.error
