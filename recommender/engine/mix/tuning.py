"""Finds the term weights of `mix` that rank held-out plays best."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array

from recommender.engine.algorithms.base import exclusion_mask, slice_profiles
from recommender.engine.data import Profiles, TrainingSet
from recommender.engine.evaluation.metrics import LIST_LENGTH
from recommender.engine.mix.components import MixComponents
from recommender.engine.mix.scoring import (
    batch_terms,
    direction_moments,
    online_terms,
    preselect_songs,
    sum_neighbour_votes,
)
from recommender.engine.mix.terms import TERM_NAMES, ListenerFeatures, blend_scores
from recommender.engine.parallel import two_workers

PLAYS_HELD_OUT = 0.1
RIDGE = 1e-3  # keeps correlated terms from taking huge weights of opposite sign
HALVES = 2  # parts of the listeners, tuned separately and averaged; four parts lose .3 %
STEP_SIZES = (1.0, 0.5, 0.25)  # relative to the weight; finer steps overfit the held-out plays
LEAST_STEP = 0.1  # so that a weight can leave 0; .02 and .05 lose up to .5 % on a test set
ROUNDS_PER_STEP = 3  # measured: later rounds gain under .1 %
MOST_BATCH_SONGS = (
    30_000  # up to here the pool holds all songs: preselected ones alone lose 2 % on 10 000 songs
)
PRESELECTED_SONGS = 2_000  # above it the pool holds what a request would score, since weights rank only those
POOL_BLOCK_CELLS = 4_000_000  # listeners x songs in memory at a time: 14 terms of 16 MB
LISTENERS_PER_WORK_ITEM = 100
SONGS_PER_RANKING = 50  # kept in the pool: the best songs by the start weights and by each of POOLED_TERMS
POOLED_TERMS = (
    "ease", "ease_weighted", "rp3", "rp3_weighted", "knn", "taste", "hybrid_low", "hybrid", "popularity",
    "trend", "user_knn",
)  # fmt: skip
BuildFeatures = Callable[[Profiles], ListenerFeatures]
# One listener's songs, their terms (n_terms, m), and the cold-start part of their scores (m,).
PoolRow = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class TuningPool:
    """The best songs of n listeners and their terms, to evaluate many weights quickly."""

    terms: NDArray[np.float32]  # shape (n_terms, n, m)
    base: NDArray[np.float32]  # shape (n, m), the cold-start part of the score; -inf for an empty cell
    hits: NDArray[np.bool_]  # shape (n, m), True for held-out plays
    sizes: NDArray[np.int64]  # shape (n,), number of held-out plays, in the pool or not

    def scores(self, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.asarray(self.base + np.tensordot(weights.astype(np.float32), self.terms, axes=1))

    def select_listeners(self, chosen: NDArray[np.int64]) -> Self:
        terms = np.ascontiguousarray(self.terms[:, chosen])
        return replace(
            self, terms=terms, base=self.base[chosen], hits=self.hits[chosen], sizes=self.sizes[chosen]
        )

    def term_scales(self) -> NDArray[np.float64]:
        """The root mean square of each term, never 0; shape (n_terms,)."""
        present = np.where(np.isfinite(self.base), self.terms, 0)
        return np.asarray(np.sqrt(np.maximum((present.astype(np.float64) ** 2).mean(axis=(1, 2)), 1e-12)))

    def ndcg(self, scores: NDArray[np.float32]) -> float:
        """Mean NDCG@20; 0 without listeners."""
        if not len(self.sizes):
            return 0.0
        depth = min(LIST_LENGTH, scores.shape[1])
        best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        hits = np.take_along_axis(self.hits, np.take_along_axis(best, order, axis=1), axis=1)
        discounts = 1 / np.log2(np.arange(2, LIST_LENGTH + 2))
        ideal = np.cumsum(discounts)[np.minimum(self.sizes, LIST_LENGTH) - 1]
        return float(((hits * discounts[:depth]).sum(axis=1) / ideal).mean())


def tune_weights(pool: TuningPool, starts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The term weights with the best NDCG, shape (n_terms,).

    The weights are tuned on each half of the listeners from several starts. The result is the mean of all
    optima, or a start if its NDCG is higher.
    """
    scales = pool.term_scales()
    halves = [
        pool.select_listeners(np.flatnonzero(np.arange(len(pool.sizes)) % HALVES == half))
        for half in range(HALVES)
    ]
    with two_workers() as submit:
        ascents = [partial(_ascend, half, start, starts[0]) for half in halves for start in (*starts, None)]
        results = submit(ascents)()
        scaled = [weights / max(float((np.abs(weights) * scales).sum()), 1e-12) for weights in results]
        # NDCG has many local maxima that fit noise, so the mean of the ascents ranks other plays better than
        # the highest of them (measured: + .9 % and + .6 % on two test sets).
        return max([np.mean(scaled, axis=0), *starts], key=lambda weights: pool.ndcg(pool.scores(weights)))


