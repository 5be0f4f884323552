"""Metrics compared with hand-computed numbers and with scikit-learn."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import ndcg_score

from recommender.engine.evaluation.evaluate import evaluate_lists
from recommender.engine.evaluation.metrics import coverage, diversity, ndcg, recall


def played(*rows: list[int], n_songs: int = 6) -> csr_array:
    dense = np.zeros((len(rows), n_songs), dtype=np.float32)
    for row, songs in enumerate(rows):
        dense[row, songs] = 1
    return csr_array(dense)


def test_ndcg_is_higher_for_hits_near_the_top() -> None:
    lists = np.array([[0, 1, 2], [3, 4, 0]], dtype=np.int32)

    each = ndcg(lists, played([0], [0, 1]))

    second = (1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert each.tolist() == pytest.approx([1.0, second])


def test_ndcg_agrees_with_scikit_learn() -> None:
    draws = np.random.default_rng(0)
    truth = (draws.random((30, 50)) < 0.2).astype(float)
    scores = draws.random((30, 50))
    lists = np.argsort(-scores, axis=1)[:, :20].astype(np.int32)

    ours = ndcg(lists, csr_array(truth.astype(np.float32)))

    assert ours.mean() == pytest.approx(ndcg_score(truth, scores, k=20))


def test_recall_is_the_share_of_test_songs_found() -> None:
    lists = np.array([[0, 1, -1]], dtype=np.int32)

    assert recall(lists, played([1, 4])).tolist() == [0.5]


def test_a_listener_without_test_plays_has_no_value() -> None:
    lists = np.array([[0], [1]], dtype=np.int32)

    found = evaluate_lists(lists, played([], [1]), artists=np.arange(6, dtype=np.int32))

    assert np.isnan(ndcg(lists, played([], [1]))[0])
    assert (found.ndcg, found.listeners) == (1.0, 1)


def test_without_a_measured_listener_the_summary_has_no_number() -> None:
    nothing = evaluate_lists(
        np.empty((0, 20), np.int32), played(n_songs=3), artists=np.arange(3, dtype=np.int32)
    )

    assert nothing.summary() == {
        "ndcg": None, "recall": None, "coverage": 0.0, "diversity": None, "listeners": 0
    }  # fmt: skip


def test_coverage_is_the_share_of_songs_that_anyone_gets() -> None:
    assert coverage(np.array([[0, 1], [1, -1]], dtype=np.int32), 4) == 0.5
    assert coverage(np.empty((0, 20), np.int32), 0) == 0.0


def test_diversity_is_the_share_of_pairs_of_different_groups() -> None:
    lists = np.array([[0, 1, 2], [0, 3, -1]], dtype=np.int32)
    artists = np.array([1, 1, 2, 3], dtype=np.int32)

    assert diversity(lists, artists) == pytest.approx((2 / 3 + 1) / 2)
    assert np.isnan(diversity(np.array([[1, -1]], np.int32), artists))
