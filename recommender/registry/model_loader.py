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
from recommender.engine.algorithms.classic import Classic
from recommender.engine.clustering.affinities import affinities
from recommender.engine.data import Profiles, Servable
from recommender.engine.mix.model import Live
from recommender.listener_profiles import columns_of
from recommender.models import Cluster, ModelVersion
from recommender.registry import registry

logger = logging.getLogger(__name__)

# A promotion shows within five seconds: three until a look at one row, two to hash the files.
LOOK_EVERY: Final = 3.0  # seconds
# A broken artifact is hashed again at every look at first, then ever more rarely: hashing takes a second.
LONGEST_PAUSE: Final = 300.0  # seconds

# How each method's model serves.
SERVABLE: Final[Mapping[str, type[Live | Classic]]] = {
    ModelVersion.Method.MIX: Live,
    ModelVersion.Method.CLASSIC: Classic,
}

# A challenger and the anchor.
MOST_OTHERS: Final = 2

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Group:
    """A cluster as it is shown."""

    number: int
    name: str


@dataclass(frozen=True)
class Model:
    """A version in memory; its arrays are the artifact's own pages."""

    version: ModelVersion
    learnt: Servable
    song_ids: NDArray[np.int64]
    groups: tuple[Group, ...]  # by the model's own label
    folder: Path
    signature: Signature

    def is_intact(self) -> bool:
        """Whether its files are those that were verified: reading a page that was cut off ends a process."""
        return signature_of(self.folder) == self.signature

    @cached_property
    def numbers(self) -> NDArray[np.int32]:
        """Shape (n_clusters,): the cluster's number by the model's own label."""
        return np.array([group.number for group in self.groups], dtype=np.int32)

    def shares(self, profile: Profiles) -> dict[int, float]:
        """One listener's affinities by cluster number, the dearest first; they sum to 1, or there are none.

        Shares of what was played, as they are told to the listener: what favourite genres let expect, which
        the ranking leans on while plays are few, is not in them.
        """
        if not profile.plays.nnz:
            return {}
        base = profile.plays if profile.recent is None else profile.recent
        shares = affinities(base, self.learnt.labels, len(self.groups), profile.skips)[0]
        if profile.skips is not None and profile.skips.nnz and len(shares) > 1 and np.ptp(shares) == 0:
            # All that was played was skipped since: every cluster has the same share, which says nothing.
            return {}
        order = np.lexsort((self.numbers, -shares))
        liked = order[shares[order] > 0]
        return dict(zip(self.numbers[liked].tolist(), shares[liked].tolist(), strict=True))

    def numbers_of(self, song_ids: NDArray[np.int64], otherwise: int) -> NDArray[np.int32]:
        """Shape of `song_ids`: their clusters' numbers, and `otherwise` for songs the model does not know."""
        columns, there = columns_of(self.song_ids, song_ids)
        numbers = np.full(len(song_ids), otherwise, dtype=np.int32)
        numbers[there] = self.numbers[self.learnt.labels[columns[there]]]
        return numbers

    @cached_property
    def names(self) -> dict[int, str]:
        """Clusters' names by their numbers."""
        return {group.number: group.name for group in self.groups}

    def group_of(self, song_id: int) -> Group | None:
        """The cluster of a song; None for a song that the model does not know."""
        column = self.column_of(song_id)
        return None if column is None else self.groups[int(self.learnt.labels[column])]

    def column_of(self, song_id: int) -> int | None:
        """The song's column; None for a song that the model does not know."""
        if not -(2**63) <= song_id < 2**63:
            return None
        column = int(np.searchsorted(self.song_ids, song_id))
        return column if column < len(self.song_ids) and self.song_ids[column] == song_id else None

    @cached_property
    def labels(self) -> dict[int, int]:
        """The model's own label by the cluster's number."""
        return {group.number: label for label, group in enumerate(self.groups)}


@dataclass(frozen=True)
class Loaded:
    """What serves now.

    Attributes:
        model: None: popularity alone, for want of a model.
        degraded: why this is not the champion, for a person; None while it is.
    """

    model: Model | None
    degraded: str | None

    @property
    def version_id(self) -> int | None:
        return self.model.version.pk if self.model else None


