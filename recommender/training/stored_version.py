"""Reads a version's artifact for a training: its model, and the clusters to continue."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.engine import artifact
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.mix.model import MixModel
from recommender.models import ModelVersion
from recommender.registry import artifact_storage, registry


@dataclass(frozen=True)
class StoredVersion:
    version: ModelVersion
    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]

    @property
    def song_ids(self) -> NDArray[np.int64]:
        """The model's song ids, ascending, shape (n_songs,): column j is song `song_ids[j]`."""
        return self.arrays["song_ids"]

    @cached_property
    def model(self) -> MixModel | ClassicModel:
        """The version's model; raises `KeyError` or `TypeError` if an older release stored other arrays."""
        kind = ClassicModel if self.version.method == ModelVersion.Method.CLASSIC else MixModel
        return kind.from_parts(self.arrays, self.facts)


def read_version(version: ModelVersion, storage: Path) -> StoredVersion:
    """Read a version's artifact; raises `ArtifactError` if the files are missing or damaged."""
    return StoredVersion(version, *artifact_storage.read(version, storage))


def read_champion(storage: Path) -> StoredVersion | None:
    champion = registry.current_champion()
    if champion is None:
        return None
    try:
        return read_version(champion, storage)
    except artifact.ArtifactError:
        # The watchdog reports the files (`model_degraded`); the training goes on without a champion.
        return None
