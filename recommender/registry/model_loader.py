"""The model that serves: loaded once a process, verified, and swapped when another one is promoted."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine import artifact
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.clustering.affinities import cluster_affinities
from recommender.engine.data import Profiles, ServableModel
from recommender.engine.mix.model import OnlineMixModel
from recommender.listener_profiles import find_columns
from recommender.models import Cluster, ModelVersion
from recommender.registry import registry

logger = logging.getLogger(__name__)

# A promotion shows within five seconds: three until a look at one row, two to hash the files.
CHECK_EVERY: Final = 3.0  # seconds
# A broken artifact is hashed again at every look at first, then ever more rarely: hashing takes a second.
MAX_RETRY_PAUSE: Final = 300.0  # seconds

# How each method's model serves.
SERVING_CLASSES: Final[Mapping[str, type[OnlineMixModel | ClassicModel]]] = {
    ModelVersion.Method.MIX: OnlineMixModel,
    ModelVersion.Method.CLASSIC: ClassicModel,
}

# A challenger and the anchor.
MAX_CHALLENGERS: Final = 2

FileSignature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class NamedCluster:
    """A cluster as it is shown."""

    number: int
    name: str


@dataclass(frozen=True)
class ServingModel:
    """A version in memory; its arrays are the artifact's own pages."""

    version: ModelVersion
    scorer: ServableModel
    song_ids: NDArray[np.int64]
    clusters: tuple[NamedCluster, ...]  # by the model's own label
    folder: Path
    signature: FileSignature

    def is_intact(self) -> bool:
        """Whether its files are those that were verified: reading a page that was cut off ends a process."""
        return file_signature(self.folder) == self.signature

    @cached_property
    def cluster_numbers(self) -> NDArray[np.int32]:
        """Shape (n_clusters,): the cluster's number by the model's own label."""
        return np.array([group.number for group in self.clusters], dtype=np.int32)

    def cluster_affinities(self, profile: Profiles) -> dict[int, float]:
        """One listener's affinities by cluster number, the dearest first; they sum to 1, or there are none.

        Shares of what was played, as they are told to the listener: what favourite genres let expect, which
        the ranking leans on while plays are few, is not in them.
        """
        if not profile.plays.nnz:
            return {}
        base = profile.plays if profile.recent is None else profile.recent
        shares = cluster_affinities(base, self.scorer.labels, len(self.clusters), profile.skips)[0]
        if profile.skips is not None and profile.skips.nnz and len(shares) > 1 and np.ptp(shares) == 0:
            # All that was played was skipped since: every cluster has the same share, which says nothing.
            return {}
        order = np.lexsort((self.cluster_numbers, -shares))
        liked = order[shares[order] > 0]
        return dict(zip(self.cluster_numbers[liked].tolist(), shares[liked].tolist(), strict=True))

    def cluster_numbers_of(self, song_ids: NDArray[np.int64], default: int) -> NDArray[np.int32]:
        """Shape of `song_ids`: their clusters' numbers, and `otherwise` for songs the model does not know."""
        columns, there = find_columns(self.song_ids, song_ids)
        numbers = np.full(len(song_ids), default, dtype=np.int32)
        numbers[there] = self.cluster_numbers[self.scorer.labels[columns[there]]]
        return numbers

    @cached_property
    def cluster_names(self) -> dict[int, str]:
        """Clusters' names by their numbers."""
        return {group.number: group.name for group in self.clusters}

    def cluster_of(self, song_id: int) -> NamedCluster | None:
        """The cluster of a song; None for a song that the model does not know."""
        column = self.column_of(song_id)
        return None if column is None else self.clusters[int(self.scorer.labels[column])]

    def column_of(self, song_id: int) -> int | None:
        """The song's column; None for a song that the model does not know."""
        if not -(2**63) <= song_id < 2**63:
            return None
        column = int(np.searchsorted(self.song_ids, song_id))
        return column if column < len(self.song_ids) and self.song_ids[column] == song_id else None

    @cached_property
    def label_by_number(self) -> dict[int, int]:
        """The model's own label by the cluster's number."""
        return {group.number: label for label, group in enumerate(self.clusters)}


@dataclass(frozen=True)
class LoadedModel:
    """What serves now.

    Attributes:
        model: None: popularity alone, for want of a model.
        degraded: why this is not the champion, for a person; None while it is.
    """

    model: ServingModel | None
    degraded: str | None

    @property
    def version_id(self) -> int | None:
        return self.model.version.pk if self.model else None


