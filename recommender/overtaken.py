"""Tests that have lost their sense, because another champion has come or a version can't serve any more."""

from typing import Final

from recommender import mishaps
from recommender.models import Experiment, ModelVersion, TrainingRun

Kind = Experiment.Kind
BY_ITSELF: Final = "the loop"


def why_senseless(champion: ModelVersion | None, experiment: Experiment) -> str:
    """Why a test has lost its sense, in a sentence; empty where it has not."""
    challenger = experiment.challenger
    if experiment.kind != Kind.ANCHOR:
        return "" if experiment.champion == champion else f"The champion is {champion or 'none'} by now."
    if challenger == champion:
        return "The anchor is champion."
    return f"{challenger} can't serve any more." if mishaps.may_not_serve(challenger) else ""


def is_left_behind(waiting: Experiment, champion: ModelVersion) -> bool:
    """Whether another champion has come while the loop's weekly candidate waited.

    It carries on the groups of one that serves no more, or of none, and so would be tested as a change, for
    up to two months in which nothing else is: the next cycle refreshes the new champion. One that was learnt
    anew because the world has moved is no less wanted than before, and a person's wish is a person's.
    """
    if waiting.champion == champion or waiting.by != BY_ITSELF:
        return False
    return not TrainingRun.objects.filter(version=waiting.challenger, full=True).exists()
