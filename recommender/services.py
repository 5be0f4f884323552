"""Operator actions with the settings filled in, for all entry points of the recommender.

Actions that train are in retraining.py, because a web process must not load the training code.
"""

import logging
from datetime import datetime, timedelta
from typing import Final

from celery import current_app
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone
from kombu.exceptions import OperationalError

from ingestion.audit import Action, record_audit
from recommender import retention, validation
from recommender.experiments import eligibility, interleaving_scores, lifecycle
from recommender.experiments.lifecycle import JudgedExperiment
from recommender.feedback import events
from recommender.models import ApiKey, Experiment, ModelVersion, Promotion
from recommender.registry import artifact_folders, artifact_storage, model_loader, registry
from recommender.serving.candidates.candidate_cache import RENEWED_WITHIN
from recommender.serving.list_limits import ServingOptions

logger = logging.getLogger(__name__)

RENEWAL_TASK: Final = "recommender.tasks.renew_candidate_list"
# A player that reports one song after another asks for one renewal in this time.
RENEWAL_SECONDS: Final = 10
# While the broker is away, one request in this time tries it; the others renew their lists themselves.
BROKER_AWAY: Final = "recommender.renewal.broker_away"
BROKER_AWAY_SECONDS: Final = 5


def serving_options() -> ServingOptions:
    return ServingOptions(
        storage=settings.MODEL_STORAGE, request_renewal=request_renewal if settings.REDIS_URL else None
    )


def request_renewal(listener_id: int) -> bool:
    """Ask a worker to renew a listener's candidate lists; False if no task can be sent now."""
    if cache.get(BROKER_AWAY):
        return False
    requested = f"recommender.renewal.{listener_id}"
    if not cache.add(requested, True, RENEWAL_SECONDS):
        return True
    try:
        current_app.send_task(
            RENEWAL_TASK, (listener_id,), expires=RENEWED_WITHIN.total_seconds(), retry=False
        )
    except OperationalError as error:
        logger.warning("renewal_not_sent reason=%s", type(error).__name__)
        cache.set(BROKER_AWAY, True, BROKER_AWAY_SECONDS)
        cache.delete(requested)
        return False
    return True


def current_model() -> model_loader.LoadedModel:
    return model_loader.current_model(settings.MODEL_STORAGE)


def serving_version() -> ModelVersion | None:
    """The version that this process serves; None if popular songs are served instead."""
    model = current_model().model
    return model.version if model else None


def serving_label() -> str | None:
    version = serving_version()
    return version.label if version else None


def promote_version(label: str, *, reason: str, by: str) -> Promotion:
    """Make a version the champion; raises what `registry.promote` raises, and `ArtifactError`."""
    promotion = registry.promote(registry.find_version(label), reason=reason, by=by, verify=verify_artifact)
    record_audit(Action.PROMOTED, by, f"{label}: {reason}")
    lifecycle.void_obsolete_experiments(timezone.now())
    return promotion


def roll_back_champion(*, reason: str, by: str, judged: ModelVersion | None = None) -> Promotion:
    """Restore the predecessor of the champion, or of `judged`; raises what `registry.roll_back` raises."""
    promotion = registry.roll_back(reason=reason, by=by, verify=verify_artifact, judged=judged)
    record_audit(Action.ROLLED_BACK, by, f"{promotion.promoted.label}: {reason}")
    lifecycle.void_obsolete_experiments(timezone.now())
    return promotion


def verify_artifact(version: ModelVersion) -> None:
    artifact_storage.verify(version, settings.MODEL_STORAGE)


def judge_experiments() -> list[JudgedExperiment]:
    now = timezone.now()
    interleaving_scores.close_due_lists(now)
    return lifecycle.judge_experiments(now, verify_artifact)


def start_aa_test(*, by: str, list_share: float = lifecycle.LIST_SHARE) -> Experiment:
    """Test the champion against itself: a difference reveals a bug in serving or counting.

    Raises:
        ExperimentNotAllowed: there is no champion.
    """
    champion_row = registry.current_champion()
    if champion_row is None:
        raise lifecycle.ExperimentNotAllowed(registry.NO_MODEL)
    return lifecycle.propose_experiment(
        champion_row, kind=Experiment.Kind.AA_TEST, gates={}, by=by, now=timezone.now(), list_share=list_share
    )


def start_experiment(
    label: str, *, list_share: float, split_share: float, reason: str, by: str
) -> Experiment:
    """Validate a version, and propose an experiment.

    Raises:
        ExperimentNotAllowed: no champion, the version can't be tested now, or validation failed.
        RegistryError: the version does not exist.
    """
    version, champion_row = registry.find_version(label), registry.current_champion()
    if champion_row is None:
        raise lifecycle.ExperimentNotAllowed(registry.NO_MODEL)
    if why := eligibility.why_not_testable(version):
        raise lifecycle.ExperimentNotAllowed(why)
    now = timezone.now()
    passed = validation.run_gates(version, settings.MODEL_STORAGE, now, verify_artifact)
    if not passed["passed"]:
        raise lifecycle.ExperimentNotAllowed(f"{label} did not pass: {validation.failure_reasons(passed)}")
    return lifecycle.propose_experiment(
        version, kind=eligibility.experiment_kind_for(version, champion_row), gates=passed, by=by, now=now,
        list_share=list_share, split_share=split_share, purpose=reason,
    )  # fmt: skip


def decide_experiment(experiment: Experiment, *, promote: bool, reason: str, by: str) -> Promotion | None:
    """Decide an experiment as `lifecycle.decide_manually` does; also raises `ArtifactError`."""
    return lifecycle.decide_manually(
        experiment, promote=promote, reason=reason, by=by, now=timezone.now(), verify=verify_artifact
    )


def delete_expired_lists(
    days: int | None = None, progress: retention.Progress | None = None
) -> dict[str, int]:
    """Delete lists older than `KEEP_LISTS_DAYS` or `days`; return how many rows by table."""
    keep = settings.KEEP_LISTS_DAYS if days is None else days
    return retention.delete_expired_lists(timezone.now(), timedelta(days=keep), progress)


def delete_old_artifacts() -> int:
    return artifact_folders.delete_old_artifacts(settings.MODEL_STORAGE, settings.KEEP_MODELS, timezone.now())


def delete_version_files(label: str, *, reason: str, by: str) -> None:
    """Delete the files of a version that is not in use; raises as `artifact_folders.delete_files`."""
    # A former champion serves while the champion's files are damaged.
    if label == serving_label():
        raise artifact_folders.FilesInUse(artifact_folders.IN_USE.format(label=label))
    artifact_folders.delete_files(label, settings.MODEL_STORAGE, timezone.now())
    record_audit(Action.FILES_DELETED, by, f"{label}: {reason}")


def undo_key_feedback(key: ApiKey, *, by: str, now: datetime) -> int:
    """Withdraw all feedback sent with a key, such as a leaked one; return how many events."""
    count = events.withdraw_key(key.pk, now=now)
    record_audit(Action.FEEDBACK_UNDONE, by, f"{key}: {count} events")
    return count
