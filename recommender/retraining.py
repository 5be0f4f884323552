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
from recommender.experiments.lifecycle import Judged
from recommender.feedback import engagement
from recommender.models import DriftReport, Experiment, ModelVersion, TrainingRun
from recommender.monitoring import alerts
from recommender.registry import model_loader, registry
from recommender.registry.registry import Verify
from recommender.services import verify
from recommender.training.data_fingerprint import NothingNew
from recommender.training.dataset import read_training_data
from recommender.training.evaluation import WEEK, compare_version, latest_week, open_model
from recommender.training.train import Order, Watch, retrain

logger = logging.getLogger(__name__)
Status = TrainingRun.Status
# Full retrains by drift: at most one a month, and none within three days of any other.
BETWEEN_DRIFTS: Final = timedelta(days=28)
BETWEEN_FULL: Final = timedelta(hours=72)
# What is new in the world itself; feedback may move because of the model, and the feed because it broke.
RETRAIN_ON: Final = (DriftReport.Kind.LISTENING, DriftReport.Kind.SONGS)
BY_ITSELF: Final = "the loop"
BY_TIMETABLE: Final = (TrainingRun.Trigger.SCHEDULE, TrainingRun.Trigger.DRIFT)


@dataclass(frozen=True)
class Cycled:
    """What came of a cycle.

    Attributes:
        gates: {} where nothing was learnt.
        experiment: None where the version did not pass, or became the first champion.
    """

    training: TrainingRun
    gates: dict[str, Any]
    experiment: Experiment | None = None

    @property
    def sentence(self) -> str:
        if self.experiment is not None:
            verb = "is tested against" if self.experiment.started_at else "waits for its test against"
            return f"{self.training.summary} It {verb} {self.experiment.champion}."
        if self.gates and not self.gates["passed"]:
            return f"{self.training.summary} It did not pass: {validation.reasons(self.gates)}"
        return self.training.summary or self.training.error


def cycle(order: Order, now: datetime, verify: Verify) -> Cycled:
    """Learn a version, pass it through the gates, and propose it for a test.

    Raises:
        AlreadyTraining: another training holds the lock.
    """
    training = _left_untested(retrain(order))
    version = training.version
    serving = registry.champion_row()
    if version is None or version.role != ModelVersion.Role.CANDIDATE or serving is None:
        return Cycled(training, {})
    passed = validation.pass_through(version, order.storage, now, verify)
    if not passed["passed"]:
        logger.warning("version_refused version=%s reason=%r", version.label, validation.reasons(passed))
        return Cycled(training, passed)
    test = lifecycle.propose(
        version, kind=eligibility.kind_of(version, serving), gates=passed, by=BY_ITSELF, now=now,
        split_share=eligibility.split_share(),
    )  # fmt: skip
    return Cycled(training, passed, test)


def _left_untested(training: TrainingRun) -> TrainingRun:
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
    return last if last.trigger in BY_TIMETABLE else training


def look(now: datetime, verify: Verify) -> list[Judged]:
    """The daily look: close lists, count engagement, judge the tests, watch what may be unwell."""
    interleaving_scores.close_due(now)
    engagement.update(now)
    judged = lifecycle.judge(now, verify)
    alerts.watch_engagement(now)
    alerts.watch_cohesion(now)
    alerts.watch_feed(now)
    alerts.watch_tests(now)
    return judged


def watch_drift(storage: Path, now: datetime) -> tuple[list[DriftReport], bool]:
    """The weekly look at drift; whether it calls for a full retrain now."""
    row = registry.champion_row()
    if row is None:
        return [], False
    try:
        model = model_loader.open_version(row, storage)
    except ArtifactError:
        logger.exception("drift_not_checked version=%s", row.label)
        return [], False
    # First: songs whose features the feed has broken look new, and must not be learnt from afresh.
    alerts.watch_feed(now)
    reports = alerts.watch_drift(model, now)
    is_fed = not alerts.feed_was_broken(now)
    wanted = any(
        report.alarm and report.kind in RETRAIN_ON and (is_fed or report.kind != DriftReport.Kind.SONGS)
        for report in reports
    )
    return reports, wanted and may_retrain_fully(now)


def may_retrain_fully(now: datetime) -> bool:
    """Whether the last full retrain, by drift or by anybody, is long enough ago."""
    # One that was refused, failed or killed has brought nothing: it must not use up the month's only one.
    full = TrainingRun.objects.filter(
        full=True, started_at__lte=now, status__in=(Status.RUNNING, Status.SUCCEEDED)
    )
    by_drift = full.filter(trigger=TrainingRun.Trigger.DRIFT, started_at__gt=now - BETWEEN_DRIFTS)
    return not by_drift.exists() and not full.filter(started_at__gt=now - BETWEEN_FULL).exists()


def retrain_now(watch: Watch | None = None, **wanted: Any) -> TrainingRun:
    """One training into the settings' storage; arguments as `Order`, raises as `retrain`."""
    return retrain(Order(storage=settings.MODEL_STORAGE, **wanted), watch)


def cycle_now(**wanted: Any) -> Cycled:
    """Learn from what is new, pass the gates and be tested; arguments as `Order`.

    Raises:
        AlreadyTraining: another training holds the lock.
    """
    order = Order(storage=settings.MODEL_STORAGE, only_if_new=True, by=BY_ITSELF, **wanted)
    return cycle(order, timezone.now(), verify)


def look_now() -> list[Judged]:
    """The daily look at tests, engagement, cohesion and feed."""
    return look(timezone.now(), verify)


def check_drift_now() -> tuple[list[DriftReport], bool]:
    """The weekly look at drift; whether it calls for a full retrain."""
    return watch_drift(settings.MODEL_STORAGE, timezone.now())


@dataclass(frozen=True)
class Evaluated:
    """A version beside the baselines on the latest week.

    Attributes:
        metrics: {} where the latest week, or the time before it, holds nothing to go by.
        has_seen_the_week: whether it has learnt from that week, and so knows the answers.
        before: what its training measured before it had.
    """

    label: str
    metrics: dict[str, dict[str, Any]]
    has_seen_the_week: bool
    before: dict[str, dict[str, Any]]


def evaluate_now(label: str | None) -> Evaluated:
    """Measure a version, the champion by default, on the latest week.

    Raises:
        RegistryError: there is no such version, or no champion.
        ArtifactError: its files are missing or damaged.
    """
    version = registry.find(label) if label else registry.champion_row()
    if version is None:
        raise registry.UnknownVersion(
            registry.NO_CHAMPION if ModelVersion.objects.exists() else registry.NO_MODEL
        )
    model, song_ids = open_model(version, settings.MODEL_STORAGE)
    data = read_training_data()
    week = latest_week(data, version.seed)
    if week is None:
        return Evaluated(version.label, {}, False, version.metrics)
    begins = float(data.plays.at.max()) - WEEK
    metrics = compare_version(week, model, song_ids, version.seed)
    return Evaluated(version.label, metrics, version.cut_off.timestamp() > begins, version.metrics)
