"""How a test is planned: of which kind, who can be tested, how many listeners get one model alone."""

from datetime import datetime
from typing import Final

from recommender import catalogues
from recommender.models import Experiment, ModelVersion, SplitShare

Kind, Role = Experiment.Kind, ModelVersion.Role
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
    if catalogues.learnt_of_another(ModelVersion.objects.filter(pk=version.pk)).exists():
        return f"{version.label} was learnt of a catalogue that the source has no more."
    return ""


def split_share() -> float:
    """Of how many listeners the loop's own tests give one model alone; 0 until staff set it.

    At a small site a split only takes lists away from the rounds that decide.
    """
    newest = SplitShare.objects.first()
    return newest.share if newest else 0.0


def set_split_share(share: float, *, reason: str, by: str, now: datetime) -> SplitShare:
    """For the loop's tests from now on; those that run keep theirs."""
    return SplitShare.objects.create(share=share, reason=reason, by=by, at=now)
