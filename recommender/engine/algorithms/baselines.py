"""Baselines with which every trained model is compared."""

from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from recommender.engine.algorithms.base import all_plays, count_listeners, log_plays, recommend_in_blocks
from recommender.engine.algorithms.item_similarity import (
    NEIGHBOURS_PER_SONG,
    binary_plays,
    ease_weights,
    knn_weights,
    rp3_weights,
)
from recommender.engine.data import Profiles, TrainingSet


class Popularity:
    name = "popularity"

    def __init__(self, listeners: NDArray[np.float32], available: NDArray[np.bool_]) -> None:
        self.listeners = listeners
        self.available = available

    @classmethod
    def fit(cls, training: TrainingSet) -> Self:
        return cls(count_listeners(all_plays(training)), training.catalogue.available)

    def scores(self, profiles: Profiles) -> NDArray[np.float32]:
        return np.repeat(self.listeners[np.newaxis, :], profiles.n, axis=0)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        return recommend_in_blocks(self.scores, profiles, n, self.available)


class Random:
    name = "random"

    def __init__(self, available: NDArray[np.bool_]) -> None:
        self.available = available

    @classmethod
    def fit(cls, training: TrainingSet) -> Self:
        return cls(training.catalogue.available)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        """Recommend random songs, which depend only on the listener's key and the seed."""
        keyed = profiles if profiles.keys is not None else replace(profiles, keys=np.arange(profiles.n))
        return recommend_in_blocks(lambda block: self._random_scores(block, seed), keyed, n, self.available)

    def _random_scores(self, profiles: Profiles, seed: int) -> NDArray[np.float32]:
        keys = np.arange(profiles.n) if profiles.keys is None else profiles.keys
        rows = [
            np.random.default_rng([seed, int(key) % 2**63]).random(len(self.available), dtype=np.float32)
            for key in keys
        ]
        return np.stack(rows) if rows else np.empty((0, len(self.available)), dtype=np.float32)


class ItemToItem:
    name = ""

    def __init__(
        self, weights: csr_array, available: NDArray[np.bool_], *, logarithmic: bool = False
    ) -> None:
        self.weights = weights
        self.available = available
        self.logarithmic = logarithmic

    def scores(self, profiles: Profiles) -> NDArray[np.float32]:
        plays = log_plays(profiles.plays) if self.logarithmic else binary_plays(profiles.plays)
        summed = plays @ self.weights
        return np.asarray(summed.toarray() if issparse(summed) else summed, dtype=np.float32)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        return recommend_in_blocks(self.scores, profiles, n, self.available)


class RP3beta(ItemToItem):
    name = "rp3beta"

    @classmethod
    def fit(
        cls, training: TrainingSet, *, alpha: float = 0.7, beta: float = 0.4, k: int = NEIGHBOURS_PER_SONG
    ) -> Self:
        weights = rp3_weights(all_plays(training), alpha=alpha, beta=beta, k=k)
        return cls(weights, training.catalogue.available)


class ItemKNN(ItemToItem):
    name = "itemknn"

    @classmethod
    def fit(
        cls, training: TrainingSet, *, k: int = 50, shrink: float = 10.0, logarithmic: bool = False
    ) -> Self:
        """Fit cosine similarities; with `logarithmic`, c plays of a song count log(1 + c) instead of 1."""
        plays = all_plays(training)
        weights = knn_weights(log_plays(plays) if logarithmic else binary_plays(plays), shrink=shrink, k=k)
        return cls(weights, training.catalogue.available, logarithmic=logarithmic)


class EASE(ItemToItem):
    name = "ease"

    @classmethod
    def fit(cls, training: TrainingSet, *, penalty: float = 60.0) -> Self:
        """Fit EASE on all plays; raises `TooManySongs` above 20 000 songs."""
        dense = ease_weights(all_plays(training), penalty=penalty)
        return cls(dense, training.catalogue.available)
