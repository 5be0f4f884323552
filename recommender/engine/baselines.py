"""What every model is measured against: popularity, chance, and three classics of collaborative filtering."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from recommender.engine.catalogue import Profiles, Training
from recommender.engine.neighbours import (
    NEIGHBOURS,
    ease_weights,
    heard,
    knn_weights,
    rp3_weights,
)
from recommender.engine.ranking import top_n

Weights = csr_array | NDArray[np.float32]

BLOCK_CELLS = 20_000_000  # scores held at once: 80 MB
EASE_KEPT = (
    400  # of each row: measured, no loss on one set and + 2.5 % on the other, and 3 to 8 % of the size
)


def everything(training: Training) -> csr_array:
    """Shape (n_listeners, n_songs): all plays known, those held out for tuning too."""
    plays = csr_array(training.plays, dtype=np.float32)
    return plays if training.tuning is None else csr_array(plays + training.tuning, dtype=np.float32)


def recommend_by(
    score: Callable[[Profiles], NDArray[np.float32]], profiles: Profiles, n: int, available: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Shape (profiles.n, n): the best by `score`, which is asked for a block of listeners at a time."""
    size = max(1, BLOCK_CELLS // max(1, len(available)))
    blocks = [rows_of(profiles, start, start + size) for start in range(0, profiles.n, size)]
    ranked = [top_n(score(block), unwanted(block, available), n) for block in blocks]
    return np.concatenate(ranked) if ranked else np.empty((0, n), dtype=np.int32)


def rows_of(profiles: Profiles, start: int, stop: int) -> Profiles:
    """The listeners from `start` up to but without `stop`."""

    def cut(matrix: csr_array | None) -> csr_array | None:
        return None if matrix is None else matrix[start:stop]

    return Profiles(
        profiles.plays[start:stop],
        cut(profiles.recent),
        cut(profiles.skips),
        None if profiles.genres is None else profiles.genres[start:stop],
        None if profiles.keys is None else profiles.keys[start:stop],
        cut(profiles.excluded),
    )


def unwanted(profiles: Profiles, available: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Shape (profiles.n, n_songs): heard, excluded or unavailable."""
    mask = np.repeat(~available[np.newaxis, :], profiles.n, axis=0)
    for matrix in (profiles.plays, profiles.excluded):
        if matrix is not None:
            rows = np.repeat(np.arange(profiles.n), np.diff(matrix.indptr))
            mask[rows, matrix.indices] = True
    return mask


class Random:
    """Chance alone: what a model must beat to have learnt anything."""

    name = "random"

    def __init__(self, available: NDArray[np.bool_]) -> None:
        self.available = available

    @classmethod
    def fit(cls, training: Training) -> Self:
        return cls(training.catalogue.available)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        """As promised by Model; a listener with a key gets the same songs in any company."""
        keyed = profiles if profiles.keys is not None else replace(profiles, keys=np.arange(profiles.n))
        return recommend_by(lambda block: self._drawn(block, seed), keyed, n, self.available)

    def _drawn(self, profiles: Profiles, seed: int) -> NDArray[np.float32]:
        keys = np.arange(profiles.n) if profiles.keys is None else profiles.keys
        rows = [
            np.random.default_rng([seed, int(key) % 2**63]).random(len(self.available), dtype=np.float32)
            for key in keys
        ]
        return np.stack(rows) if rows else np.empty((0, len(self.available)), dtype=np.float32)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {"available": self.available}

    def facts(self) -> dict[str, object]:
        return {"name": self.name}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[np.generic]], facts: Mapping[str, object]) -> Self:
        return cls(_flags(arrays["available"]))


class Popularity:
    """The songs that most listeners have played, the same for everyone but for what they have heard."""

    name = "popularity"

    def __init__(self, listeners: NDArray[np.float32], available: NDArray[np.bool_]) -> None:
        self.listeners = listeners
        self.available = available

    @classmethod
    def fit(cls, training: Training) -> Self:
        return cls(popularity(everything(training)), training.catalogue.available)

    def scores(self, profiles: Profiles) -> NDArray[np.float32]:
        """Shape (profiles.n, n_songs): how many listeners have played the song."""
        return np.repeat(self.listeners[np.newaxis, :], profiles.n, axis=0)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        return recommend_by(self.scores, profiles, n, self.available)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {"listeners": self.listeners, "available": self.available}

    def facts(self) -> dict[str, object]:
        return {"name": self.name}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[np.generic]], facts: Mapping[str, object]) -> Self:
        return cls(arrays["listeners"].astype(np.float32, copy=False), _flags(arrays["available"]))


class ItemToItem:
    """A listener's heard songs speak for their neighbours; a child says which neighbours."""

    name = ""

    def __init__(
        self, weights: csr_array, available: NDArray[np.bool_], *, logarithmic: bool = False
    ) -> None:
        self.weights = weights
        self.available = available
        self.logarithmic = logarithmic

    def scores(self, profiles: Profiles) -> NDArray[np.float32]:
        """Shape (profiles.n, n_songs): sums of the weights from the songs heard."""
        voices = logarithms(profiles.plays) if self.logarithmic else heard(profiles.plays)
        summed = voices @ self.weights
        return np.asarray(summed.toarray() if issparse(summed) else summed, dtype=np.float32)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        return recommend_by(self.scores, profiles, n, self.available)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        if isinstance(self.weights, np.ndarray):
            return {"dense": self.weights, "available": self.available}
        return {
            "data": self.weights.data,
            "indices": self.weights.indices,
            "indptr": self.weights.indptr,
            "available": self.available,
        }

    def facts(self) -> dict[str, object]:
        return {"name": self.name, "logarithmic": self.logarithmic}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[np.generic]], facts: Mapping[str, object]) -> Self:
        available = _flags(arrays["available"])
        logarithmic = bool(facts["logarithmic"])
        if "dense" in arrays:
            return cls(arrays["dense"].astype(np.float32, copy=False), available, logarithmic=logarithmic)
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        weights = csr_array(parts, shape=(len(available), len(available)))
        return cls(weights, available, logarithmic=logarithmic)


