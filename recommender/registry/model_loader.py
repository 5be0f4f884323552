"""Loads and verifies the serving model once per process, and replaces it after a promotion."""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine import artifact
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.clustering.affinities import cluster_affinities
from recommender.engine.clustering.labeling import is_acceptable_name
from recommender.engine.data import Profiles, ServableModel
from recommender.engine.identity.name_words import NameWords
from recommender.engine.mix.model import OnlineMixModel
from recommender.engine.song_columns import find_columns
from recommender.engine.song_identity import SongIdentity, code_without_artist
from recommender.models import Cluster, ModelVersion
from recommender.models.naming import read_name_words
from recommender.registry import artifact_storage, registry, shared_storage
from recommender.registry.cluster_name_rules import naming_state

logger = logging.getLogger(__name__)

# Seconds. A promotion takes effect within five: three until the next check and two to hash the files.
CHECK_EVERY: Final = 3.0  # seconds
# A damaged artifact is tried again at every check, then with doubling pauses: hashing takes a second.
MAX_RETRY_PAUSE: Final = 300.0  # seconds
RETRY_DOWNLOAD_AFTER: Final = 60.0  # seconds

# The class that serves a version, by its method.
SERVING_CLASSES: Final[Mapping[str, type[OnlineMixModel | ClassicModel]]] = {
    ModelVersion.Method.MIX: OnlineMixModel,
    ModelVersion.Method.CLASSIC: ClassicModel,
}

UNKNOWN_ARTIST: Final = -1

# One for an experiment and one for the holdback.
MAX_CHALLENGERS: Final = 2

FileSignature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class NamedCluster:
    """A cluster's persistent number and its name, such as "Cluster 7" if it has none."""

    number: int
    name: str


