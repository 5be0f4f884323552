"""Celery tasks; each calls one function of the domain.

Beat's tables and waiting messages store a task's `name`, so it stays when the function is renamed.
"""

from typing import Final

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from recommender.models import TrainingRun
from recommender.monitoring import health_checks
from recommender.registry import model_loader
from recommender.retraining import check_drift_now, retrain_now, run_cycle_now, run_daily_review_now
from recommender.schedules import CANDIDATES_EVERY_MINUTES
from recommender.services import delete_expired_lists, delete_old_artifacts
from recommender.serving.candidates import candidate_cache
from recommender.serving.candidates.charts import count_charts_if_due
from recommender.serving.list_limits import ServingOptions
from recommender.serving.recommendations import renew_candidates
from recommender.training.train import AlreadyTraining

# From so many due listeners on, candidate lists are prepared by all workers. Fewer take one process seconds.
SHARED_FROM: Final = 2_000


@shared_task(name="recommender.tasks.prepare_shelves", ignore_result=True)
def prepare_candidate_lists() -> int:
    """Generate missing and stale lists of active listeners; return how many this process generated.

    If many are due, each part becomes a task. Every hour the running challenger is tried as well.
    """
    now, loaded = timezone.now(), model_loader.current_model(settings.MODEL_STORAGE)
    due = candidate_cache.listeners_due(loaded, now)
    prepared = 0
    if settings.REDIS_URL and len(due) >= SHARED_FROM:
        for part, listeners in sorted(candidate_cache.split_due(due).items()):
            # A part that still waits when the next run begins is found due by it again.
            prepare_part_of_lists.apply_async((part, listeners), expires=60 * CANDIDATES_EVERY_MINUTES)
    else:
        prepared = candidate_cache.prepare_due(loaded, now, due=due)
    health_checks.try_challengers(now)
    return prepared


@shared_task(name="recommender.tasks.prepare_part_of_lists", ignore_result=True)
def prepare_part_of_lists(part: int, listeners: list[int]) -> int:
    loaded = model_loader.current_model(settings.MODEL_STORAGE)
    return candidate_cache.prepare_part(part, listeners, loaded, timezone.now())


@shared_task(name="recommender.tasks.renew_candidate_list", ignore_result=True)
def renew_candidate_list(listener_id: int) -> None:
    """Renew a listener's candidate list after feedback; meanwhile the old list serves."""
    options = ServingOptions(settings.MODEL_STORAGE)
    renew_candidates(listener_id, options=options, now=timezone.now())


@shared_task(name="recommender.tasks.count_charts", ignore_result=True)
def count_charts() -> int:
    return count_charts_if_due(timezone.now())


@shared_task(name="recommender.tasks.retrain_by_hand")
def train_on_request() -> str:
    try:
        run = retrain_now(trigger=TrainingRun.Trigger.ADMIN)
    except AlreadyTraining as busy:
        return str(busy)
    return run.summary or run.error


@shared_task(name="recommender.tasks.learn_weekly")
def train_weekly() -> str:
    try:
        return run_cycle_now(trigger=TrainingRun.Trigger.SCHEDULE).sentence
    except AlreadyTraining as busy:
        return str(busy)


@shared_task(name="recommender.tasks.look_daily")
def review_daily() -> str:
    judged = run_daily_review_now()
    reasons = [f"{one.experiment}: {one.decision.verdict['reason']}" for one in judged if one.decision]
    return " ".join(reasons) or "No experiment is running."


@shared_task(name="recommender.tasks.delete_old_lists")
def delete_old_lists() -> dict[str, int]:
    return {**delete_expired_lists(), "artifacts": delete_old_artifacts()}


@shared_task(name="recommender.tasks.check_drift")
def check_drift_weekly() -> str:
    reports, is_due = check_drift_now()
    if not is_due:
        return f"{len(reports)} reports, {sum(report.alarm for report in reports)} alarms."
    try:
        return run_cycle_now(trigger=TrainingRun.Trigger.DRIFT, full=True).sentence
    except AlreadyTraining as busy:
        return str(busy)
