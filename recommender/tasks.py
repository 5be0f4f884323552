"""Celery tasks: doors that call one function each."""

import logging
from threading import Thread

from celery import shared_task
from django.conf import settings
from django.db import connection
from django.utils import timezone

from recommender import champion, shelves
from recommender.configuration import retrain_now
from recommender.models import TrainingRun
from recommender.training import AlreadyTraining

logger = logging.getLogger(__name__)


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


def start_training() -> Thread | None:
    """Start a training without waiting for it: by a worker where there is Redis, else in this process."""
    if settings.REDIS_URL:
        retrain_by_hand.delay()
        return None
    thread = Thread(target=_train_in_thread, name="retrain_by_hand")
    thread.start()
    return thread


def _train_in_thread() -> None:
    try:
        retrain_by_hand()
    except Exception:
        logger.exception("training_broke trigger=admin")
    finally:
        connection.close()
