"""The loop's cycle: learn, pass the gates, be tested; a step that fails leaves things as they were."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from recommender import validation
from recommender.engine.artifact import ArtifactError
from recommender.experiments import eligibility, interleaving_scores, lifecycle
from recommender.experiments.lifecycle import JudgedExperiment
from recommender.feedback import engagement
from recommender.models import DriftReport, Experiment, ModelVersion, TrainingRun
from recommender.monitoring import alerts
from recommender.registry import model_loader, registry
from recommender.registry.registry import Verify
from recommender.services import verify_artifact
from recommender.training.data_fingerprint import NothingNew
from recommender.training.dataset import read_training_data
from recommender.training.evaluation import WEEK_SECONDS, evaluate_with_baselines, latest_week, load_model
from recommender.training.train import TrainingOptions, TrainingProgress, retrain

logger = logging.getLogger(__name__)
TrainingStatus = TrainingRun.Status
# Full retrains by drift: at most one a month, and none within three days of any other.
MIN_DRIFT_RETRAIN_INTERVAL: Final = timedelta(days=28)
MIN_FULL_RETRAIN_INTERVAL: Final = timedelta(hours=72)
# What is new in the world itself; feedback may move because of the model, and the feed because it broke.
RETRAIN_DRIFT_KINDS: Final = (DriftReport.Kind.LISTENING, DriftReport.Kind.SONGS)
AUTOMATIC_ACTOR: Final = "the loop"
SCHEDULED_TRIGGERS: Final = (TrainingRun.Trigger.SCHEDULE, TrainingRun.Trigger.DRIFT)


@dataclass(frozen=True)
class CycleResult:
    """What came of a cycle.

    Attributes:
        gates: {} where nothing was learnt.
        experiment: None where the version did not pass, or became the first champion.
    """

    training: TrainingRun
    validation: dict[str, Any]
    experiment: Experiment | None = None

    @property
    def sentence(self) -> str:
        if self.experiment is not None:
            verb = "is tested against" if self.experiment.started_at else "waits for its test against"
            return f"{self.training.summary} It {verb} {self.experiment.champion}."
        if self.validation and not self.validation["passed"]:
            return f"{self.training.summary} It did not pass: {validation.failure_reasons(self.validation)}"
        return self.training.summary or self.training.error


def run_cycle(options: TrainingOptions, now: datetime, verify: Verify) -> CycleResult:
    """Learn a version, pass it through the gates, and propose it for a test.

    Raises:
        AlreadyTraining: another training holds the lock.
    """
    training = _resume_untested(retrain(options))
    version = training.version
    serving = registry.current_champion()
    if version is None or version.role != ModelVersion.Role.CANDIDATE or serving is None:
        return CycleResult(training, {})
    passed = validation.run_gates(version, options.storage, now, verify)
    if not passed["passed"]:
        logger.warning(
            "version_refused version=%s reason=%r", version.label, validation.failure_reasons(passed)
        )
        return CycleResult(training, passed)
    test = lifecycle.propose_experiment(
        version,
        kind=eligibility.experiment_kind_for(version, serving),
        gates=passed,
        by=AUTOMATIC_ACTOR,
        now=now,
        split_share=eligibility.current_split_share(),
    )
    return CycleResult(training, passed, test)


def _resume_untested(training: TrainingRun) -> TrainingRun:
    """The training itself; where it found nothing new, the cycle's last one, if no test came of it.

    Who was killed between learning and proposing has left a version that nobody would ever try: all it knows
    is known. One that a gate refused is measured again, and refused again.
    """
    if training.error_kind != NothingNew.__name__:
        return training
    newest = ModelVersion.objects.select_related("training").first()
    if newest is None or newest.challenges.exists() or not hasattr(newest, "training"):
        return training
    last: TrainingRun = newest.training
    return last if last.trigger in SCHEDULED_TRIGGERS else training


def run_daily_review(now: datetime, verify: Verify) -> list[JudgedExperiment]:
    """The daily look: close lists, count engagement, judge the tests, watch what may be unwell."""
    interleaving_scores.close_due_lists(now)
    engagement.update_engagement(now)
    judged = lifecycle.judge_experiments(now, verify)
    alerts.check_engagement(now)
    alerts.check_cohesion(now)
    alerts.check_feed(now)
    alerts.check_experiments(now)
    return judged


def run_drift_review(storage: Path, now: datetime) -> tuple[list[DriftReport], bool]:
    """The weekly look at drift; whether it calls for a full retrain now."""
    row = registry.current_champion()
    if row is None:
        return [], False
    try:
        model = model_loader.open_serving_model(row, storage)
    except ArtifactError:
        logger.exception("drift_not_checked version=%s", row.label)
        return [], False
    # First: songs whose features the feed has broken look new, and must not be learnt from afresh.
    alerts.check_feed(now)
    reports = alerts.check_drift(model, now)
    is_fed = not alerts.was_feed_faulty(now)
    wanted = any(
        report.alarm
        and report.kind in RETRAIN_DRIFT_KINDS
        and (is_fed or report.kind != DriftReport.Kind.SONGS)
        for report in reports
    )
    return reports, wanted and may_run_full_retrain(now)


def may_run_full_retrain(now: datetime) -> bool:
    """Whether the last full retrain, by drift or by anybody, is long enough ago."""
    # One that was refused, failed or killed has brought nothing: it must not use up the month's only one.
    full = TrainingRun.objects.filter(
        full=True, started_at__lte=now, status__in=(TrainingStatus.RUNNING, TrainingStatus.SUCCEEDED)
    )
    by_drift = full.filter(trigger=TrainingRun.Trigger.DRIFT, started_at__gt=now - MIN_DRIFT_RETRAIN_INTERVAL)
    return not by_drift.exists() and not full.filter(started_at__gt=now - MIN_FULL_RETRAIN_INTERVAL).exists()


def retrain_now(progress: TrainingProgress | None = None, **wanted: Any) -> TrainingRun:
    """One training into the settings' storage; arguments as `Order`, raises as `retrain`."""
    return retrain(TrainingOptions(storage=settings.MODEL_STORAGE, **wanted), progress)