class ModelLoader:
    """Keeps what serves from one storage; any thread may ask.

    Whoever holds a `Loaded` may go on with it: a newer one replaces it for those who ask later.
    """

    def __init__(self, storage: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage = storage
        self._clock = clock
        self._lock = threading.Lock()
        self._loaded: LoadedModel | None = None
        self._challengers: dict[int, ServingModel] = {}
        self._broken_files: dict[int, tuple[FileSignature, str]] = {}
        self._wanted: tuple[int, str] | None = None  # the champion that was tried last
        self._next_check = 0.0
        self._next_try = 0.0
        self._pause = CHECK_EVERY

    def current_model(self) -> LoadedModel:
        """What serves now; looks for another champion at most every five seconds."""
        loaded = self._loaded
        if loaded is not None and self._clock() < self._next_check:
            return loaded
        # One thread looks; the others go on with what there is, or wait where there is nothing yet.
        if not self._lock.acquire(blocking=loaded is None) and loaded is not None:
            return loaded
        try:
            if self._loaded is None or self._clock() >= self._next_check:
                return self._check_champion()
            return self._loaded
        finally:
            self._lock.release()

    def load_challenger(self, version: ModelVersion) -> ServingModel:
        """The model of a version that is tested against the champion.

        Raises:
            ArtifactError: its files are missing or damaged.
        """
        with self._lock:
            known = self._challengers.get(version.pk)
            if known is not None and known.is_intact():
                return known
            self._challengers.pop(version.pk, None)
            self._require_changed_files(version)
            while len(self._challengers) >= MAX_CHALLENGERS:
                del self._challengers[next(iter(self._challengers))]
            signature = file_signature(self._storage / version.label)
            try:
                opened = self._challengers[version.pk] = open_serving_model(version, self._storage)
            except artifact.ArtifactError as error:
                self._broken_files[version.pk] = (signature, str(error))
                raise
            logger.info("model_loaded version=%s for=test", version.label)
            return opened

    def _require_changed_files(self, version: ModelVersion) -> None:
        """Files that were refused are not hashed again for each list, only once they have changed."""
        signature, why = self._broken_files.get(version.pk, ((), ""))
        if why and signature == file_signature(self._storage / version.label):
            raise artifact.ArtifactDamaged(why)

    def reload(self) -> LoadedModel:
        """Look now, for the files of what served were found changed."""
        with self._lock:
            return self._check_champion()

    def _check_champion(self) -> LoadedModel:
        champion = registry.current_champion()
        wanted = (champion.pk, champion.artifact_sha256) if champion else None
        now = self._clock()
        loaded = self._loaded
        if loaded is None or not self._is_up_to_date(loaded, wanted, now):
            is_retry = loaded is not None and loaded.degraded is not None and wanted == self._wanted
            loaded = self._loaded = self._load(champion)
            self._wanted = wanted
            self._pause = min(2 * self._pause, MAX_RETRY_PAUSE) if is_retry else CHECK_EVERY
            self._next_try = now + self._pause
        self._next_check = now + CHECK_EVERY
        return loaded

    def _is_up_to_date(self, loaded: LoadedModel, wanted: tuple[int, str] | None, now: float) -> bool:
        if wanted != self._wanted or (loaded.model is not None and not loaded.model.is_intact()):
            return False
        return wanted is None or loaded.degraded is None or now < self._next_try

    def _load(self, champion: ModelVersion | None) -> LoadedModel:
        if champion is None:
            return LoadedModel(None, registry.why_no_champion())
        why: list[str] = []
        for version in _versions_to_try(champion):
            try:
                model = open_serving_model(version, self._storage)
            except (artifact.ArtifactError, LookupError, ValueError) as error:
                # Without a traceback: the reason names the file, and a retry comes every few minutes.
                logger.error("artifact_refused version=%s reason=%r", version.label, str(error))  # noqa: TRY400
                why.append(f"{version.label}: {error}")
                continue
            logger.info("model_loaded version=%s degraded=%s", version.label, bool(why))
            return LoadedModel(model, " ".join([*why, f"{version.label} serves instead."]) if why else None)
        return LoadedModel(None, " ".join([*why, "Popularity serves instead."]))


def current_model(storage: Path) -> LoadedModel:
    """What serves now from this storage, in this process."""
    return loader_for(storage).current_model()


def loader_for(storage: Path) -> ModelLoader:
    return _loaders.setdefault(storage, ModelLoader(storage))


def open_serving_model(version: ModelVersion, storage: Path) -> ServingModel:
    """The version's model, after its files were verified.

    Raises:
        ArtifactError: the files are missing or damaged.
    """
    folder = storage / version.label
    # Taken before the files are read: what changes in between is seen as changed.
    signature = file_signature(folder)
    arrays, facts = artifact.read_arrays(folder, version.artifact_sha256)
    names = dict(Cluster.objects.filter(version=version).values_list("number", "name"))
    numbers = arrays["cluster_ids"].tolist()
    groups = tuple(NamedCluster(number, names.get(number, f"Cluster {number}")) for number in numbers)
    learnt = SERVING_CLASSES[version.method].from_parts(arrays, facts)
    return ServingModel(version, learnt, arrays["song_ids"], groups, folder, signature)


def file_signature(folder: Path) -> FileSignature:
    """Name, inode, size and time of each file; () for a folder that is not there."""
    try:
        files = sorted(folder.iterdir())
        states = [(file.name, file.stat()) for file in files]
    except OSError:
        return ()
    return tuple((name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states)


def _versions_to_try(champion: ModelVersion) -> Iterator[ModelVersion]:
    yield champion
    yield from (version for version in registry.former_champions() if version.pk != champion.pk)


_loaders: dict[Path, ModelLoader] = {}
