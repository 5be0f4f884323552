"""Find the weights of a blend, and the settings of a baseline, that rank held-out plays best."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array

from recommender.engine.algorithms.base import exclusion_mask, slice_profiles
from recommender.engine.algorithms.baselines import ItemKNN
from recommender.engine.data import Profiles, TrainingSet
from recommender.engine.evaluation.metrics import LIST_LENGTH, ndcg
from recommender.engine.mix.components import MixComponents
from recommender.engine.mix.scoring import batch_terms, online_terms, preselect_songs, sum_neighbour_votes
from recommender.engine.mix.terms import TERM_NAMES, ListenerFeatures, blend_scores
from recommender.engine.parallel import two_workers

PLAYS_HELD_OUT = 0.1
KNN_GRID = ((50, 10.0, False), (200, 30.0, True))  # k, shrink, logarithmic: each the best of one measured set
RIDGE = 1e-3  # keeps terms that say the same from taking huge weights of opposite sign
HALVES = 2  # of the listeners: what both like is no chance; quarters lose .3 %
STEP_SIZES = (1.0, 0.5, 0.25)  # of a weight's own size; finer steps fit the held-out plays' noise
LEAST_STEP = 0.1  # so that a weight of 0 can leave it; .02 and .05 lose up to .5 % on a test set
ROUNDS_PER_STEP = 3  # at each step; measured: later rounds gain under .1 %


@dataclass(frozen=True)
class TuningPool:
    """Some listeners' likeliest songs, with all that is needed to rank them under any weights.

    Attributes:
        terms: shape (n_terms, n, m), float32.
        base: shape (n, m), added to the weighted terms; -inf for a place that holds no song.
        hits: shape (n, m), the songs that were then played.
        sizes: shape (n,), how many songs were played, in the pool or not.
    """

    terms: NDArray[np.float32]
    base: NDArray[np.float32]
    hits: NDArray[np.bool_]
    sizes: NDArray[np.int64]

    def scores(self, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        """Shape (n, m)."""
        return np.asarray(self.base + np.tensordot(weights.astype(np.float32), self.terms, axes=1))

    def select_listeners(self, chosen: NDArray[np.int64]) -> Self:
        """The same for some of the listeners."""
        terms = np.ascontiguousarray(self.terms[:, chosen])
        return replace(
            self, terms=terms, base=self.base[chosen], hits=self.hits[chosen], sizes=self.sizes[chosen]
        )

    def term_scales(self) -> NDArray[np.float64]:
        """Shape (n_terms,): root mean square of each term, which makes weights comparable; never 0."""
        present = np.where(np.isfinite(self.base), self.terms, 0)
        return np.asarray(np.sqrt(np.maximum((present.astype(np.float64) ** 2).mean(axis=(1, 2)), 1e-12)))

    def ndcg(self, scores: NDArray[np.float32]) -> float:
        """Mean NDCG@20 of ranking by `scores`, with binary gains; 0 without listeners."""
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
    """The mean of the weights that coordinate ascent reaches, each start on each half of listeners.

    One more start is where the songs played are likeliest. NDCG has many summits, each fitted to chance;
    their mean ranks other plays better than the highest of them (measured: + .9 % and + .6 % on two test
    sets). Where a start as it is ranks better yet, it is taken.
    """
    sizes = pool.term_scales()
    halves = [
        pool.select_listeners(np.flatnonzero(np.arange(len(pool.sizes)) % HALVES == half))
        for half in range(HALVES)
    ]
    with two_workers() as begin:
        climbs = [partial(_climb, part, start, starts[0]) for part in halves for start in (*starts, None)]
        found = begin(climbs)()
        scaled = [weights / max(float((np.abs(weights) * sizes).sum()), 1e-12) for weights in found]
        return max([np.mean(scaled, axis=0), *starts], key=lambda weights: pool.ndcg(pool.scores(weights)))


def _climb(
    pool: TuningPool, start: NDArray[np.float64] | None, first: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What ascent reaches from a start; None: from the `likeliest` weights, sought from `first`."""
    return coordinate_ascent(pool, maximum_likelihood_weights(pool, first) if start is None else start)[0]


