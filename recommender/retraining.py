"""Automatic retraining: the weekly cycle, the daily review and the weekly drift review.

If a step fails, the champion keeps serving.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from recommender import validation
from recommender.engine.artifact import ArtifactError
from recommender.engine.parallel import available_processors
from recommender.experiments import eligibility, interleaving_scores, lifecycle
from recommender.experiments.lifecycle import JudgedExperiment
from recommender.feedback import engagement
from recommender.models import DriftReport, Experiment, ModelVersion, TrainingRun
from recommender.monitoring import alerts
from recommender.registry import model_loader, registry
from recommender.registry.registry import Verify
from recommender.services import verify_artifact
from recommender.spark.launch import open_spark
from recommender.training.data_fingerprint import NothingNew
from recommender.training.dataset import read_training_data
from recommender.training.evaluation import (
    StageCallback,
    compare_stored_versions,
    evaluate_with_baselines,
    ignore_stage,
    latest_week,
)
from recommender.training.stored_version import read_version
from recommender.training.train import TrainingOptions, TrainingProgress, retrain

logger = logging.getLogger(__name__)
TrainingStatus = TrainingRun.Status
# At most one full retrain by drift a month, and none within three days of any other full retrain.
MIN_DRIFT_RETRAIN_INTERVAL: Final = timedelta(days=28)
MIN_FULL_RETRAIN_INTERVAL: Final = timedelta(hours=72)
# Drift of feedback may be caused by the model itself, so it does not cause a retrain.
RETRAIN_DRIFT_KINDS: Final = (DriftReport.Kind.LISTENING, DriftReport.Kind.SONGS)
SCHEDULED_TRIGGERS: Final = (TrainingRun.Trigger.SCHEDULE, TrainingRun.Trigger.DRIFT)


@dataclass(frozen=True)
class CycleResult:
    training: TrainingRun
    validation: dict[str, Any]  # the results of `validation.run_gates`; {} if there was nothing to validate
    experiment: Experiment | None = None  # None if the version failed validation or is the first champion

    @property
    def sentence(self) -> str:
        if self.experiment is not None and self.experiment.status == Experiment.Status.ENDED:
            return f"{self.training.summary} It is not tested. {self.experiment.reason}"
        if self.experiment is not None:
            verb = "is tested against" if self.experiment.started_at else "waits for its experiment against"
            return f"{self.training.summary} It {verb} {self.experiment.champion}."
        if self.validation and not self.validation["passed"]:
            return (
                f"{self.training.summary} It failed validation: {validation.failure_reasons(self.validation)}"
            )
        return self.training.summary or self.training.error


def run_cycle(options: TrainingOptions, now: datetime, verify: Verify) -> CycleResult:
    """Train a version, validate it and propose an experiment against the champion.

    Raises:
        AlreadyTraining: another training holds the job lock.
    """
    training = _resume_untested(retrain(options))
    version = training.version
    champion = registry.current_champion()
    if version is None or version.role != ModelVersion.Role.CANDIDATE or champion is None:
        return CycleResult(training, {})
    gates = validation.run_gates(version, options.storage, now, verify)
    if not gates["passed"]:
        reasons = validation.failure_reasons(gates)
        logger.warning("version_failed_validation version=%s reason=%r", version.label, reasons)
        return CycleResult(training, gates)
    experiment = lifecycle.propose_experiment(
        version,
        kind=eligibility.experiment_kind_for(version, champion),
        gates=gates,
        by=eligibility.AUTOMATIC_ACTOR,
        now=now,
        split_share=eligibility.current_split_share(),
    )
    return CycleResult(training, gates, experiment)


def _resume_untested(training: TrainingRun) -> TrainingRun:
    """Return this training; if it found no new data, that of the newest version, unless it was tested.

    Only a scheduled training of the newest version is returned.
    """
    # A cycle that was killed between training and proposal leaves such a version. No later training would
    # replace the version, because nothing is new. A version that failed validation fails again.
    if training.error_kind != NothingNew.__name__:
        return training
    newest = ModelVersion.objects.select_related("training").first()
    if newest is None or newest.challenges.exists() or not hasattr(newest, "training"):
        return training
    if newest.files_deleted_at is not None:
        return training
    last: TrainingRun = newest.training
    return last if last.trigger in SCHEDULED_TRIGGERS else training


def run_daily_review(now: datetime, verify: Verify) -> list[JudgedExperiment]:
    """Close due lists, count engagement, decide experiments, and open incidents."""
    interleaving_scores.close_due_lists(now)
    engagement.update_engagement(now)
    judged = lifecycle.judge_experiments(now, verify)
    alerts.check_engagement(now)
    alerts.check_cohesion(now)
    alerts.check_yardstick(now)
    alerts.check_feed(now)
    alerts.check_experiments(now)
    return judged


def run_drift_review(storage: Path, now: datetime) -> tuple[list[DriftReport], bool]:
    """Check last week's drift; return the reports, and whether a full retrain is due.

    No reports without a champion with readable files.
    """
    champion = registry.current_champion()
    if champion is None:
        return [], False
    try:
        model = model_loader.open_serving_model(champion, storage)
    except ArtifactError:
        logger.exception("drift_not_checked version=%s", champion.label)
        return [], False
    # First, because songs with broken audio features look like drift.
    alerts.check_feed(now)
    reports = alerts.check_drift(model, now)
    kinds = {report.kind for report in reports if report.alarm} & set(RETRAIN_DRIFT_KINDS)
    if alerts.was_feed_faulty(now):
        kinds.discard(DriftReport.Kind.SONGS)
    return reports, bool(kinds) and may_run_full_retrain(now)


def may_run_full_retrain(now: datetime) -> bool:
    """Whether the last full retrain, due to drift or a person, is long enough ago."""
    # A refused, failed or killed retrain does not count, because it made no version.
    full = TrainingRun.objects.filter(
        full=True, started_at__lte=now, status__in=(TrainingStatus.RUNNING, TrainingStatus.SUCCEEDED)
    )
    by_drift = full.filter(trigger=TrainingRun.Trigger.DRIFT, started_at__gt=now - MIN_DRIFT_RETRAIN_INTERVAL)
    return not by_drift.exists() and not full.filter(started_at__gt=now - MIN_FULL_RETRAIN_INTERVAL).exists()


def retrain_now(progress: TrainingProgress | None = None, **options: Any) -> TrainingRun:
    """Train a version now; takes the options of `TrainingOptions`, see `retrain`."""
    return retrain(training_options(**options), progress)


def training_options(
    *, processes: int | None = None, engine: str | None = None, master: str | None = None, **options: Any
) -> TrainingOptions:
    """The options with settings filled in.

    Args:
        processes: None: `TRAINING_PROCESSES`, 0: all processors.
        engine: "local" or "spark"; None: `ENGINE`.
        master: where Spark computes; None: `SPARK_MASTER`.
    """
    wanted = processes or settings.TRAINING_PROCESSES or available_processors()
    if (engine or settings.ENGINE) == "spark":
        options["open_engine"] = partial(open_spark, master)
    return TrainingOptions(storage=settings.MODEL_STORAGE, processes=wanted, **options)


def run_cycle_now(**options: Any) -> CycleResult:
    """Run `run_cycle` on new data; takes the options of `TrainingOptions`."""
    chosen = training_options(only_if_new=True, by=eligibility.AUTOMATIC_ACTOR, **options)
    return run_cycle(chosen, timezone.now(), verify_artifact)


def run_daily_review_now() -> list[JudgedExperiment]:
    return run_daily_review(timezone.now(), verify_artifact)


def check_drift_now() -> tuple[list[DriftReport], bool]:
    return run_drift_review(settings.MODEL_STORAGE, timezone.now())


@dataclass(frozen=True)
class VersionEvaluation:
    label: str
    metrics: dict[str, dict[str, Any]]  # metrics by model name; {} if nothing could be measured
    # Whether the version was trained on that week; its metrics are then too good.
    trained_on_the_week: bool
    training_metrics: dict[str, dict[str, Any]]  # metrics on the week that the version's training held out


def evaluate_version(label: str | None, begin: StageCallback = ignore_stage) -> VersionEvaluation:
    """Evaluate a version, by default the champion, on the latest week.

    `begin` is called before each model that is evaluated, with its name, its number from 1 and their number.

    Raises:
        RegistryError: the version does not exist, or there is no champion.
        ArtifactError: the files are missing or damaged.
    """
    version = registry.find_version(label) if label else registry.current_champion()
    if version is None:
        raise registry.UnknownVersion(
            registry.NO_CHAMPION if ModelVersion.objects.exists() else registry.NO_MODEL
        )
    stored = read_version(version, settings.MODEL_STORAGE)
    week = latest_week(read_training_data(), version.seed)
    if week is None:
        return VersionEvaluation(version.label, {}, False, version.metrics)
    metrics = evaluate_with_baselines(week, stored, version.seed, begin)
    has_seen = version.cut_off.timestamp() > week.start_seconds
    return VersionEvaluation(version.label, metrics, has_seen, version.metrics)


@dataclass(frozen=True)
class PairEvaluation:
    """Two versions compared on the same listeners and songs of the latest week."""

    first: str
    second: str
    # NDCG@20 of the first minus that of the second, paired by listener; {} if nothing could be measured.
    difference: dict[str, Any]
    trained_on_the_week: list[str]  # labels of the versions whose numbers are too high

    @property
    def sentence(self) -> str:
        if not self.difference:
            return "Not measured: no listener with earlier plays played a new song in the latest week."
        pair = self.difference
        verdict = "is clearly better than" if pair["low"] > 0 else "is clearly worse than"
        if pair["low"] <= 0 <= pair["high"]:
            verdict = "is neither clearly better nor clearly worse than"
        said = (
            f"{self.first} {verdict} {self.second} on the latest week: NDCG@20 {pair['difference']:+.4f} "
            f"({pair['low']:+.4f} to {pair['high']:+.4f}, {pair['listeners']} listeners)."
        )
        if self.trained_on_the_week:
            said += f" Trained on that week, and so rated too high: {', '.join(self.trained_on_the_week)}."
        return said


def evaluate_pair(first_label: str, second_label: str) -> PairEvaluation:
    """Compare two versions on the latest week; raises what `evaluate_version` raises."""
    versions = [registry.find_version(label) for label in (first_label, second_label)]
    stored = [read_version(version, settings.MODEL_STORAGE) for version in versions]
    week = latest_week(read_training_data(), versions[0].seed)
    if week is None:
        return PairEvaluation(first_label, second_label, {}, [])
    seen = [one.label for one in versions if one.cut_off.timestamp() > week.start_seconds]
    difference = compare_stored_versions(week, stored[0], stored[1], versions[0].seed)
    return PairEvaluation(first_label, second_label, difference, seen)
