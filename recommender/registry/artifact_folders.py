"""The storage's folders: which name is free, and which were written by trainings that never ended."""

import json
import logging
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Final

from recommender.engine import artifact
from recommender.models import ModelVersion, TrainingRun

logger = logging.getLogger(__name__)

LABEL_PATTERN: Final = re.compile(r"\d{4}w\d\d\.\d+")


def next_free_label(storage: Path, now: datetime) -> str:
    """Year, ISO week and the first number that no version and no folder has."""
    year, week, _ = now.isocalendar()
    head = f"{year}w{week:02}"
    taken = set(ModelVersion.objects.filter(label__startswith=f"{head}.").values_list("label", flat=True))
    number = 1
    while f"{head}.{number}" in taken or (storage / f"{head}.{number}").exists():
        number += 1
    return f"{head}.{number}"


def training_signature(run: TrainingRun) -> str:
    """What tells a training from all others, those of other databases too."""
    return f"{run.pk} {run.started_at.isoformat()} {run.host} {run.pid}"


def prepare_storage(storage: Path) -> None:
    """Make the storage, and remove what was written by trainings that ended before their rows were.

    Only what a training of this database wrote: another one may share the storage. Called by whoever holds
    the lock, so none of them is still at work.

    Raises:
        OSError: nothing can be written there; better found now than after minutes of learning.
    """
    storage.mkdir(parents=True, exist_ok=True)
    artifact.clear_unfinished(storage)
    kept = set(ModelVersion.objects.values_list("label", flat=True))
    odd = [one for one in storage.iterdir() if LABEL_PATTERN.fullmatch(one.name) and one.name not in kept]
    if not odd:
        return
    ours = {training_signature(run) for run in TrainingRun.objects.exclude(status=TrainingRun.Status.RUNNING)}
    for folder in odd:
        if _read_training_signature(folder) in ours:
            shutil.rmtree(folder, ignore_errors=True)
            logger.warning("orphan_removed version=%s", folder.name)


def _read_training_signature(folder: Path) -> str | None:
    """The signature of the training that wrote it; None where the manifest does not say."""
    try:
        manifest = json.loads((folder / artifact.MANIFEST).read_bytes())
        return str(manifest["facts"]["training"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
