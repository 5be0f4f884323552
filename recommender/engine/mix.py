"""The default model: votes of neighbours, directions of taste and shares, blended by tuned weights."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.baselines import everything, recommend_by, rows_of, unwanted
from recommender.engine.catalogue import Profiles, Training
from recommender.engine.genres import vocabulary
from recommender.engine.parts import Parts, fit_parts
from recommender.engine.terms import (
    DIRECTIONS,
    NAMES,
    SHARE_FLOOR,
    VOTES,
    Known,
    blended,
    known_of,
    linear,
    moments,
    standardised,
)
from recommender.engine.tuning import Pool, split, tune, tuning_listeners

# Weights before any tuning: the recipe's, the terms of this blend that share a source sharing its weight.
START = {
    "ease": 0.5, "ease_weighted": 0.5, "rp3": 0.4, "rp3_weighted": 0.2, "rp3_root": 0.2, "knn": 0.3,
    "taste": 0.3, "taste_short": 0.2, "hybrid_low": 0.5, "hybrid": 0.5, "artist": 0.5, "affinity": 0.2,
    "popularity": 0.1, "genre": 0.5,
}  # fmt: skip
TUNING_LISTENERS = 4_000  # measured: with 2 000 the choice of them moves the test NDCG by 1 %
TUNING_CELLS = 100_000_000  # listeners x songs scored to tune: 500 listeners at 200 000 songs, about 10 s
FEWEST_LISTENERS = 30  # with fewer, tuned weights follow chance: the starting weights stay
POOLED = 50  # best songs of each of these terms; the best 20 of any blend are nearly all among them
POOLED_TERMS = (
    "ease",
    "ease_weighted",
    "rp3",
    "rp3_weighted",
    "knn",
    "taste",
    "hybrid_low",
    "hybrid",
    "popularity",
)
BLOCK_CELLS = 4_000_000  # a block's terms: 14 x 16 MB


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


def dense_terms(
    parts: Parts, known: Known, profiles: Profiles, weights: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Place in NAMES and values (n, n_songs) of each term that has a weight, one at a time."""
    wanted = {name for name, weight in zip(NAMES, weights, strict=True) if weight}
    rows = np.repeat(np.arange(profiles.n), np.diff(profiles.plays.indptr))
    heard = (rows, profiles.plays.indices)
    for name, raw in _votes(parts, known, wanted):
        yield NAMES.index(name), _over_unheard(raw, heard)
    if wanted & set(DIRECTIONS):
        for name, raw in linear(parts, known.looks, slice(None)).items():
            yield NAMES.index(name), _over_unheard(raw, heard)
    for name, values in _shares(parts, known, wanted):
        yield NAMES.index(name), values


