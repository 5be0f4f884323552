"""From scores to lists: exactly n, in a decided order."""

import numpy as np

from recommender.engine.algorithms.base import top_n

NOBODY = np.zeros((1, 5), dtype=np.bool_)


def test_the_best_come_first_and_ties_by_column() -> None:
    scores = np.array([[0.5, 0.9, 0.5, 0.1, 0.5]], dtype=np.float32)

    assert top_n(scores, NOBODY, 3).tolist() == [[1, 0, 2]]


def test_excluded_songs_never_appear_and_a_short_row_ends_in_minus_one() -> None:
    scores = np.array([[5, 4, 3, 2, 1]], dtype=np.float32)
    unwanted = np.array([[True, False, True, True, False]])

    assert top_n(scores, unwanted, 4).tolist() == [[1, 4, -1, -1]]


def test_nan_ranks_last_and_minus_infinity_is_a_score() -> None:
    scores = np.array([[np.nan, -np.inf, 0, np.nan, 1]], dtype=np.float32)

    assert top_n(scores, NOBODY, 5).tolist() == [[4, 2, 0, 1, 3]]


def test_top_n_agrees_with_a_full_sort() -> None:
    scores = np.random.default_rng(0).integers(0, 9, (40, 60)).astype(np.float32)

    expected = [np.lexsort((np.arange(60), -row))[:20].tolist() for row in scores]

    assert top_n(scores, np.zeros((40, 60), np.bool_), 20).tolist() == expected


def test_without_songs_or_listeners_the_result_is_empty() -> None:
    assert top_n(np.empty((2, 0), np.float32), np.empty((2, 0), np.bool_), 3).tolist() == [[-1] * 3] * 2
    assert top_n(np.empty((0, 4), np.float32), np.empty((0, 4), np.bool_), 3).shape == (0, 3)
