"""The default model: votes of neighbours, directions of taste and shares, blended by tuned weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.baselines import everything, recommend_by, rows_of
from recommender.engine.catalogue import Profiles, Training
from recommender.engine.dense import dense_terms
from recommender.engine.genres import vocabulary
from recommender.engine.parts import Parts, content_of, fit_parts
from recommender.engine.pooling import DENSE_SONGS, pool_of
from recommender.engine.terms import (
    NAMES,
    Known,
    blended,
    known_of,
)
from recommender.engine.tuning import split, tune, tuning_listeners

# Weights before any tuning: the recipe's, the terms of this blend that share a source sharing its weight.
START = {
    "ease": 0.5, "ease_weighted": 0.5, "rp3": 0.4, "rp3_weighted": 0.2, "rp3_root": 0.2, "knn": 0.3,
    "taste": 0.3, "taste_short": 0.2, "hybrid_low": 0.5, "hybrid": 0.5, "artist": 0.5, "affinity": 0.2,
    "popularity": 0.1, "genre": 0.5,
}  # fmt: skip
TUNING_LISTENERS = 4_000  # measured: with 2 000 the choice of them moves the test NDCG by 1 %
TUNING_LISTENERS_OF_MANY = 1_500  # each takes 4 ms where songs are many
FEWEST_LISTENERS = 30  # with fewer, tuned weights follow chance: the starting weights stay
BLOCK_CELLS = 4_000_000  # scores of a block: 16 MB, and as much for each step of a term


@dataclass(frozen=True)
class Mix:
    """See RECOMMENDER: clusters draw, this ranks.

    Attributes:
        weights: shape (n_terms,), of terms.NAMES.
        words: the genre words known.
        genre_means: shape (n_words, n_clusters), share of each cluster's songs that have the word.
    """

    parts: Parts
    weights: NDArray[np.float64]
    words: list[str]
    genre_means: NDArray[np.float32]
    name: str = "mix"

    @property
    def labels(self) -> NDArray[np.int32]:
        """Shape (n_songs,): each song's cluster."""
        return self.parts.labels

    @property
    def n_songs(self) -> int:
        return self.parts.n_songs

    def known(self, profiles: Profiles) -> Known:
        """What the model makes of listeners' rows, seen in training or not."""
        return known_of(self.parts, self.words, self.genre_means, profiles)

    def affinities(self, profiles: Profiles) -> NDArray[np.float32]:
        """Shape (n, n_clusters): shares of what each listener plays; rows sum to 1."""
        return self.known(profiles).affinities

    def scores(self, profiles: Profiles) -> NDArray[np.float32]:
        """Shape (n, n_songs), higher is better; what was heard has a score without meaning."""
        size = max(1, BLOCK_CELLS // max(1, self.n_songs))
        starts = range(0, profiles.n, size)
        blocks = [self._scores(rows_of(profiles, start, start + size)) for start in starts]
        return np.concatenate(blocks) if blocks else np.empty((0, self.n_songs), dtype=np.float32)

    def _scores(self, profiles: Profiles) -> NDArray[np.float32]:
        known = self.known(profiles)
        total = np.zeros((profiles.n, self.n_songs), dtype=np.float32)
        for index, term in dense_terms(self.parts, known, profiles, self.weights):
            total += term * np.float32(self.weights[index])
        genres = np.asarray((known.wanted @ self.parts.genres.T).toarray(), dtype=np.float32)
        return blended(self.parts, known, total, slice(None), genres)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        return recommend_by(self.scores, profiles, n, self.parts.available)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {**self.parts.arrays(), "weights": self.weights, "genre_means": self.genre_means}

    def facts(self) -> dict[str, object]:
        weights = dict(zip(NAMES, self.weights.round(4).tolist(), strict=True))
        return {"name": self.name, "weights": weights, "words": self.words}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        """Over the arrays as they are, which may be read-only memory maps: workers share their pages."""
        return cls(Parts.from_arrays(arrays), arrays["weights"], list(facts["words"]), arrays["genre_means"])


def fit_mix(training: Training) -> Mix:
    """Tune the weights on the held-out plays, then learn from all plays with them.

    The held-out plays are `training.tuning`, or a seeded tenth of `plays`. With fewer than 30 listeners that
    have plays on both sides the weights are START. `training.configuration` may set `n_clusters`.
    """
    plays, tuning = split(training)
    most = TUNING_LISTENERS if plays.shape[1] <= DENSE_SONGS else TUNING_LISTENERS_OF_MANY
    rows = tuning_listeners(plays, tuning, most=most, seed=training.seed)
    if len(rows) < FEWEST_LISTENERS:
        return learn(training, start_weights())
    content = content_of(training.catalogue, seed=training.seed)
    known = replace(training, plays=plays, tuning=None)
    model = _untuned(known, content)
    weights = tuned_weights(model, known, tuning, rows)
    # The groups of nine tenths of the plays are those of all: found once, for they take half of the time.
    return _learnt(training, weights, content, model.labels)


def learn(
    training: Training,
    weights: NDArray[np.float64] | None,
    *,
    content: NDArray[np.float32] | None = None,
) -> Mix:
    """Learn from all plays, those held out too, with weights tuned before; None: as `fit_mix`.

    Args:
        content: `parts.content` of a model of the same catalogue, which saves its computation.
    """
    if weights is None:
        return fit_mix(training)
    if content is None:
        content = content_of(training.catalogue, seed=training.seed)
    return _learnt(training, weights, content, None)


def _learnt(
    training: Training,
    weights: NDArray[np.float64],
    content: NDArray[np.float32],
    labels: NDArray[np.int32] | None,
) -> Mix:
    whole = replace(training, plays=everything(training), tuning=None)
    return replace(_untuned(whole, content, labels), weights=weights)


def start_weights() -> NDArray[np.float64]:
    return np.array([START[name] for name in NAMES])


def _untuned(
    training: Training, content: NDArray[np.float32], labels: NDArray[np.int32] | None = None
) -> Mix:
    catalogue = training.catalogue
    words = vocabulary(catalogue.genres)
    n_clusters = training.configuration.get("n_clusters")
    parts = fit_parts(
        training.plays, catalogue, content, labels, words=words,
        n_clusters=int(n_clusters) if n_clusters else None, seed=training.seed,
    )  # fmt: skip
    members = np.bincount(parts.labels, minlength=parts.n_clusters)
    one_hot = csr_array(
        (np.ones(parts.n_songs, np.float32), (np.arange(parts.n_songs), parts.labels)),
        shape=(parts.n_songs, parts.n_clusters),
    )
    means = np.asarray((parts.genres.T @ one_hot).toarray() / np.maximum(members, 1), dtype=np.float32)
    return Mix(parts, start_weights(), words, means)


def tuned_weights(
    model: Mix, training: Training, tuning: csr_array, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The best weights for the listeners of `rows`, whose plays in `tuning` were held out."""
    pool = pool_of(model.parts, model.weights, model.known, training, tuning, rows)
    alone = [np.array([float(name == only) for name in NAMES]) for only in ("rp3", "ease")]
    return tune(pool, [start_weights(), *alone])