def _ascend(
    pool: TuningPool, start: NDArray[np.float64] | None, likelihood_start: NDArray[np.float64]
) -> NDArray[np.float64]:
    if start is None:
        start = maximum_likelihood_weights(pool, likelihood_start)
    return coordinate_ascent(pool, start)[0]


def coordinate_ascent(pool: TuningPool, start: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Change one weight at a time while NDCG rises; returns the weights and their NDCG."""
    weights, scores = start.copy(), pool.scores(start)
    best = pool.ndcg(scores)
    for step in STEP_SIZES:
        for _ in range(ROUNDS_PER_STEP):
            before = best
            for term in range(len(weights)):
                weights[term], scores, best = _try_steps(pool, term, weights[term], step, scores, best)
            if best - before < 1e-4:
                break
    return weights, best


def _try_steps(
    pool: TuningPool, term: int, weight: float, step: float, scores: NDArray[np.float32], best: float
) -> tuple[float, NDArray[np.float32], float]:
    size = step * max(abs(weight), LEAST_STEP)
    chosen = (weight, scores, best)
    for change in (size, -size):
        moved = scores + np.float32(change) * pool.terms[term]
        value = pool.ndcg(moved)
        if value > chosen[2] + 1e-6:
            chosen = (weight + change, moved, value)
    return chosen


def maximum_likelihood_weights(pool: TuningPool, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights by softmax regression of held-out plays; `start` if the pool has no hits."""
    rows = np.flatnonzero(pool.hits.any(axis=1))
    if not len(rows):
        return start
    base, hits = pool.base[rows], pool.hits[rows].astype(np.float32)
    hits /= hits.sum(axis=1, keepdims=True)
    terms = np.where(np.isfinite(base), pool.terms[:, rows], 0)
    scale = pool.term_scales()

    def loss(scaled: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = base + np.tensordot((scaled / scale).astype(np.float32), terms, axes=1)
        scores -= scores.max(axis=1, keepdims=True)
        probabilities = np.exp(scores)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        cross_entropy = -(hits * np.log(probabilities + 1e-20)).sum() / len(rows)
        gradient = np.tensordot(terms, probabilities - hits, axes=([1, 2], [0, 1])) / len(rows) / scale
        return float(cross_entropy + RIDGE * (scaled**2).sum()), gradient + 2 * RIDGE * scaled

    result = minimize(loss, start * scale, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    return np.asarray(result.x / scale, dtype=np.float64)


def split_tuning_plays(training: TrainingSet) -> tuple[csr_array, csr_array]:
    """Plays to fit on and plays to tune on: `training.tuning` or a seeded tenth of all."""
    plays = csr_array(training.plays, dtype=np.float32)
    if training.tuning is not None:
        return plays, csr_array(training.tuning, dtype=np.float32)
    is_held_out = np.random.default_rng(training.seed).random(plays.nnz) < PLAYS_HELD_OUT
    rows = np.repeat(np.arange(plays.shape[0]), np.diff(plays.indptr))

    def select(chosen: NDArray[np.bool_]) -> csr_array:
        cells = (rows[chosen], plays.indices[chosen])
        return csr_array((plays.data[chosen], cells), shape=plays.shape, dtype=np.float32)

    return select(~is_held_out), select(is_held_out)


def tuning_listeners(plays: csr_array, tuning: csr_array, *, most: int, seed: int) -> NDArray[np.int64]:
    """Rows of listeners with plays in both matrices, ascending; a seeded sample of at most `most`."""
    rows = np.flatnonzero((np.diff(plays.indptr) > 0) & (np.diff(tuning.indptr) > 0))
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def build_pool(
    components: MixComponents,
    weights: NDArray[np.float64],
    build_features: BuildFeatures,
    training: TrainingSet,
    holdout: csr_array,
    rows: NDArray[np.int64],
) -> TuningPool:
    """Compute the terms of the score (see terms.py) of a pool of songs for each listener in `rows`.

    A listener's pool has the SONGS_PER_RANKING songs with the highest scores by `weights` and, for each term
    in POOLED_TERMS, the SONGS_PER_RANKING songs with its highest values.
    """
    profiles = _training_profiles(training, rows)
    score_rows = _batch_rows if components.n_songs <= MOST_BATCH_SONGS else _online_rows

    def score_block(start: int) -> list[PoolRow]:
        block = slice_profiles(profiles, start, start + LISTENERS_PER_WORK_ITEM)
        scored = score_rows(components, weights, build_features, block)
        return [_keep_best_songs(row, weights) for row in scored]

    starts = range(0, profiles.n, LISTENERS_PER_WORK_ITEM)
    with two_workers() as submit:
        blocks = submit([partial(score_block, start) for start in starts])()
    pool_rows = [row for block in blocks for row in block]
    width = max(len(songs) for songs, _, _ in pool_rows)
    terms = np.zeros((len(TERM_NAMES), len(rows), width), dtype=np.float32)
    base = np.full((len(rows), width), -np.inf, dtype=np.float32)
    hits = np.zeros((len(rows), width), dtype=np.bool_)
    for index, (songs, values, cold_start) in enumerate(pool_rows):
        terms[:, index, : len(songs)] = values
        base[index, : len(songs)] = cold_start
        played = holdout.indices[holdout.indptr[rows[index]] : holdout.indptr[rows[index] + 1]]
        hits[index, : len(songs)] = np.isin(songs, played)
    return TuningPool(terms, base, hits, np.diff(holdout.indptr)[rows].astype(np.int64))


def _batch_rows(
    components: MixComponents, weights: NDArray[np.float64], build_features: BuildFeatures, profiles: Profiles
) -> Iterator[PoolRow]:
    size = max(1, POOL_BLOCK_CELLS // components.n_songs)
    for start in range(0, profiles.n, size):
        block = slice_profiles(profiles, start, start + size)
        features = build_features(block)
        terms = np.zeros((len(TERM_NAMES), block.n, components.n_songs), dtype=np.float32)
        for index, term in batch_terms(components, features, block, np.ones(len(TERM_NAMES))):
            terms[index] = term
        no_terms = np.zeros_like(terms[0])
        genres = terms[TERM_NAMES.index("genre")]
        base = blend_scores(components, features.cold_start_weight, no_terms, slice(None), genres)
        base[exclusion_mask(block, components.available)] = -np.inf
        for row in range(block.n):
            songs = np.flatnonzero(np.isfinite(base[row]))
            yield songs, terms[:, row, songs] * (1 - features.cold_start_weight[row]), base[row, songs]


def _online_rows(
    components: MixComponents, weights: NDArray[np.float64], build_features: BuildFeatures, profiles: Profiles
) -> Iterator[PoolRow]:
    for row in range(profiles.n):
        profile = slice_profiles(profiles, row, row + 1)
        features = build_features(profile)
        votes = sum_neighbour_votes(components, features, profile)
        moments = direction_moments(components, features, profile)
        chosen = preselect_songs(components, weights, features, profile, votes, PRESELECTED_SONGS, [0])
        songs, (terms,) = chosen[0], online_terms(components, features, moments, votes, chosen)
        no_terms = np.zeros((1, len(songs)), dtype=np.float32)
        genres = terms[[TERM_NAMES.index("genre")]]
        base = blend_scores(components, features.cold_start_weight, no_terms, songs, genres)
        yield songs, terms * (1 - features.cold_start_weight[0]), base[0]


def _keep_best_songs(row: PoolRow, weights: NDArray[np.float64]) -> PoolRow:
    songs, terms, base = row
    n = min(SONGS_PER_RANKING, len(songs))
    if not n:
        return row
    rankings = [
        weights.astype(np.float32) @ terms, *(terms[TERM_NAMES.index(name)] for name in POOLED_TERMS)
    ]  # fmt: skip
    kept = np.unique(np.concatenate([np.argpartition(-values, n - 1)[:n] for values in rankings]))
    return songs[kept], terms[:, kept], base[kept]


def _training_profiles(training: TrainingSet, rows: NDArray[np.int64]) -> Profiles:
    return Profiles(
        training.plays[rows],
        None if training.recent is None else training.recent[rows],
        None if training.skips is None else training.skips[rows],
        None if training.genres is None else [training.genres[row] for row in rows],
    )