def run_cycle_now(**wanted: Any) -> CycleResult:
    """Learn from what is new, pass the gates and be tested; arguments as `Order`.

    Raises:
        AlreadyTraining: another training holds the lock.
    """
    order = TrainingOptions(storage=settings.MODEL_STORAGE, only_if_new=True, by=AUTOMATIC_ACTOR, **wanted)
    return run_cycle(order, timezone.now(), verify_artifact)


def run_daily_review_now() -> list[JudgedExperiment]:
    """The daily look at tests, engagement, cohesion and feed."""
    return run_daily_review(timezone.now(), verify_artifact)


def check_drift_now() -> tuple[list[DriftReport], bool]:
    """The weekly look at drift; whether it calls for a full retrain."""
    return run_drift_review(settings.MODEL_STORAGE, timezone.now())


@dataclass(frozen=True)
class VersionEvaluation:
    """A version beside the baselines on the latest week.

    Attributes:
        metrics: {} where the latest week, or the time before it, holds nothing to go by.
        has_seen_the_week: whether it has learnt from that week, and so knows the answers.
        before: what its training measured before it had.
    """

    label: str
    metrics: dict[str, dict[str, Any]]
    trained_on_the_week: bool
    training_metrics: dict[str, dict[str, Any]]


def evaluate_version(label: str | None) -> VersionEvaluation:
    """Measure a version, the champion by default, on the latest week.

    Raises:
        RegistryError: there is no such version, or no champion.
        ArtifactError: its files are missing or damaged.
    """
    version = registry.find_version(label) if label else registry.current_champion()
    if version is None:
        raise registry.UnknownVersion(
            registry.NO_CHAMPION if ModelVersion.objects.exists() else registry.NO_MODEL
        )
    model, song_ids = load_model(version, settings.MODEL_STORAGE)
    data = read_training_data()
    week = latest_week(data, version.seed)
    if week is None:
        return VersionEvaluation(version.label, {}, False, version.metrics)
    begins = float(data.plays.at.max()) - WEEK_SECONDS
    metrics = evaluate_with_baselines(week, model, song_ids, version.seed)
    return VersionEvaluation(version.label, metrics, version.cut_off.timestamp() > begins, version.metrics)
