"""What the watchdog looks at here: the age of the model, what serves, and how the last training went."""

import logging
import socket
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.jobs import lock
from recommender.engine.artifact import ArtifactDamaged, ArtifactError
from recommender.experiments import lifecycle, serving_errors
from recommender.experiments.eligibility import AUTOMATIC_ACTOR
from recommender.models import Experiment, ModelVersion, Promotion, TrainingRun
from recommender.monitoring import alerts
from recommender.registry import registry
from recommender.services import current_model, roll_back_champion, verify_artifact

logger = logging.getLogger(__name__)

STALE, DEGRADED, FAILED, ROLLED_BACK = "model_stale", "model_degraded", "training_failed", "rolled_back"
TRAINING_TASK: Final = "recommender.tasks.learn_weekly"
# Where nothing is scheduled: so many versions are a habit, which may be missed.
MIN_REGULAR_VERSIONS: Final = 3
# A million sessions take a quarter of an hour.
MAX_TRAINING_TIME: Final = timedelta(hours=6)
# Long enough for each machine to come to its turn at looking, short enough for one that is gone for good.
OTHER_HOST_SILENCE: Final = timedelta(hours=1)
TrainingStatus = TrainingRun.Status


def model_stale(now: datetime) -> None:
    """Report that no training brought a version for too long, nor found that there is nothing new to learn.

    A champion may grow old while every newer version is worse. Nothing is stale where there is no champion,
    or where nothing is scheduled and few versions were ever made.
    """
    champion = registry.current_champion()
    learnt = _last_trained_at()
    limit = timedelta(days=settings.MAX_MODEL_AGE_DAYS)
    if champion is None or learnt is None or not _is_trained_regularly() or now - learnt <= limit:
        incidents.resolve(STALE, now)
        return
    day = timedelta(days=1)
    facts = {
        "version": champion.label,
        "age_days": (now - champion.created_at) / day,
        "limit_days": settings.MAX_MODEL_AGE_DAYS,
    }
    incidents.open_or_update(Condition(STALE, STALE, Severity.WARNING, facts, link=reverse("models")), now)


def model_degraded(now: datetime) -> None:
    """Report that the champion can't be served here; where there never was one, all is well.

    What was learnt of a catalogue that the source has no more is withdrawn first, and its tests end.
    """
    host = socket.gethostname()
    if registry.withdraw_outdated():
        lifecycle.void_obsolete_experiments(now)
    had_one = Promotion.objects.exists()
    wrong = incidents.open_incidents().filter(key=DEGRADED).first()
    why = current_model().degraded if had_one else None
    if why is not None:
        facts = {"reason": why, "host": host}
        incidents.open_or_update(Condition(DEGRADED, DEGRADED, Severity.CRITICAL, facts), now)
        if wrong is not None and wrong.facts == facts:
            _roll_back_damaged(why, now)
        return
    # Another machine may lack the files that this one has: it says itself when it has them again.
    if wrong is None or (wrong.facts.get("host") != host and wrong.seen_at > now - OTHER_HOST_SILENCE):
        return
    incidents.resolve(DEGRADED, now)


def _roll_back_damaged(reason: str, now: datetime) -> None:
    """Roll back a champion whose files are not those that were written: at the second look that says so.

    Files that are missing may be missing on this machine alone, which is told and changes nothing.
    """
    champion = registry.current_champion()
    if champion is None:
        return
    try:
        verify_artifact(champion)
    except ArtifactDamaged:
        try:
            promotion = roll_back_champion(reason=f"Its files are damaged: {reason}", by=AUTOMATIC_ACTOR)
        except registry.RegistryError as error:
            logger.warning("champion_not_rolled_back version=%s reason=%r", champion.label, str(error))
            return
        facts = {"from_version": champion.label, "to_version": promotion.promoted.label}
        key = f"{ROLLED_BACK}:{champion.label}"
        incidents.open_or_update(
            Condition(key, ROLLED_BACK, Severity.WARNING, facts, link=reverse("models")), now
        )
    except ArtifactError as error:
        logger.warning("champion_unusable_here version=%s reason=%r", champion.label, str(error))


def training_failed(now: datetime) -> None:
    """Report a training that failed, died or does not end; the next one that succeeds ends it.

    One that died is marked abandoned at once. One that was refused, for want of anything new, tells nothing.
    """
    with transaction.atomic():
        lock.abandon_dead_job(TrainingRun, now)
    at_work = lock.find_running(TrainingRun)
    if at_work is not None and now - at_work.started_at > MAX_TRAINING_TIME:
        _report_failed_training(
            at_work, f"It has been at work for over {MAX_TRAINING_TIME}; now: {at_work.stage}.", now
        )
        return
    last = TrainingRun.objects.exclude(status__in=(TrainingStatus.RUNNING, TrainingStatus.REFUSED)).first()
    if last is None or last.status == TrainingStatus.SUCCEEDED:
        incidents.resolve(FAILED, now, facts={"training": last.pk} if last else {})
        return
    _report_failed_training(last, last.error, now)


def tests_failing(now: datetime) -> None:
    """Judge at once where a challenger breaks or is far too slow: not only at the daily look.

    Its files are not read here: whoever could not load them has said so.
    """
    running = Experiment.objects.filter(status=Experiment.Status.RUNNING)
    if any(serving_errors.find_hard_failure(test, now, verify=lambda _: None) for test in running):
        lifecycle.judge_experiments(now, verify_artifact)
        alerts.check_experiments(now)


def _report_failed_training(training: TrainingRun, error: str, now: datetime) -> None:
    facts: dict[str, Any] = {
        "training": training.pk, "started_at": training.started_at.isoformat(), "error": error,
    }  # fmt: skip
    link = reverse("admin:recommender_trainingrun_change", args=[training.pk])
    incidents.open_or_update(Condition(FAILED, FAILED, Severity.WARNING, facts, link=link), now)


def _last_trained_at() -> datetime | None:
    """When all there was had been learnt: by a new version, or by finding nothing new."""
    newest = ModelVersion.objects.aggregate(at=Max("created_at"))["at"]
    in_vain = TrainingRun.objects.filter(status=TrainingStatus.REFUSED, error_kind="NothingNew")
    nothing_new = in_vain.aggregate(at=Max("finished_at"))["at"]
    return max((at for at in (newest, nothing_new) if at is not None), default=None)


def _is_trained_regularly() -> bool:
    if PeriodicTask.objects.filter(task=TRAINING_TASK, enabled=True).exists():
        return True
    return ModelVersion.objects.count() >= MIN_REGULAR_VERSIONS
