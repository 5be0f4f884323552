"""Labels of model artifacts: the next free one, and clean-up."""

import json
import logging
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Final

from django.db.models import Exists, OuterRef, Q

from recommender.engine import artifact
from recommender.models import Experiment, ModelVersion, Promotion, TrainingRun
from recommender.registry import artifact_storage, registry, shared_storage

logger = logging.getLogger(__name__)

DELETABLE_ROLES: Final = (ModelVersion.Role.CANDIDATE, ModelVersion.Role.RETIRED)
LABEL_PATTERN: Final = re.compile(r"\d{4}w\d\d\.\d+")


IN_USE: Final = "{label} serves or is in an unfinished experiment: its files are needed."


class FilesInUse(registry.RegistryError):
    """The version serves or is tested."""


def next_free_label(storage: Path, now: datetime) -> str:
    """The next label from year, ISO week and number: 2026w47.1; unused by any version and artifact."""
    year, week, _ = now.isocalendar()
    prefix = f"{year}w{week:02}"
    taken = set(ModelVersion.objects.filter(label__startswith=f"{prefix}.").values_list("label", flat=True))
    taken |= artifact_storage.labels(storage)
    number = 1
    while f"{prefix}.{number}" in taken or (storage / f"{prefix}.{number}").exists():
        number += 1
    return f"{prefix}.{number}"


def training_signature(run: TrainingRun) -> str:
    """A string that identifies a training among all databases that share the storage."""
    return f"{run.pk} {run.started_at.isoformat()} {run.host} {run.pid}"


def prepare_storage(storage: Path) -> None:
    """Create the folder of artifacts, and remove those of trainings that stored no version.

    Those of other databases stay. The caller must hold the training lock.

    Raises:
        OSError: artifacts can't be written; better noticed here than after minutes of training.
    """
    shared_storage.require_writable()
    storage.mkdir(parents=True, exist_ok=True)
    artifact.clear_unfinished(storage)
    kept = set(ModelVersion.objects.values_list("label", flat=True))
    found = artifact_storage.labels(storage) | {one.name for one in storage.iterdir()}
    orphans = sorted(label for label in found - kept if LABEL_PATTERN.fullmatch(label))
    if not orphans:
        return
    ours = {training_signature(run) for run in TrainingRun.objects.exclude(status=TrainingRun.Status.RUNNING)}
    # Each by its own signature: two databases may have written the same label, one here and one there.
    for label in orphans:
        if _read_training_signature(storage / label) in ours:
            shutil.rmtree(storage / label, ignore_errors=True)
            logger.warning("orphan_removed version=%s", label)
        if artifact_storage.training_signature(label) in ours:
            artifact_storage.delete_shared(label)
            logger.warning("shared_orphan_removed version=%s", label)


def delete_old_artifacts(storage: Path, keep: int, now: datetime) -> int:
    """Delete the files of versions that never became champion; return the number of these versions.

    The versions' rows stay. Files of withdrawn versions, of the newest `keep` versions and of versions in
    unfinished experiments stay, too. A shared storage that is away keeps the files until the next call.
    """
    promoted = Promotion.objects.filter(promoted=OuterRef("pk"))
    unfinished = Experiment.objects.exclude(status=Experiment.Status.ENDED).filter(
        Q(challenger=OuterRef("pk")) | Q(champion=OuterRef("pk"))
    )
    newest = list(ModelVersion.objects.order_by("-pk").values_list("pk", flat=True)[:keep])
    old = ModelVersion.objects.filter(
        ~Exists(promoted), ~Exists(unfinished), files_deleted_at=None, role__in=DELETABLE_ROLES
    ).exclude(pk__in=newest)
    labels = list(old.order_by("pk").values_list("label", flat=True))
    for label in labels:
        # The mark comes first: nobody may load files that are half deleted.
        ModelVersion.objects.filter(label=label).update(files_deleted_at=now)
        logger.info("artifact_deleted version=%s", label)
    # Also what an earlier call left that ended in between.
    marked = set(ModelVersion.objects.exclude(files_deleted_at=None).values_list("label", flat=True))
    try:
        for label in sorted(marked & artifact_storage.labels(storage)):
            artifact_storage.delete(label, storage)
    except artifact.ArtifactUnavailable as error:
        logger.warning("artifacts_not_deleted reason=%r", str(error))
    for label in marked:
        shutil.rmtree(storage / label, ignore_errors=True)
    return len(labels)


def delete_files(label: str, storage: Path, now: datetime) -> None:
    """Delete the files of a version that nobody needs, also if they are lost or damaged; its row stays.

    What a shared storage that is away keeps is deleted with the next `delete_old_artifacts`.

    Raises:
        FilesInUse: the version is champion or challenger, or in an unfinished experiment.
        UnknownVersion: no version has this label.
    """
    with registry.role_lock():
        version = registry.find_version(label)
        unfinished = Experiment.objects.exclude(status=Experiment.Status.ENDED)
        is_tested = unfinished.filter(Q(challenger=version) | Q(champion=version)).exists()
        if is_tested or version.role in {ModelVersion.Role.CHAMPION, ModelVersion.Role.CHALLENGER}:
            raise FilesInUse(IN_USE.format(label=label))
        ModelVersion.objects.filter(pk=version.pk, files_deleted_at=None).update(files_deleted_at=now)
    try:
        artifact_storage.delete(label, storage)
    except artifact.ArtifactUnavailable as error:
        logger.warning("artifacts_not_deleted reason=%r", str(error))
    logger.info("artifact_deleted version=%s", label)


def _read_training_signature(folder: Path) -> str | None:
    try:
        manifest = json.loads((folder / artifact.MANIFEST).read_bytes())
        return str(manifest["facts"]["training"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
