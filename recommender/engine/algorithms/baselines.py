"""What every model is measured against: popularity, chance, and three classics of collaborative filtering."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from recommender.engine.algorithms.base import (
    _as_bool,
    all_plays,
    count_listeners,
    log_plays,
    recommend_in_blocks,
)
from recommender.engine.algorithms.item_similarity import (
    NEIGHBOURS_PER_SONG,
    binary_plays,
    ease_weights,
    knn_weights,
    rp3_weights,
)
from recommender.engine.data import Profiles, TrainingSet

Weights = csr_array | NDArray[np.float32]
EASE_KEPT = (
    400  # of each row: measured, no loss on one set and + 2.5 % on the other, and 3 to 8 % of the size
)


class Random:
    """Chance alone: what a model must beat to have learnt anything."""

    name = "random"

    def __init__(self, available: NDArray[np.bool_]) -> None:
        self.available = available

    @classmethod
    def fit(cls, training: TrainingSet) -> Self:
        return cls(training.catalogue.available)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        """As promised by Model; a listener with a key gets the same songs in any company."""
        keyed = profiles if profiles.keys is not None else replace(profiles, keys=np.arange(profiles.n))
        return recommend_in_blocks(lambda block: self._random_scores(block, seed), keyed, n, self.available)

    def _random_scores(self, profiles: Profiles, seed: int) -> NDArray[np.float32]:
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
        return cls(_as_bool(arrays["available"]))


class Popularity:
    """The songs that most listeners have played, the same for everyone but for what they have heard."""

    name = "popularity"

    def __init__(self, listeners: NDArray[np.float32], available: NDArray[np.bool_]) -> None:
        self.listeners = listeners
        self.available = available

    @classmethod
    def fit(cls, training: TrainingSet) -> Self:
        return cls(count_listeners(all_plays(training)), training.catalogue.available)

    def scores(self, profiles: Profiles) -> NDArray[np.float32]:
        """Shape (profiles.n, n_songs): how many listeners have played the song."""
        return np.repeat(self.listeners[np.newaxis, :], profiles.n, axis=0)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        return recommend_in_blocks(self.scores, profiles, n, self.available)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {"listeners": self.listeners, "available": self.available}

    def facts(self) -> dict[str, object]:
        return {"name": self.name}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[np.generic]], facts: Mapping[str, object]) -> Self:
        return cls(arrays["listeners"].astype(np.float32, copy=False), _as_bool(arrays["available"]))


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
        voices = log_plays(profiles.plays) if self.logarithmic else binary_plays(profiles.plays)
        summed = voices @ self.weights
        return np.asarray(summed.toarray() if issparse(summed) else summed, dtype=np.float32)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        return recommend_in_blocks(self.scores, profiles, n, self.available)

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
        available = _as_bool(arrays["available"])
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
    def fit(
        cls, training: TrainingSet, *, alpha: float = 0.7, beta: float = 0.4, k: int = NEIGHBOURS_PER_SONG
    ) -> Self:
        weights = rp3_weights(all_plays(training), alpha=alpha, beta=beta, k=k)
        return cls(weights, training.catalogue.available)


class ItemKNN(ItemToItem):
    """Songs that share listeners, by cosine."""

    name = "itemknn"

    @classmethod
    def fit(
        cls, training: TrainingSet, *, k: int = 50, shrink: float = 10.0, logarithmic: bool = False
    ) -> Self:
        """Fit with the settings given; `tuning.fit_knn` finds them.

        Args:
            logarithmic: plays count as log(1 + count), rather than all alike.
        """
        plays = all_plays(training)
        voices = log_plays(plays) if logarithmic else binary_plays(plays)
        weights = knn_weights(voices, shrink=shrink, k=k)
        return cls(weights, training.catalogue.available, logarithmic=logarithmic)


class EASE(ItemToItem):
    """The best linear map between what listeners heard."""

    name = "ease"

    @classmethod
    def fit(cls, training: TrainingSet, *, penalty: float = 60.0) -> Self:
        """Fit for at most 20 000 songs.

        Raises:
            TooManySongs: its matrix is of songs x songs.
            TooFewPlays: nobody has heard anything.
        """
        dense = ease_weights(all_plays(training), penalty=penalty)
        return cls(dense, training.catalogue.available)
