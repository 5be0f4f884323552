"""Tests that have lost their sense, because another champion has come or a version can't serve any more."""

from datetime import datetime
from typing import Final

from recommender import catalogue_generation
from recommender.experiments import serving_errors
from recommender.models import Experiment, ModelVersion, TrafficSplit, TrainingRun

ExperimentKind = Experiment.Kind
AUTOMATIC_ACTOR: Final = "the loop"


def why_obsolete(champion: ModelVersion | None, experiment: Experiment) -> str:
    """Why a test has lost its sense, in a sentence; empty where it has not."""
    challenger = experiment.challenger
    if experiment.kind != ExperimentKind.ANCHOR:
        return "" if experiment.champion == champion else f"The champion is {champion or 'none'} by now."
    if challenger == champion:
        return "The anchor is champion."
    return f"{challenger} can't serve any more." if serving_errors.is_unservable(challenger) else ""


def was_champion_replaced(waiting: Experiment, champion: ModelVersion) -> bool:
    """Whether another champion has come while the loop's weekly candidate waited.

    It carries on the groups of one that serves no more, or of none, and so would be tested as a change, for
    up to two months in which nothing else is: the next cycle refreshes the new champion. One that was learnt
    anew because the world has moved is no less wanted than before, and a person's wish is a person's.
    """
    if waiting.champion == champion or waiting.by != AUTOMATIC_ACTOR:
        return False
    return not TrainingRun.objects.filter(version=waiting.challenger, full=True).exists()


Role = ModelVersion.Role
# The others' rounds decide a test: half of the listeners at least must be left to them.
MAX_SPLIT_SHARE: Final = 0.5
TESTABLE_ROLES: Final = (Role.CANDIDATE, Role.RETIRED)


def experiment_kind_for(version: ModelVersion, champion: ModelVersion) -> str:
    """A refresh goes on in the champion's own groups; whatever else there is must win."""
    return ExperimentKind.REFRESH if version.parent_id == champion.pk else ExperimentKind.CHANGE


def why_not_testable(version: ModelVersion) -> str:
    """Why a version can't be tested now, in a sentence; empty where it can."""
    if going_on := version.challenges.exclude(status=Experiment.Status.ENDED).first():
        return f"{going_on} is under way: stop it first."
    if version.role not in TESTABLE_ROLES:
        return f"{version.label} is {version.get_role_display()}: it can't be tested."
    if catalogue_generation.trained_on_earlier(ModelVersion.objects.filter(pk=version.pk)).exists():
        return f"{version.label} was learnt of a catalogue that the source has no more."
    return ""


def current_split_share() -> float:
    """Of how many listeners the loop's own tests give one model alone; 0 until staff set it.

    At a small site a split only takes lists away from the rounds that decide.
    """
    newest = TrafficSplit.objects.first()
    return newest.share if newest else 0.0


def set_split_share(share: float, *, reason: str, by: str, now: datetime) -> TrafficSplit:
    """For the loop's tests from now on; those that run keep theirs."""
    return TrafficSplit.objects.create(share=share, reason=reason, by=by, at=now)
