import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import ndcg_score

from recommender.engine.data import Catalogue, TrainingSet
from recommender.engine.mix.tuning import (
    TuningPool,
    coordinate_ascent,
    maximum_likelihood_weights,
    split_tuning_plays,
    tune_weights,
    tuning_listeners,
)


def make_pool(listeners: int = 60, songs: int = 40, seed: int = 2) -> TuningPool:
    """The first term knows what was played, the second is noise, the third says the opposite of the first."""
    draw = np.random.default_rng(seed)
    hits = draw.random((listeners, songs)) < 0.1
    hits[:, 0] = True
    knows = hits + draw.normal(0, 0.7, hits.shape)
    noise = draw.normal(0, 1, hits.shape)
    terms = np.stack([knows, noise, draw.normal(0, 2, hits.shape) - hits.astype(float)])
    terms = terms.astype(np.float32)
    return TuningPool(terms, np.zeros(hits.shape, dtype=np.float32), hits, hits.sum(axis=1))


def make_training(plays: csr_array, tuning: csr_array | None = None) -> TrainingSet:
    n_songs = plays.shape[1]
    unknown, blank = np.full(n_songs, np.nan), [""] * n_songs
    catalogue = Catalogue(
        np.arange(n_songs), blank, blank, blank, blank, unknown, unknown, {}, np.ones(n_songs, dtype=np.bool_)
    )
    return TrainingSet(catalogue, plays, tuning=tuning)


def test_the_ndcg_of_a_pool_equals_that_of_scikit_learn() -> None:
    pool = make_pool()
    scores = pool.scores(np.array([1.0, 0.5, 0.0]))

    found = pool.ndcg(scores)

    assert found == pytest.approx(ndcg_score(pool.hits, scores, k=20), abs=1e-6)


def test_played_songs_outside_the_pool_lower_the_ndcg() -> None:
    pool = TuningPool(
        terms=np.array([[[2.0, 1.0]]], dtype=np.float32),
        base=np.zeros((1, 2), dtype=np.float32),
        hits=np.array([[True, False]]),
        sizes=np.array([2]),
    )

    found = pool.ndcg(pool.scores(np.array([1.0])))

    assert found == pytest.approx(1 / (1 + 1 / np.log2(3)))


def test_an_empty_place_ranks_last() -> None:
    base = np.array([[-np.inf, 0.0]], dtype=np.float32)
    pool = TuningPool(np.ones((1, 1, 2), dtype=np.float32), base, np.array([[False, True]]), np.array([1]))

    found = pool.ndcg(pool.scores(np.array([9.0])))

    assert found == 1.0


def test_ascent_never_ends_below_its_start() -> None:
    pool = make_pool()
    start = np.array([0.1, 1.0, 0.5])

    weights, reached = coordinate_ascent(pool, start)

    assert reached >= pool.ndcg(pool.scores(start))
    assert reached == pytest.approx(pool.ndcg(pool.scores(weights)), abs=1e-4)


def test_maximum_likelihood_weights_are_high_for_a_good_term_and_negative_for_its_opposite() -> None:
    weights = maximum_likelihood_weights(make_pool(), np.zeros(3))

    assert weights[0] > 1
    assert abs(weights[1]) < 0.3
    assert weights[2] < 0


def test_tuned_weights_rank_other_listeners_better_than_the_start() -> None:
    start, others = np.array([0.2, 1.0, 1.0]), make_pool(seed=9)

    weights = tune_weights(make_pool(), [start])

    assert others.ndcg(others.scores(weights)) > others.ndcg(others.scores(start)) + 0.1


def test_an_optimal_start_is_kept() -> None:
    hits = np.array([[True, False]] * 4)
    terms = np.array([hits, ~hits], dtype=np.float32)
    pool = TuningPool(terms, np.zeros((4, 2), dtype=np.float32), hits, np.ones(4, dtype=np.int64))

    weights = tune_weights(pool, [np.array([1.0, 0.0])])

    assert pool.ndcg(pool.scores(weights)) == 1.0


def test_a_tenth_of_the_plays_is_held_out_if_none_is_given() -> None:
    plays = csr_array(np.ones((100, 50), dtype=np.float32))

    known, later = split_tuning_plays(make_training(plays))

    assert 400 < later.nnz < 600
    np.testing.assert_array_equal((known + later).toarray(), plays.toarray())


def test_only_listeners_with_plays_on_both_sides_tune() -> None:
    plays = csr_array(np.array([[1, 0], [0, 0], [1, 0]], dtype=np.float32))
    later = csr_array(np.array([[0, 1], [0, 1], [0, 0]], dtype=np.float32))

    rows = tuning_listeners(plays, later, most=10, seed=1)

    assert rows.tolist() == [0]


def test_the_same_sample_of_many_listeners_is_used_each_time() -> None:
    ones = csr_array(np.ones((500, 2), dtype=np.float32))

    first, second = (tuning_listeners(ones, ones, most=20, seed=4) for _ in range(2))

    assert len(first) == 20
    assert first.tolist() == second.tolist() == sorted(set(first.tolist()))
