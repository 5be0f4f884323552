"""From settings to what serving and the ledger need, once for all doors.

What training needs stands in trainer.py: a web process never loads it.
"""

from django.conf import settings
from django.utils import timezone

from recommender import validation
from recommender.engine import artifact
from recommender.experiments import eligibility, interleaving_scores, lifecycle
from recommender.experiments.lifecycle import Judged
from recommender.models import Experiment, ModelVersion, Promotion
from recommender.registry import model_loader, registry
from recommender.serving import recommendations


def serving_options() -> recommendations.Options:
    """The settings' storage, and what else does not change from request to request."""
    return recommendations.Options(storage=settings.MODEL_STORAGE)


def loaded() -> model_loader.Loaded:
    """What serves now, in this process."""
    return model_loader.current(settings.MODEL_STORAGE)


def promote_now(label: str, *, reason: str, by: str) -> Promotion:
    """Make this version champion once its files are verified.

    Raises:
        RegistryError: it may not become champion.
        ArtifactError: its files are missing or damaged.
    """
    promotion = registry.promote(registry.find(label), reason=reason, by=by, verify=verify)
    lifecycle.void_dethroned(timezone.now())
    return promotion


def roll_back_now(*, reason: str, by: str) -> Promotion:
    """Withdraw the champion, and bring back the last good version before it.

    Raises:
        NothingToRollBack: there is none.
    """
    promotion = registry.roll_back(reason=reason, by=by, verify=verify)
    lifecycle.void_dethroned(timezone.now())
    return promotion


def verify(version: ModelVersion) -> None:
    """Compare a version's files with their hashes.

    Raises:
        ArtifactError: they are missing or damaged.
    """
    artifact.verify(settings.MODEL_STORAGE / version.label, version.artifact_sha256)


def judge_now() -> list[Judged]:
    """Close the lists whose time has come, and look at every running test."""
    now = timezone.now()
    interleaving_scores.close_due(now)
    return lifecycle.judge(now, verify)


def compare_equals_now(*, by: str, list_share: float = lifecycle.LIST_SHARE) -> Experiment:
    """Test the champion against itself: whatever differs is a fault of the serving.

    Raises:
        NotDecidable: there is no champion.
    """
    champion_row = registry.champion_row()
    if champion_row is None:
        raise lifecycle.NotDecidable(registry.NO_MODEL)
    return lifecycle.propose(
        champion_row, kind=Experiment.Kind.EQUALS, gates={}, by=by, now=timezone.now(), list_share=list_share
    )


def test_now(label: str, *, list_share: float, split_share: float, reason: str, by: str) -> Experiment:
    """Pass a version through the gates, and line it up for a test against the champion.

    Raises:
        NotDecidable: there is no champion, the version can't be tested now, or a gate is against it.
        RegistryError: there is no such version.
    """
    version, champion_row = registry.find(label), registry.champion_row()
    if champion_row is None:
        raise lifecycle.NotDecidable(registry.NO_MODEL)
    if why := eligibility.why_untestable(version):
        raise lifecycle.NotDecidable(why)
    now = timezone.now()
    passed = validation.pass_through(version, settings.MODEL_STORAGE, now, verify)
    if not passed["passed"]:
        raise lifecycle.NotDecidable(f"{label} did not pass: {validation.reasons(passed)}")
    return lifecycle.propose(
        version, kind=eligibility.kind_of(version, champion_row), gates=passed, by=by, now=now,
        list_share=list_share, split_share=split_share, purpose=reason,
    )  # fmt: skip


def decide_now(experiment: Experiment, *, promote: bool, reason: str, by: str) -> Promotion | None:
    """End a test as a person wants it.

    Raises:
        NotDecidable: it is over, or there is no reason.
        RegistryError: the challenger can't become champion.
        ArtifactError: its files are missing or damaged.
    """
    return lifecycle.decide_by_hand(
        experiment, promote=promote, reason=reason, by=by, now=timezone.now(), verify=verify
    )
