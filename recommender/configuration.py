"""From settings to what serving and the ledger need, once for all doors.

What training needs stands in trainer.py: a web process never loads it.
"""

from django.conf import settings
from django.utils import timezone

from recommender import champion, experiments, gates, plans, registry, scoring, serving
from recommender.engine import artifact
from recommender.experiments import Judged
from recommender.models import Experiment, ModelVersion, Promotion


def serving_options() -> serving.Options:
    """The settings' storage, and what else does not change from request to request."""
    return serving.Options(storage=settings.MODEL_STORAGE)


def loaded() -> champion.Loaded:
    """What serves now, in this process."""
    return champion.current(settings.MODEL_STORAGE)


def promote_now(label: str, *, reason: str, by: str) -> Promotion:
    """Make this version champion once its files are verified.

    Raises:
        RegistryError: it may not become champion.
        ArtifactError: its files are missing or damaged.
    """
    promotion = registry.promote(registry.find(label), reason=reason, by=by, verify=verify)
    experiments.void_dethroned(timezone.now())
    return promotion


def roll_back_now(*, reason: str, by: str) -> Promotion:
    """Withdraw the champion, and bring back the last good version before it.

    Raises:
        NothingToRollBack: there is none.
    """
    promotion = registry.roll_back(reason=reason, by=by, verify=verify)
    experiments.void_dethroned(timezone.now())
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
    scoring.close_due(now)
    return experiments.judge(now, verify)


def compare_equals_now(*, by: str, list_share: float = experiments.LIST_SHARE) -> Experiment:
    """Test the champion against itself: whatever differs is a fault of the serving.

    Raises:
        NotDecidable: there is no champion.
    """
    champion_row = registry.champion_row()
    if champion_row is None:
        raise experiments.NotDecidable(registry.NO_MODEL)
    return experiments.propose(
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
        raise experiments.NotDecidable(registry.NO_MODEL)
    if why := plans.why_untestable(version):
        raise experiments.NotDecidable(why)
    now = timezone.now()
    passed = gates.pass_through(version, settings.MODEL_STORAGE, now, verify)
    if not passed["passed"]:
        raise experiments.NotDecidable(f"{label} did not pass: {gates.reasons(passed)}")
    return experiments.propose(
        version, kind=plans.kind_of(version, champion_row), gates=passed, by=by, now=now,
        list_share=list_share, split_share=split_share, purpose=reason,
    )  # fmt: skip


def decide_now(experiment: Experiment, *, promote: bool, reason: str, by: str) -> Promotion | None:
    """End a test as a person wants it.

    Raises:
        NotDecidable: it is over, or there is no reason.
        RegistryError: the challenger can't become champion.
        ArtifactError: its files are missing or damaged.
    """
    return experiments.decide_by_hand(
        experiment, promote=promote, reason=reason, by=by, now=timezone.now(), verify=verify
    )