def _votes(parts: Parts, known: Known, wanted: set[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, vote in VOTES.items():
        if name in wanted and vote.matrix in parts.neighbours:
            voice = known.voices.weighted if vote.weighted else known.voices.plain
            raw = (voice @ parts.neighbours[vote.matrix]).toarray()
            yield name, np.sqrt(np.maximum(raw, 0)) if vote.root else raw


def _over_unheard(
    raw: NDArray[np.float32], heard: tuple[NDArray[np.int64], NDArray[np.int32]]
) -> NDArray[np.float32]:
    raw[heard] = 0
    totals = raw.sum(axis=1, dtype=np.float64)
    squares = (raw * raw).sum(axis=1, dtype=np.float64)
    unheard = raw.shape[1] - np.bincount(heard[0], minlength=len(raw))
    return standardised(raw, moments(totals, squares, unheard), 1.0)


def _shares(parts: Parts, known: Known, wanted: set[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    n = len(known.lean)
    if "artist" in wanted:
        yield "artist", np.log(known.artists.toarray() + np.float32(SHARE_FLOOR))[:, parts.artists]
    if "affinity" in wanted:
        yield "affinity", np.log(known.affinities + np.float32(SHARE_FLOOR))[:, parts.labels]
    if "popularity" in wanted:
        yield "popularity", np.repeat(np.log(parts.listeners + np.float32(0.5))[np.newaxis, :], n, axis=0)
    if "genre" in wanted and known.wanted.nnz:
        yield "genre", np.asarray((known.wanted @ parts.genres.T).toarray(), dtype=np.float32)


def fit_mix(training: Training) -> Mix:
    """Tune the weights on the held-out plays, then learn from all plays with them.

    The held-out plays are `training.tuning`, or a seeded tenth of `plays`. With fewer than 30 listeners that
    have plays on both sides the weights are START. `training.configuration` may set `n_clusters`.
    """
    plays, tuning = split(training)
    rows = _tuning_rows(plays, tuning, training)
    if len(rows) < FEWEST_LISTENERS:
        weights = start_weights()
    else:
        learnt = _untuned(replace(training, plays=plays, tuning=None))
        weights = tuned_weights(learnt, replace(training, plays=plays, tuning=tuning), rows)
    return learn(training, weights)


def start_weights() -> NDArray[np.float64]:
    return np.array([START[name] for name in NAMES])


def _tuning_rows(plays: csr_array, tuning: csr_array, training: Training) -> NDArray[np.int64]:
    most = min(TUNING_LISTENERS, TUNING_CELLS // max(1, plays.shape[1]))
    return tuning_listeners(plays, tuning, most=max(FEWEST_LISTENERS, most), seed=training.seed)


def _untuned(training: Training) -> Mix:
    catalogue = training.catalogue
    words = vocabulary(catalogue.genres)
    n_clusters = training.configuration.get("n_clusters")
    parts = fit_parts(
        training.plays, catalogue, words=words, n_clusters=int(n_clusters) if n_clusters else None,
        seed=training.seed,
    )  # fmt: skip
    members = np.bincount(parts.labels, minlength=parts.n_clusters)
    one_hot = csr_array(
        (np.ones(parts.n_songs, np.float32), (np.arange(parts.n_songs), parts.labels)),
        shape=(parts.n_songs, parts.n_clusters),
    )
    means = np.asarray((parts.genres.T @ one_hot).toarray() / np.maximum(members, 1), dtype=np.float32)
    return Mix(parts, start_weights(), words, means)


def tuned_weights(model: Mix, training: Training, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """The best weights for the listeners of `rows`, of which `training.tuning` was held out."""
    pool = _pool(model, training, rows)
    alone = [np.array([float(name == only) for name in NAMES]) for only in ("rp3", "ease")]
    return tune(pool, [start_weights(), *alone])


def _pool(model: Mix, training: Training, rows: NDArray[np.int64]) -> Pool:
    size = max(1, BLOCK_CELLS // model.n_songs)
    _, later = split(training)
    starts = range(0, len(rows), size)
    parts = [_pooled(model, training, later, rows[start : start + size]) for start in starts]
    return Pool(
        terms=np.concatenate([pool.terms for pool in parts], axis=1),
        base=np.concatenate([pool.base for pool in parts]),
        hits=np.concatenate([pool.hits for pool in parts]),
        sizes=np.concatenate([pool.sizes for pool in parts]),
    )


def _pooled(model: Mix, training: Training, later: csr_array, rows: NDArray[np.int64]) -> Pool:
    profiles = _profiles(training, rows)
    known = model.known(profiles)
    terms = np.zeros((len(NAMES), len(rows), model.n_songs), dtype=np.float32)
    for index, term in dense_terms(model.parts, known, profiles, np.ones(len(NAMES))):
        terms[index] = term * (1 - known.lean)[:, np.newaxis]
    base = blended(model.parts, known, np.zeros_like(terms[0]), slice(None), terms[NAMES.index("genre")])
    base[unwanted(profiles, model.parts.available)] = -np.inf
    songs = _likely(terms, base, model.weights)
    absent = songs < 0
    found = np.take_along_axis(base, np.where(absent, 0, songs), axis=1)
    played = later[rows].toarray() > 0
    return Pool(
        terms=np.take_along_axis(terms, np.where(absent, 0, songs)[np.newaxis], axis=2),
        base=np.where(absent, -np.inf, found).astype(np.float32),
        hits=np.take_along_axis(played, np.where(absent, 0, songs), axis=1) & ~absent,
        sizes=played.sum(axis=1),
    )


def _profiles(training: Training, rows: NDArray[np.int64]) -> Profiles:
    return Profiles(
        training.plays[rows],
        None if training.recent is None else training.recent[rows],
        None if training.skips is None else training.skips[rows],
        None if training.genres is None else [training.genres[row] for row in rows],
    )


def _likely(
    terms: NDArray[np.float32], base: NDArray[np.float32], weights: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Shape (n, POOL): songs that are among the best of a term or of the blend, ascending; -1 pads."""
    blend = np.tensordot(weights.astype(np.float32), terms, axes=1)
    each = min(POOLED, base.shape[1])
    best = [
        np.argpartition(-(values + base), each - 1, axis=1)[:, :each]
        for values in (blend, *(terms[NAMES.index(name)] for name in POOLED_TERMS))
    ]
    songs = np.full((len(base), POOLED * len(best)), -1, dtype=np.int64)
    for row, found in enumerate(np.hstack(best)):
        distinct = np.unique(found)
        songs[row, : len(distinct)] = distinct
    return songs


def learn(training: Training, weights: NDArray[np.float64] | None) -> Mix:
    """Learn from all plays, those held out too, with weights tuned before; None: as `fit_mix`."""
    if weights is None:
        return fit_mix(training)
    whole = _untuned(replace(training, plays=everything(training), tuning=None))
    return replace(whole, weights=weights)
