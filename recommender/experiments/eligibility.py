"""Tests that have lost their sense, because another champion has come or a version can't serve any more."""

from datetime import datetime
from typing import Final

from recommender import catalogue_generation
from recommender.experiments import serving_errors
from recommender.models import Experiment, ModelVersion, TrafficSplit, TrainingRun

Kind = Experiment.Kind
BY_ITSELF: Final = "the loop"


def why_senseless(champion: ModelVersion | None, experiment: Experiment) -> str:
    """Why a test has lost its sense, in a sentence; empty where it has not."""
    challenger = experiment.challenger
    if experiment.kind != Kind.ANCHOR:
        return "" if experiment.champion == champion else f"The champion is {champion or 'none'} by now."
    if challenger == champion:
        return "The anchor is champion."
    return f"{challenger} can't serve any more." if serving_errors.may_not_serve(challenger) else ""


def is_left_behind(waiting: Experiment, champion: ModelVersion) -> bool:
    """Whether another champion has come while the loop's weekly candidate waited.

    It carries on the groups of one that serves no more, or of none, and so would be tested as a change, for
    up to two months in which nothing else is: the next cycle refreshes the new champion. One that was learnt
    anew because the world has moved is no less wanted than before, and a person's wish is a person's.
    """
    if waiting.champion == champion or waiting.by != BY_ITSELF:
        return False
    return not TrainingRun.objects.filter(version=waiting.challenger, full=True).exists()


Role = ModelVersion.Role
# The others' rounds decide a test: half of the listeners at least must be left to them.
MOST_SPLIT: Final = 0.5
TESTABLE: Final = (Role.CANDIDATE, Role.RETIRED)


def kind_of(version: ModelVersion, champion: ModelVersion) -> str:
    """A refresh goes on in the champion's own groups; whatever else there is must win."""
    return Kind.REFRESH if version.parent_id == champion.pk else Kind.CHANGE


def why_untestable(version: ModelVersion) -> str:
    """Why a version can't be tested now, in a sentence; empty where it can."""
    if going_on := version.challenges.exclude(status=Experiment.Status.ENDED).first():
        return f"{going_on} is under way: stop it first."
    if version.role not in TESTABLE:
        return f"{version.label} is {version.get_role_display()}: it can't be tested."
    if catalogue_generation.learnt_of_another(ModelVersion.objects.filter(pk=version.pk)).exists():
        return f"{version.label} was learnt of a catalogue that the source has no more."
    return ""


def split_share() -> float:
    """Of how many listeners the loop's own tests give one model alone; 0 until staff set it.

    At a small site a split only takes lists away from the rounds that decide.
    """
    newest = TrafficSplit.objects.first()
    return newest.share if newest else 0.0


def set_split_share(share: float, *, reason: str, by: str, now: datetime) -> TrafficSplit:
    """For the loop's tests from now on; those that run keep theirs."""
    return TrafficSplit.objects.create(share=share, reason=reason, by=by, at=now)
