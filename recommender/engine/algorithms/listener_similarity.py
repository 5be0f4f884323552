"""User-based nearest neighbours (user-KNN).

Similarity is the cosine of log(1 + plays) x inverse document frequency. A neighbour votes with it for each
song played; the votes are divided by listeners ** .2.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, vstack

from recommender.engine.algorithms.base import (
    all_plays,
    count_listeners,
    expand_ranges,
    log_plays,
    recommend_in_blocks,
)
from recommender.engine.algorithms.item_similarity import binary_plays, keep_best, limit_songs
from recommender.engine.data import Profiles, TrainingSet

NEIGHBOURS: Final = 50
POPULARITY_POWER: Final = 0.2
MOST_LISTENERS: Final = (
    50_000  # of more listeners a seeded sample, because a request reads the listeners of each song played
)
BLOCK_CELLS: Final = 4_000_000  # similarities in memory at a time: 32 MB
UNKNOWN_KEY: Final = -1  # of a listener whose key is not known


@dataclass(frozen=True)
class ListenerNeighbourhood:
    histories: csr_array  # shape (n_listeners, n_songs), 1 for each song played
    audiences: csr_array  # shape (n_songs, n_listeners), each listener's unit vector is a column
    keys: NDArray[np.int64]  # shape (n_listeners,), a listener is not their own neighbour
    idf: NDArray[np.float32]  # shape (n_songs,)
    damping: NDArray[np.float32]  # shape (n_songs,), listeners ** -.2

    @classmethod
    def fit(cls, plays: csr_array, keys: NDArray[np.int64] | None, *, seed: int) -> Self:
        listeners = count_listeners(plays)
        idf = np.log(max(1, plays.shape[0]) / np.maximum(listeners, 1)).astype(np.float32)
        known = np.full(plays.shape[0], UNKNOWN_KEY) if keys is None else keys
        rows = np.flatnonzero(np.diff(plays.indptr))
        if len(rows) > MOST_LISTENERS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_LISTENERS, replace=False))
        kept = limit_songs(csr_array(plays[rows], dtype=np.float32))
        return cls(
            histories=binary_plays(kept),
            audiences=csr_array(_unit_vectors(log_plays(kept), idf).T),
            keys=known[rows].astype(np.int64), idf=idf,
            damping=np.maximum(listeners, 1) ** np.float32(-POPULARITY_POWER),
        )  # fmt: skip

    def votes(self, plays: csr_array, keys: NDArray[np.int64] | None) -> csr_array:
        """The nearest listeners' votes, shape (n, n_songs).

        Args:
            plays: shape (n, n_songs), weights of the songs played.
        """
        vectors = _unit_vectors(plays, self.idf)
        size = max(1, BLOCK_CELLS // max(1, len(self.keys)))
        blocks = [
            self._nearest(vectors[start : start + size], None if keys is None else keys[start : start + size])
            for start in range(0, plays.shape[0], size)
        ]
        if not blocks:
            return csr_array(plays.shape, dtype=np.float32)
        return csr_array(vstack(blocks, format="csr") @ self.histories @ diags_array(self.damping))

    def _nearest(self, vectors: csr_array, keys: NDArray[np.int64] | None) -> csr_array:
        """Similarities of the nearest listeners, shape (n, n_listeners)."""
        similarities = csr_array(vectors @ self.audiences)
        similarities.sort_indices()
        if keys is not None:
            rows = np.repeat(np.arange(vectors.shape[0]), np.diff(similarities.indptr))
            similarities.data[self.keys[similarities.indices] == keys[rows]] = 0
        return keep_best(similarities, NEIGHBOURS)

    def votes_of_one(
        self, songs: NDArray[np.int32], plays: NDArray[np.float32], key: int | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The nearest listeners' votes for one listener: song columns, which may repeat, and the votes.

        Args:
            songs: columns of the songs played.
            plays: their weights.
        """
        weights = plays * self.idf[songs]
        length = float(np.sqrt((weights.astype(np.float64) ** 2).sum())) or 1.0
        entries, widths = _entries_of_rows(self.audiences, songs)
        similarities: NDArray[Any] = np.bincount(
            self.audiences.indices[entries],
            weights=self.audiences.data[entries] * np.repeat(weights / np.float32(length), widths),
            minlength=len(self.keys),
        )
        if key is not None:
            similarities[self.keys == key] = 0
        nearest = _largest(similarities, NEIGHBOURS)
        entries, widths = _entries_of_rows(self.histories, nearest)
        voted = self.histories.indices[entries]
        return voted, (np.repeat(similarities[nearest], widths) * self.damping[voted]).astype(np.float32)


class UserKNN:
    name = "userknn"

    def __init__(self, neighbourhood: ListenerNeighbourhood, available: NDArray[np.bool_]) -> None:
        self.neighbourhood = neighbourhood
        self.available = available

    @classmethod
    def fit(cls, training: TrainingSet) -> Self:
        neighbourhood = ListenerNeighbourhood.fit(all_plays(training), training.keys, seed=training.seed)
        return cls(neighbourhood, training.catalogue.available)

    def scores(self, profiles: Profiles) -> NDArray[np.float32]:
        votes = self.neighbourhood.votes(log_plays(profiles.plays), profiles.keys)
        return np.asarray(votes.toarray(), dtype=np.float32)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        return recommend_in_blocks(self.scores, profiles, n, self.available)


def _unit_vectors(plays: csr_array, idf: NDArray[np.float32]) -> csr_array:
    weighted = csr_array(plays, dtype=np.float32, copy=True)
    weighted.data *= idf[weighted.indices]
    rows = np.repeat(np.arange(plays.shape[0]), np.diff(weighted.indptr))
    squares = np.bincount(rows, weights=weighted.data.astype(np.float64) ** 2, minlength=plays.shape[0])
    weighted.data /= np.sqrt(np.where(squares > 0, squares, 1)).astype(np.float32)[rows]
    return weighted


def _entries_of_rows(
    matrix: csr_array, rows: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts = matrix.indptr[rows].astype(np.int64)
    widths = matrix.indptr[rows + 1] - starts
    return expand_ranges(starts, widths), widths


def _largest(values: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Indices of the k largest positive values; the lower index wins ties."""
    positive = np.flatnonzero(values > 0)
    if len(positive) <= k:
        return positive
    threshold = np.partition(values[positive], len(positive) - k)[len(positive) - k]
    above = positive[values[positive] > threshold]
    ties = positive[values[positive] == threshold]
    return np.sort(np.append(above, ties[: k - len(above)]))
