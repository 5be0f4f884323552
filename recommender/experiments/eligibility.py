"""Checks which versions may be tested and which experiments are obsolete; sets the A/B split's share.

A `why_...` function returns a sentence, '' if nothing is wrong.
"""

from datetime import datetime
from typing import Final

from ingestion.english import english_label, english_name
from recommender import catalogue_generation
from recommender.experiments import serving_errors
from recommender.models import Experiment, ModelVersion, TrafficSplit, TrainingRun

ExperimentKind = Experiment.Kind
AUTOMATIC_ACTOR: Final = "the loop"


def why_obsolete(champion: ModelVersion | None, experiment: Experiment) -> str:
    challenger = experiment.challenger
    if experiment.kind != ExperimentKind.HOLDBACK:
        return "" if experiment.champion == champion else f"The champion is {champion or 'none'} by now."
    if challenger == champion:
        return "The anchor is champion."
    return f"{challenger} can't serve any more." if serving_errors.is_unservable(challenger) else ""


def was_champion_replaced(waiting: Experiment, champion: ModelVersion) -> bool:
    """Whether an automatic candidate is obsolete, because the champion changed while it waited."""
    # A warm start continues the former champion's clusters. It would be tested as a change and block other
    # experiments for up to two months, while the next retraining continues the new champion's clusters. A
    # full retrain after drift and an experiment that a person started stay useful.
    if waiting.champion == champion or waiting.by != AUTOMATIC_ACTOR:
        return False
    return not TrainingRun.objects.filter(version=waiting.challenger, full=True).exists()


Role = ModelVersion.Role
# The listeners outside the split decide an experiment by interleaving: at least half must remain.
MAX_SPLIT_SHARE: Final = 0.5
TESTABLE_ROLES: Final = (Role.CANDIDATE, Role.RETIRED)


def experiment_kind_for(version: ModelVersion, champion: ModelVersion) -> str:
    return ExperimentKind.REFRESH if version.parent_id == champion.pk else ExperimentKind.CHANGE


def why_not_testable(version: ModelVersion) -> str:
    if unended := version.challenges.exclude(status=Experiment.Status.ENDED).first():
        return f"{english_name(unended)} is under way: stop it first."
    if version.role not in TESTABLE_ROLES:
        return f"{version.label} is {english_label(version, 'role')}: it can't be tested."
    if version.files_deleted_at is not None:
        return f"The files of {version.label} were deleted: it can't be tested."
    if catalogue_generation.trained_on_earlier(ModelVersion.objects.filter(pk=version.pk)).exists():
        return f"{version.label} was trained on a catalogue that the source no longer has."
    return ""


def current_split_share() -> float:
    # On a small site a split only leaves fewer lists for interleaving, which decides experiments.
    newest = TrafficSplit.objects.first()
    return newest.share if newest else 0.0


def set_split_share(share: float, *, reason: str, by: str, now: datetime) -> TrafficSplit:
    """Set the A/B split's share for automatic experiments that start from now on."""
    return TrafficSplit.objects.create(share=share, reason=reason, by=by, at=now)
