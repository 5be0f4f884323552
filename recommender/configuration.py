"""From settings to what serving and the ledger need, once for all doors.

What training needs stands in trainer.py: a web process never loads it.
"""

from django.conf import settings

from recommender import champion, registry, serving
from recommender.engine import artifact
from recommender.models import ModelVersion, Promotion


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
    return registry.promote(registry.find(label), reason=reason, by=by, verify=verify)


def roll_back_now(*, reason: str, by: str) -> Promotion:
    """Withdraw the champion, and bring back the last good version before it.

    Raises:
        NothingToRollBack: there is none.
    """
    return registry.roll_back(reason=reason, by=by, verify=verify)


def verify(version: ModelVersion) -> None:
    """Compare a version's files with their hashes.

    Raises:
        ArtifactError: they are missing or damaged.
    """
    artifact.verify(settings.MODEL_STORAGE / version.label, version.artifact_sha256)