class Keeper:
    """Keeps what serves from one storage; any thread may ask.

    Whoever holds a `Loaded` may go on with it: a newer one replaces it for those who ask later.
    """

    def __init__(self, storage: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage = storage
        self._clock = clock
        self._lock = threading.Lock()
        self._loaded: Loaded | None = None
        self._others: dict[int, Model] = {}
        self._refused: dict[int, tuple[Signature, str]] = {}
        self._wanted: tuple[int, str] | None = None  # the champion that was tried last
        self._next_look = 0.0
        self._next_try = 0.0
        self._pause = LOOK_EVERY

    def current(self) -> Loaded:
        """What serves now; looks for another champion at most every five seconds."""
        loaded = self._loaded
        if loaded is not None and self._clock() < self._next_look:
            return loaded
        # One thread looks; the others go on with what there is, or wait where there is nothing yet.
        if not self._lock.acquire(blocking=loaded is None) and loaded is not None:
            return loaded
        try:
            if self._loaded is None or self._clock() >= self._next_look:
                return self._look()
            return self._loaded
        finally:
            self._lock.release()

    def other(self, version: ModelVersion) -> Model:
        """The model of a version that is tested against the champion.

        Raises:
            ArtifactError: its files are missing or damaged.
        """
        with self._lock:
            known = self._others.get(version.pk)
            if known is not None and known.is_intact():
                return known
            self._others.pop(version.pk, None)
            self._require_other_files(version)
            while len(self._others) >= MOST_OTHERS:
                del self._others[next(iter(self._others))]
            signature = signature_of(self._storage / version.label)
            try:
                opened = self._others[version.pk] = open_version(version, self._storage)
            except artifact.ArtifactError as error:
                self._refused[version.pk] = (signature, str(error))
                raise
            logger.info("model_loaded version=%s for=test", version.label)
            return opened

    def _require_other_files(self, version: ModelVersion) -> None:
        """Files that were refused are not hashed again for each list, only once they have changed."""
        signature, why = self._refused.get(version.pk, ((), ""))
        if why and signature == signature_of(self._storage / version.label):
            raise artifact.ArtifactDamaged(why)

    def look_again(self) -> Loaded:
        """Look now, for the files of what served were found changed."""
        with self._lock:
            return self._look()

    def _look(self) -> Loaded:
        champion = registry.champion_row()
        wanted = (champion.pk, champion.artifact_sha256) if champion else None
        now = self._clock()
        loaded = self._loaded
        if loaded is None or not self._is_settled(loaded, wanted, now):
            is_retry = loaded is not None and loaded.degraded is not None and wanted == self._wanted
            loaded = self._loaded = self._load(champion)
            self._wanted = wanted
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if is_retry else LOOK_EVERY
            self._next_try = now + self._pause
        self._next_look = now + LOOK_EVERY
        return loaded

    def _is_settled(self, loaded: Loaded, wanted: tuple[int, str] | None, now: float) -> bool:
        if wanted != self._wanted or (loaded.model is not None and not loaded.model.is_intact()):
            return False
        return wanted is None or loaded.degraded is None or now < self._next_try

    def _load(self, champion: ModelVersion | None) -> Loaded:
        if champion is None:
            return Loaded(None, registry.why_none())
        why: list[str] = []
        for version in _candidates(champion):
            try:
                model = open_version(version, self._storage)
            except (artifact.ArtifactError, LookupError, ValueError) as error:
                # Without a traceback: the reason names the file, and a retry comes every few minutes.
                logger.error("artifact_refused version=%s reason=%r", version.label, str(error))  # noqa: TRY400
                why.append(f"{version.label}: {error}")
                continue
            logger.info("model_loaded version=%s degraded=%s", version.label, bool(why))
            return Loaded(model, " ".join([*why, f"{version.label} serves instead."]) if why else None)
        return Loaded(None, " ".join([*why, "Popularity serves instead."]))


def current(storage: Path) -> Loaded:
    """What serves now from this storage, in this process."""
    return keeper_of(storage).current()


def keeper_of(storage: Path) -> Keeper:
    return _keepers.setdefault(storage, Keeper(storage))


def open_version(version: ModelVersion, storage: Path) -> Model:
    """The version's model, after its files were verified.

    Raises:
        ArtifactError: the files are missing or damaged.
    """
    folder = storage / version.label
    # Taken before the files are read: what changes in between is seen as changed.
    signature = signature_of(folder)
    arrays, facts = artifact.read(folder, version.artifact_sha256)
    names = dict(Cluster.objects.filter(version=version).values_list("number", "name"))
    numbers = arrays["cluster_ids"].tolist()
    groups = tuple(Group(number, names.get(number, f"Cluster {number}")) for number in numbers)
    learnt = SERVABLE[version.method].from_parts(arrays, facts)
    return Model(version, learnt, arrays["song_ids"], groups, folder, signature)


def signature_of(folder: Path) -> Signature:
    """Name, inode, size and time of each file; () for a folder that is not there."""
    try:
        files = sorted(folder.iterdir())
        states = [(file.name, file.stat()) for file in files]
    except OSError:
        return ()
    return tuple((name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states)


def _candidates(champion: ModelVersion) -> Iterator[ModelVersion]:
    yield champion
    yield from (version for version in registry.good_versions() if version.pk != champion.pk)


_keepers: dict[Path, Keeper] = {}
