"""The loop's cycle: learn, pass the gates, be tested; a step that fails leaves things as they were."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from recommender import champion, engagement, experiments, gates, monitoring, plans, registry, scoring
from recommender.engine.artifact import ArtifactError
from recommender.experiments import Judged
from recommender.models import DriftReport, Experiment, ModelVersion, TrainingRun
from recommender.news import NothingNew
from recommender.registry import Verify
from recommender.training import Order, retrain

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
            return f"{self.training.summary} It did not pass: {gates.reasons(self.gates)}"
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
    passed = gates.pass_through(version, order.storage, now, verify)
    if not passed["passed"]:
        logger.warning("version_refused version=%s reason=%r", version.label, gates.reasons(passed))
        return Cycled(training, passed)
    test = experiments.propose(
        version, kind=plans.kind_of(version, serving), gates=passed, by=BY_ITSELF, now=now,
        split_share=plans.split_share(),
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
    scoring.close_due(now)
    engagement.update(now)
    judged = experiments.judge(now, verify)
    monitoring.watch_engagement(now)
    monitoring.watch_cohesion(now)
    monitoring.watch_feed(now)
    monitoring.watch_tests(now)
    return judged


def watch_drift(storage: Path, now: datetime) -> tuple[list[DriftReport], bool]:
    """The weekly look at drift; whether it calls for a full retrain now."""
    row = registry.champion_row()
    if row is None:
        return [], False
    try:
        model = champion.open_version(row, storage)
    except ArtifactError:
        logger.exception("drift_not_checked version=%s", row.label)
        return [], False
    # First: songs whose features the feed has broken look new, and must not be learnt from afresh.
    monitoring.watch_feed(now)
    reports = monitoring.watch_drift(model, now)
    is_fed = not monitoring.feed_was_broken(now)
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