@dataclass(frozen=True)
class ServingModel:
    """A version ready to serve, with memory-mapped arrays."""

    version: ModelVersion
    scorer: ServableModel
    song_ids: NDArray[np.int64]
    clusters: tuple[NamedCluster, ...]  # by label: the model numbers its clusters from 0
    folder: Path
    signature: FileSignature
    identity: SongIdentity  # artists and recordings of the songs
    naming_state: str = ""  # changes whenever staff change a cluster's name

    def is_intact(self) -> bool:
        """Whether the files are unchanged: reading a truncated memory-mapped file kills the process."""
        return file_signature(self.folder) == self.signature

    @cached_property
    def cluster_numbers(self) -> NDArray[np.int32]:
        return np.array([cluster.number for cluster in self.clusters], dtype=np.int32)

    def cluster_affinities(self, profile: Profiles) -> dict[int, float]:
        """One listener's affinities, see `block_affinities`."""
        return self.block_affinities(profile)[0]

    def block_affinities(self, profiles: Profiles) -> list[dict[int, float]]:
        """Each listener's affinities to the clusters, by number, highest first; they sum to 1.

        Without plays they are empty. The listener sees these shares of plays; the ranking also uses favourite
        genres after few plays.
        """
        base = profiles.plays if profiles.recent is None else profiles.recent
        shares = cluster_affinities(base, self.scorer.labels, len(self.clusters), profiles.skips)
        shares[np.diff(profiles.plays.indptr) == 0] = 0
        listeners, labels = np.nonzero(shares > 0)
        values, numbers = shares[listeners, labels], self.cluster_numbers[labels]
        order = np.lexsort((numbers, -values, listeners))
        starts = np.searchsorted(listeners, np.arange(profiles.n + 1)).tolist()
        pairs = list(zip(numbers[order].tolist(), values[order].tolist(), strict=True))
        return [dict(pairs[start:stop]) for start, stop in pairwise(starts)]

    def cluster_numbers_of(self, song_ids: NDArray[np.int64], default: int) -> NDArray[np.int32]:
        columns, there = find_columns(self.song_ids, song_ids)
        numbers = np.full(len(song_ids), default, dtype=np.int32)
        numbers[there] = self.cluster_numbers[self.scorer.labels[columns[there]]]
        return numbers

    def have_artist(self, columns: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether each song has an artist."""
        asked = np.unique(columns[self._artist_state[columns] == UNKNOWN_ARTIST])
        for column in asked.tolist():
            without = [code_without_artist(int(self.song_ids[column]))]
            self._artist_state[column] = self.identity.artists_of(column) != without
        return np.asarray(self._artist_state[columns] == 1)

    @cached_property
    def _artist_state(self) -> NDArray[np.int8]:
        """1 with an artist, 0 without; UNKNOWN_ARTIST until it is needed, because it takes a hash."""
        return np.full(len(self.song_ids), UNKNOWN_ARTIST, dtype=np.int8)

    @cached_property
    def has_copies(self) -> NDArray[np.bool_]:
        """Whether each song has another copy in the catalogue, shape (n_songs,)."""
        return np.asarray(np.bincount(self.recording_numbers)[self.recording_numbers] > 1)

    @cached_property
    def recording_numbers(self) -> NDArray[np.int32]:
        """Each song's recording, numbered from 0 for lookup tables, shape (n_songs,)."""
        return np.unique(self.identity.recordings, return_inverse=True)[1].astype(np.int32)

    @cached_property
    def cluster_names(self) -> dict[int, str]:
        return {cluster.number: cluster.name for cluster in self.clusters}

    def cluster_of(self, song_id: int) -> NamedCluster | None:
        column = self.column_of(song_id)
        return None if column is None else self.clusters[int(self.scorer.labels[column])]

    def songs_of(self, number: int) -> list[int]:
        """Ids of the songs in the cluster with this number, ascending."""
        if number not in self.label_by_number:
            return []
        songs: list[int] = self.song_ids[self.scorer.labels == self.label_by_number[number]].tolist()
        return songs

    def column_of(self, song_id: int) -> int | None:
        if not -(2**63) <= song_id < 2**63:
            return None
        column = int(np.searchsorted(self.song_ids, song_id))
        return column if column < len(self.song_ids) and self.song_ids[column] == song_id else None

    @cached_property
    def label_by_number(self) -> dict[int, int]:
        return {cluster.number: label for label, cluster in enumerate(self.clusters)}


@dataclass(frozen=True)
class LoadedModel:
    model: ServingModel | None  # None if there is no usable model, so that popular songs are served
    degraded: str | None  # says why the model is not the champion; None if it is

    @property
    def version_id(self) -> int | None:
        return self.model.version.pk if self.model else None


class ModelLoader:
    """Keeps the serving model of one storage folder; thread-safe.

    A `LoadedModel` stays usable after it is replaced for later requests.
    """

    def __init__(self, storage: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage = storage
        self._clock = clock
        self._lock = threading.Lock()
        self._loaded: LoadedModel | None = None
        self._challengers: dict[int, ServingModel] = {}
        self._broken_files: dict[int, tuple[FileSignature, artifact.ArtifactError, float]] = {}
        self._last_tried: tuple[int, str] | None = None  # id and hash of the champion that was tried last
        self._next_check_at = 0.0
        self._next_retry_at = 0.0
        self._retry_pause = CHECK_EVERY

    def current_model(self) -> LoadedModel:
        """The model to serve; checks for another champion every CHECK_EVERY seconds at most."""
        loaded = self._loaded
        if loaded is not None and self._clock() < self._next_check_at:
            return loaded
        # One thread checks. The others use the model loaded before, or wait for the first one.
        if not self._lock.acquire(blocking=loaded is None) and loaded is not None:
            return loaded
        try:
            if self._loaded is None or self._clock() >= self._next_check_at:
                return self._check_champion()
            return self._loaded
        finally:
            self._lock.release()

    def load_challenger(self, version: ModelVersion) -> ServingModel:
        """Load the version's model; raises `ArtifactError` if its files are missing or damaged."""
        cached = self._challengers.get(version.pk)
        # Looked up before the lock, which another thread may hold while it downloads a model.
        if cached is not None and cached.is_intact():
            return cached
        with self._lock:
            cached = self._challengers.get(version.pk)
            if cached is not None and cached.is_intact():
                return cached
            self._challengers.pop(version.pk, None)
            self._require_changed_files(version)
            while len(self._challengers) >= MAX_CHALLENGERS:
                del self._challengers[next(iter(self._challengers))]
            signature = file_signature(self._storage / version.label)
            try:
                opened = self._challengers[version.pk] = open_serving_model(version, self._storage)
            except artifact.ArtifactError as error:
                # A damaged copy of a shared artifact is downloaded again once the storage answers.
                is_shared = shared_storage.shared_storage() is not None
                retry_at = self._clock() + RETRY_DOWNLOAD_AFTER if is_shared else math.inf
                self._broken_files[version.pk] = (signature, error, retry_at)
                raise
            logger.info("model_loaded version=%s for=test", version.label)
            return opened

    def _require_changed_files(self, version: ModelVersion) -> None:
        """Fail at once for unchanged files that failed verification, because hashing takes a second.

        The same for a download that failed, for `RETRY_DOWNLOAD_AFTER`.
        """
        if version.pk not in self._broken_files:
            return
        signature, error, retry_at = self._broken_files[version.pk]
        if signature == file_signature(self._storage / version.label) and self._clock() < retry_at:
            raise type(error)(str(error))

    def reload(self) -> LoadedModel:
        with self._lock:
            return self._check_champion()

    def _check_champion(self) -> LoadedModel:
        champion = registry.current_champion()
        wanted = (champion.pk, champion.artifact_sha256) if champion else None
        now = self._clock()
        loaded = self._loaded
        if loaded is None or not self._is_up_to_date(loaded, wanted, now):
            is_retry = loaded is not None and loaded.degraded is not None and wanted == self._last_tried
            loaded = self._loaded = self._load(champion)
            self._last_tried = wanted
            self._retry_pause = min(2 * self._retry_pause, MAX_RETRY_PAUSE) if is_retry else CHECK_EVERY
            # From the end of the attempt: a download may take longer than the pause.
            self._next_retry_at = self._clock() + self._retry_pause
        elif loaded.model is not None and loaded.model.naming_state != naming_state():
            loaded = self._loaded = replace(loaded, model=_with_current_names(loaded.model))
        self._next_check_at = now + CHECK_EVERY
        return loaded

    def _is_up_to_date(self, loaded: LoadedModel, wanted: tuple[int, str] | None, now: float) -> bool:
        if wanted != self._last_tried or (loaded.model is not None and not loaded.model.is_intact()):
            return False
        return wanted is None or loaded.degraded is None or now < self._next_retry_at

    def _load(self, champion: ModelVersion | None) -> LoadedModel:
        if champion is None:
            return LoadedModel(None, registry.why_no_champion())
        failures: list[str] = []
        is_away = False
        for version in _versions_to_try(champion):
            # Each question to a shared storage that is away takes seconds, and requests wait.
            if is_away and not (self._storage / version.label / artifact.MANIFEST).is_file():
                continue
            try:
                model = open_serving_model(version, self._storage)
            except (artifact.ArtifactError, LookupError, ValueError) as error:
                # Log no traceback: the reason names the file, and retries would repeat the traceback.
                logger.error("artifact_refused version=%s reason=%r", version.label, str(error))  # noqa: TRY400
                failures.append(f"{version.label}: {error}")
                is_away |= isinstance(error, artifact.ArtifactUnavailable)
                continue
            logger.info("model_loaded version=%s degraded=%s", version.label, bool(failures))
            message = " ".join([*failures, f"{version.label} serves instead."]) if failures else None
            return LoadedModel(model, message)
        return LoadedModel(None, " ".join([*failures, "Popularity serves instead."]))


def current_model(storage: Path) -> LoadedModel:
    return loader_for(storage).current_model()


def loader_for(storage: Path) -> ModelLoader:
    return _loaders.setdefault(storage, ModelLoader(storage))


def open_serving_model(version: ModelVersion, storage: Path) -> ServingModel:
    """Load a version's model after verifying its files.

    Raises:
        ArtifactError: the files are missing or damaged.
    """
    folder = artifact_storage.fetch(version, storage)
    # Taken before the files are read, so that a change in between is noticed later.
    signature = file_signature(folder)
    arrays, facts = artifact_storage.read(version, storage)
    state = naming_state()
    clusters = _read_clusters(version, arrays["cluster_ids"].tolist())
    scorer = SERVING_CLASSES[version.method].from_parts(arrays, facts)
    identity = SongIdentity.from_arrays(arrays, scorer.artists)
    # A plain view: indexing a memory map makes another memory map, at ten times the cost.
    song_ids = np.asarray(arrays["song_ids"])
    return ServingModel(version, scorer, song_ids, clusters, folder, signature, identity, state)


def _read_clusters(version: ModelVersion, numbers: Sequence[int]) -> tuple[NamedCluster, ...]:
    rows = Cluster.objects.filter(version=version).only("number", "name", "facts")
    words = read_name_words()
    names = {row.number: row.name if _follows_rules(row, words) else "" for row in rows}
    return tuple(NamedCluster(number, names.get(number) or f"Cluster {number}") for number in numbers)


def _follows_rules(row: Cluster, words: NameWords) -> bool:
    """Whether the name follows today's rules; older releases had names like "Mixed (2)" or "Rock, 0s"."""
    return "automatic_name" in row.facts or is_acceptable_name(row.name, words)


def _with_current_names(model: ServingModel) -> ServingModel:
    state = naming_state()
    return replace(
        model,
        clusters=_read_clusters(model.version, [one.number for one in model.clusters]),
        naming_state=state,
    )


def file_signature(folder: Path) -> FileSignature:
    # Without Path objects, which take three quarters of the time: each request with a challenger asks.
    try:
        with os.scandir(folder) as files:
            states = sorted((file.name, os.stat(file.path)) for file in files)  # noqa: PTH116
    except OSError:
        return ()
    return tuple((name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states)


def _versions_to_try(champion: ModelVersion) -> Iterator[ModelVersion]:
    yield champion
    yield from (version for version in registry.former_champions() if version.pk != champion.pk)


_loaders: dict[Path, ModelLoader] = {}
