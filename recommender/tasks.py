"""Celery tasks: doors that call one function each."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from recommender.models import TrainingRun
from recommender.registry import model_loader
from recommender.retraining import check_drift_now, retrain_now, run_cycle_now, run_daily_review_now
from recommender.serving import candidate_cache
from recommender.training.train import AlreadyTraining


@shared_task(ignore_result=True)
def prepare_shelves() -> int:
    """Make a shelf for every active listener who has none, or a stale one; how many were made."""
    now, loaded = timezone.now(), model_loader.current_model(settings.MODEL_STORAGE)
    return candidate_cache.prepare_lists(candidate_cache.listeners_due(loaded, now), loaded, now)


@shared_task
def retrain_by_hand() -> str:
    """Train once now, as asked for in the admin."""
    try:
        run = retrain_now(trigger=TrainingRun.Trigger.ADMIN)
    except AlreadyTraining as busy:
        return str(busy)
    return run.summary or run.error


@shared_task
def learn_weekly() -> str:
    """Learn from what is new, pass the gates and be tested."""
    try:
        return run_cycle_now(trigger=TrainingRun.Trigger.SCHEDULE).sentence
    except AlreadyTraining as busy:
        return str(busy)


@shared_task
def look_daily() -> str:
    """Judge the tests, count engagement, and watch what may be unwell."""
    judged = run_daily_review_now()
    said = [f"{one.experiment}: {one.decision.verdict['reason']}" for one in judged if one.decision]
    return " ".join(said) or "Nothing is tested."


@shared_task
def check_drift() -> str:
    """Look at the week that is over, and learn from scratch where the world has moved."""
    reports, is_due = check_drift_now()
    if not is_due:
        return f"{len(reports)} reports, {sum(report.alarm for report in reports)} alarms."
    try:
        return run_cycle_now(trigger=TrainingRun.Trigger.DRIFT, full=True).sentence
    except AlreadyTraining as busy:
        return str(busy)