class RP3beta(ItemToItem):
    """A walk at random from a heard song to another of its listeners' songs."""

    name = "rp3beta"

    @classmethod
    def fit(cls, training: Training, *, alpha: float = 0.7, beta: float = 0.4, k: int = NEIGHBOURS) -> Self:
        weights = rp3_weights(everything(training), alpha=alpha, beta=beta, k=k)
        return cls(weights, training.catalogue.available)


class ItemKNN(ItemToItem):
    """Songs that share listeners, by cosine."""

    name = "itemknn"

    @classmethod
    def fit(cls, training: Training, *, k: int = 50, shrink: float = 10.0, logarithmic: bool = False) -> Self:
        """Fit with the settings given; `tuning.fit_knn` finds them.

        Args:
            logarithmic: plays count as log(1 + count), rather than all alike.
        """
        plays = everything(training)
        voices = logarithms(plays) if logarithmic else heard(plays)
        weights = knn_weights(voices, shrink=shrink, k=k)
        return cls(weights, training.catalogue.available, logarithmic=logarithmic)


class EASE(ItemToItem):
    """The best linear map between what listeners heard."""

    name = "ease"

    @classmethod
    def fit(cls, training: Training, *, penalty: float = 60.0) -> Self:
        """Fit for at most 20 000 songs.

        Raises:
            TooManySongs: its matrix is of songs x songs.
            TooFewPlays: nobody has heard anything.
        """
        dense = ease_weights(everything(training), penalty=penalty)
        return cls(dense, training.catalogue.available)


def popularity(plays: csr_array) -> NDArray[np.float32]:
    """Shape (n_songs,): how many listeners have played each song."""
    return np.bincount(heard(plays).indices, minlength=plays.shape[1]).astype(np.float32)


def logarithms(plays: csr_array) -> csr_array:
    """The plays with log(1 + count) in place of each count."""
    scaled = csr_array(plays, dtype=np.float32, copy=True)
    scaled.data = np.log1p(np.maximum(scaled.data, 0))
    return scaled


def _flags(array: NDArray[np.generic]) -> NDArray[np.bool_]:
    return array.astype(np.bool_, copy=False)