def coordinate_ascent(pool: TuningPool, start: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Change one weight at a time while that raises NDCG; returns the weights and it."""
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
    """The term's weight, the scores and the NDCG after the better of a step up and a step down, if any."""
    size = step * max(abs(weight), LEAST_STEP)
    chosen = (weight, scores, best)
    for change in (size, -size):
        moved = scores + np.float32(change) * pool.terms[term]
        value = pool.ndcg(moved)
        if value > chosen[2] + 1e-6:
            chosen = (weight + change, moved, value)
    return chosen


def maximum_likelihood_weights(pool: TuningPool, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights under which the songs played are likeliest among the pool's; `start` where none was played."""
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
        odds = np.exp(scores)
        odds /= odds.sum(axis=1, keepdims=True)
        surprise = -(hits * np.log(odds + 1e-20)).sum() / len(rows)
        slope = np.tensordot(terms, odds - hits, axes=([1, 2], [0, 1])) / len(rows) / scale
        return float(surprise + RIDGE * (scaled**2).sum()), slope + 2 * RIDGE * scaled

    found = minimize(loss, start * scale, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    return np.asarray(found.x / scale, dtype=np.float64)


def split_tuning_plays(training: TrainingSet) -> tuple[csr_array, csr_array]:
    """Plays to learn from and plays to tune on: as given, or a seeded tenth of each listener's held out."""
    plays = csr_array(training.plays, dtype=np.float32)
    if training.tuning is not None:
        return plays, csr_array(training.tuning, dtype=np.float32)
    out = np.random.default_rng(training.seed).random(plays.nnz) < PLAYS_HELD_OUT
    rows = np.repeat(np.arange(plays.shape[0]), np.diff(plays.indptr))

    def part(chosen: NDArray[np.bool_]) -> csr_array:
        cells = (rows[chosen], plays.indices[chosen])
        return csr_array((plays.data[chosen], cells), shape=plays.shape, dtype=np.float32)

    return part(~out), part(out)


def tuning_listeners(plays: csr_array, tuning: csr_array, *, most: int, seed: int) -> NDArray[np.int64]:
    """Rows with plays on both sides, in ascending order; a seeded sample where there are more than `most`."""
    rows = np.flatnonzero((np.diff(plays.indptr) > 0) & (np.diff(tuning.indptr) > 0))
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def fit_tuned_knn(training: TrainingSet, *, listeners: int = 2_000) -> ItemKNN:
    """ItemKNN with the settings, of two, that rank the held-out plays better, fitted on all plays."""
    plays, tuning = split_tuning_plays(training)
    rows = tuning_listeners(plays, tuning, most=listeners, seed=training.seed)
    known = replace(training, plays=plays, tuning=None)
    whole = replace(training, plays=csr_array(plays + tuning), tuning=None)

    if not len(rows):
        return ItemKNN.fit(whole)

    def value(settings: tuple[int, float, bool]) -> float:
        k, shrink, logarithmic = settings
        model = ItemKNN.fit(known, k=k, shrink=shrink, logarithmic=logarithmic)
        return float(ndcg(model.recommend(Profiles(plays[rows]), LIST_LENGTH), tuning[rows]).mean())

    k, shrink, logarithmic = max(KNN_GRID, key=value)
    return ItemKNN.fit(whole, k=k, shrink=shrink, logarithmic=logarithmic)


MOST_BATCH_SONGS = (
    30_000  # up to here all songs compete: tuned on likely ones alone, a set of 10 000 loses 2 %
)
PRESELECTED_SONGS = (
    2_000  # beyond, as many as a request looks at: to rank them is all that the weights will do
)
POOL_BLOCK_CELLS = 4_000_000  # listeners x songs at once: 14 terms of 16 MB
LISTENERS_PER_WORK_ITEM = 100  # in a piece of work
SONGS_PER_RANKING = 50  # best songs of the start's blend, and of each of these terms, are kept
POOLED_TERMS = (
    "ease", "ease_weighted", "rp3", "rp3_weighted", "knn", "taste", "hybrid_low", "hybrid", "popularity",
)  # fmt: skip
BuildFeatures = Callable[[Profiles], ListenerFeatures]
# One listener's songs, their terms (n_terms, m), and what is added to the weighted terms (m,).
PoolRow = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]


def build_pool(
    components: MixComponents,
    weights: NDArray[np.float64],
    build_features: BuildFeatures,
    training: TrainingSet,
    holdout: csr_array,
    rows: NDArray[np.int64],
) -> TuningPool:
    """The pool of the listeners of `rows`; `later` (n_listeners, n_songs) holds what they then played."""
    profiles = _training_profiles(training, rows)
    gather = _batch_rows if components.n_songs <= MOST_BATCH_SONGS else _online_rows

    def piece(start: int) -> list[PoolRow]:
        block = slice_profiles(profiles, start, start + LISTENERS_PER_WORK_ITEM)
        return [_keep_best_songs(row, weights) for row in gather(components, weights, build_features, block)]

    with two_workers() as begin:
        pieces = begin([partial(piece, start) for start in range(0, profiles.n, LISTENERS_PER_WORK_ITEM)])()
    found = [row for rows_of_piece in pieces for row in rows_of_piece]
    width = max(len(songs) for songs, _, _ in found)
    terms = np.zeros((len(TERM_NAMES), len(rows), width), dtype=np.float32)
    base = np.full((len(rows), width), -np.inf, dtype=np.float32)
    hits = np.zeros((len(rows), width), dtype=np.bool_)
    for place, (songs, values, added) in enumerate(found):
        terms[:, place, : len(songs)] = values
        base[place, : len(songs)] = added
        played = holdout.indices[holdout.indptr[rows[place]] : holdout.indptr[rows[place] + 1]]
        hits[place, : len(songs)] = np.isin(songs, played)
    return TuningPool(terms, base, hits, np.diff(holdout.indptr)[rows].astype(np.int64))


def _batch_rows(
    components: MixComponents, weights: NDArray[np.float64], build_features: BuildFeatures, profiles: Profiles
) -> Iterator[PoolRow]:
    """Each listener's row with all songs."""
    size = max(1, POOL_BLOCK_CELLS // components.n_songs)
    for start in range(0, profiles.n, size):
        block = slice_profiles(profiles, start, start + size)
        known = build_features(block)
        terms = np.zeros((len(TERM_NAMES), block.n, components.n_songs), dtype=np.float32)
        for index, term in batch_terms(components, known, block, np.ones(len(TERM_NAMES))):
            terms[index] = term
        nothing = np.zeros_like(terms[0])
        base = blend_scores(components, known, nothing, slice(None), terms[TERM_NAMES.index("genre")])
        base[exclusion_mask(block, components.available)] = -np.inf
        for row in range(block.n):
            songs = np.flatnonzero(np.isfinite(base[row]))
            yield songs, terms[:, row, songs] * (1 - known.cold_start_weight[row]), base[row, songs]


def _online_rows(
    components: MixComponents, weights: NDArray[np.float64], build_features: BuildFeatures, profiles: Profiles
) -> Iterator[PoolRow]:
    """Each listener's row with the songs that a request would look at."""
    for row in range(profiles.n):
        profile = slice_profiles(profiles, row, row + 1)
        known = build_features(profile)
        votes = sum_neighbour_votes(components, known, profile)
        songs = preselect_songs(components, weights, known, profile, votes, PRESELECTED_SONGS)
        terms = online_terms(components, known, profile, votes, songs)
        nothing = np.zeros((1, len(songs)), dtype=np.float32)
        base = blend_scores(components, known, nothing, songs, terms[[TERM_NAMES.index("genre")]])
        yield songs, terms * (1 - known.cold_start_weight[0]), base[0]


def _keep_best_songs(row: PoolRow, weights: NDArray[np.float64]) -> PoolRow:
    """Of a row the songs that are among the best of the blend or of a term, ascending."""
    songs, terms, base = row
    each = min(SONGS_PER_RANKING, len(songs))
    if not each:
        return row
    ranked = [weights.astype(np.float32) @ terms, *(terms[TERM_NAMES.index(name)] for name in POOLED_TERMS)]
    kept = np.unique(np.concatenate([np.argpartition(-values, each - 1)[:each] for values in ranked]))
    return songs[kept], terms[:, kept], base[kept]


def _training_profiles(training: TrainingSet, rows: NDArray[np.int64]) -> Profiles:
    return Profiles(
        training.plays[rows],
        None if training.recent is None else training.recent[rows],
        None if training.skips is None else training.skips[rows],
        None if training.genres is None else [training.genres[row] for row in rows],
    )
