"""Watchdog checks: model age, served model, last training, failing challengers.

A check's function name is part of the keys of its incidents.
"""

import logging
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
from recommender.engine.artifact import ArtifactDamaged, ArtifactError, ArtifactUnavailable
from recommender.experiments import lifecycle, serving_errors
from recommender.experiments.eligibility import AUTOMATIC_ACTOR
from recommender.models import Experiment, ModelVersion, Promotion, TrainingRun
from recommender.monitoring import alerts
from recommender.registry import artifact_storage, registry, shared_storage
from recommender.services import current_model, roll_back_champion, verify_artifact
from recommender.serving import challenger_trial

logger = logging.getLogger(__name__)

STALE, DEGRADED, FAILED, ROLLED_BACK = "model_stale", "model_degraded", "training_failed", "rolled_back"
STORAGE_AWAY = "model_storage_away"
TRAINING_TASK: Final = "recommender.tasks.learn_weekly"
# Without a schedule, this many versions count as regular training, whose absence is worth an alert.
MIN_REGULAR_VERSIONS: Final = 3
# Training on a million sessions takes a quarter of an hour.
MAX_TRAINING_TIME: Final = timedelta(hours=6)
TrainingStatus = TrainingRun.Status


def model_stale(now: datetime) -> None:
    """Open an incident if the last training with a result is older than `MAX_MODEL_AGE_DAYS`.

    A result is a version or the finding that there is no new data. No incident is opened without a
    champion, or without a schedule and with few versions.
    """
    champion = registry.current_champion()
    trained_at = _last_trained_at()
    limit = timedelta(days=settings.MAX_MODEL_AGE_DAYS)
    if champion is None or trained_at is None or not _is_trained_regularly() or now - trained_at <= limit:
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
    """Open an incident if this host can't serve the champion.

    First withdraws versions of a catalogue that the source has replaced, and ends their experiments.
    """
    if registry.withdraw_outdated():
        lifecycle.void_obsolete_experiments(now)
    had_champion = Promotion.objects.exists()
    reason = current_model().degraded if had_champion else None
    if reason is None:
        # Another host may still lack the files.
        incidents.resolve_here(DEGRADED, now)
        return
    before = incidents.open_incidents().filter(key=DEGRADED).first()
    facts = {"reason": reason}
    incidents.open_or_update_here(Condition(DEGRADED, DEGRADED, Severity.CRITICAL, facts), now)
    earlier = incidents.facts_of_this_host(before) if before is not None else None
    if earlier is not None and earlier.get("reason") == reason:
        _roll_back_damaged(reason, now)


def model_storage_away(now: datetime) -> None:
    """Open an incident if this host can't reach the storage that machines share; a folder is never away."""
    try:
        shared_storage.require_reachable()
    except ArtifactUnavailable as error:
        facts = {"reason": str(error)}
        incidents.open_or_update_here(Condition(STORAGE_AWAY, STORAGE_AWAY, Severity.WARNING, facts), now)
    else:
        incidents.resolve_here(STORAGE_AWAY, now)


def unused_copies(now: datetime) -> None:
    """Delete copies of shared models that this host no longer needs, if it can reach the shared storage.

    A host that trains may never download a model, after which others delete them. If the folder can't be
    read, the watchdog reports this check.
    """
    away = incidents.open_incidents().filter(key=STORAGE_AWAY).first()
    if away is None or incidents.facts_of_this_host(away) is None:
        artifact_storage.delete_unused_copies(settings.MODEL_STORAGE)


def _roll_back_damaged(reason: str, now: datetime) -> None:
    # Files that are missing, perhaps only on this host, do not cause a rollback.
    champion = registry.current_champion()
    if champion is None:
        return
    try:
        verify_artifact(champion)
    except ArtifactDamaged:
        try:
            # Another host may have rolled it back while this one read the files.
            promotion = roll_back_champion(
                reason=f"Its files are damaged: {reason}", by=AUTOMATIC_ACTOR, judged=champion
            )
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
    """Open an incident if the last training failed, died or runs too long; the next success resolves it.

    Marks a dead training as abandoned. Refused trainings, such as one without new data, are ignored.
    """
    with transaction.atomic():
        lock.abandon_dead_job(TrainingRun, now)
    running = lock.find_running(TrainingRun)
    if running is not None and now - running.started_at > MAX_TRAINING_TIME:
        _report_failed_training(
            running, f"It has been running for over {MAX_TRAINING_TIME}, stage: {running.stage}.", now
        )
        return
    last = TrainingRun.objects.exclude(status__in=(TrainingStatus.RUNNING, TrainingStatus.REFUSED)).first()
    if last is None or last.status == TrainingStatus.SUCCEEDED:
        incidents.resolve(FAILED, now, facts={"training": last.pk} if last else {})
        return
    _report_failed_training(last, last.error, now)


def tests_failing(now: datetime) -> None:
    """End experiments whose challenger fails or is far too slow, in favour of the champion."""
    # The check does not verify the challenger's files: a process that can't load them records a serving
    # error.
    running = Experiment.objects.filter(status=Experiment.Status.RUNNING)
    if any(serving_errors.find_hard_failure(test, now, verify=lambda _: None) for test in running):
        lifecycle.judge_experiments(now, verify_artifact)
        alerts.check_experiments(now)


def try_challengers(now: datetime) -> int:
    """Run the hourly trials that are due, and stop challengers that fail; return how many ran."""
    tried = challenger_trial.try_challengers(current_model(), settings.MODEL_STORAGE, now)
    if tried:
        tests_failing(now)
    return len(tried)


def _report_failed_training(training: TrainingRun, error: str, now: datetime) -> None:
    facts: dict[str, Any] = {
        "training": training.pk, "started_at": training.started_at.isoformat(), "error": error,
    }  # fmt: skip
    link = reverse("admin:recommender_trainingrun_change", args=[training.pk])
    incidents.open_or_update(Condition(FAILED, FAILED, Severity.WARNING, facts, link=link), now)


def _last_trained_at() -> datetime | None:
    newest = ModelVersion.objects.aggregate(at=Max("created_at"))["at"]
    without_news = TrainingRun.objects.filter(status=TrainingStatus.REFUSED, error_kind="NothingNew")
    nothing_new = without_news.aggregate(at=Max("finished_at"))["at"]
    return max((at for at in (newest, nothing_new) if at is not None), default=None)


def _is_trained_regularly() -> bool:
    if PeriodicTask.objects.filter(task=TRAINING_TASK, enabled=True).exists():
        return True
    return ModelVersion.objects.count() >= MIN_REGULAR_VERSIONS
