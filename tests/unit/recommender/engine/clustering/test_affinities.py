"""Affinities: shares of engagement; recent plays weigh more, skips lower their cluster."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommender.engine.clustering.affinities import cluster_affinities, recency_weights

LABELS = np.array([0, 0, 1, 2], dtype=np.int32)


def rows(*values: list[float]) -> csr_array:
    return csr_array(np.array(values, dtype=np.float32))


def test_affinities_are_shares_of_plays() -> None:
    found = cluster_affinities(rows([1, 2, 1, 0], [0, 0, 0, 5]), LABELS, 3)

    assert found.tolist() == [[0.75, 0.25, 0.0], [0.0, 0.0, 1.0]]


def test_plays_count_by_the_share_of_plays_among_plays_and_skips() -> None:
    found = cluster_affinities(rows([2, 0, 2, 0]), LABELS, 3, rows([0, 0, 6, 1]))

    # 2 and 2 * 2 / 8; the third cluster was skipped and never played.
    assert found.tolist() == [pytest.approx([0.8, 0.2, 0.0])]


def test_25_dislikes_do_not_outweigh_a_favourite_genre() -> None:
    found = cluster_affinities(rows([60, 0, 20, 0]), LABELS, 3, rows([50, 0, 0, 0]))

    assert found[0, 0] == pytest.approx(0.62, abs=0.01)


def test_plays_and_skips_that_fade_together_leave_the_affinities_as_they_were() -> None:
    plays, skips = rows([95, 0, 5, 0]), rows([40, 0, 0, 0])

    before, later = (cluster_affinities(plays * weight, LABELS, 3, skips * weight) for weight in (1, 0.1))

    assert later == pytest.approx(before)
    assert before[0, 0] > 0.9


def test_a_listener_without_engagement_has_uniform_affinities() -> None:
    found = cluster_affinities(rows([0, 0, 0, 0], [0, 0, 0, 0]), LABELS, 3, rows([0, 0, 0, 0], [4, 0, 0, 0]))

    assert found == pytest.approx(1 / 3)


def test_a_play_counts_half_after_a_half_life_and_fully_in_the_future() -> None:
    day = 86_400.0

    weights = recency_weights(np.array([0.0, 90 * day, 200 * day]), 90 * day)

    assert weights.tolist() == [0.5, 1.0, 1.0]


def test_a_listener_with_a_hundred_thousand_plays_has_affinities() -> None:
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 20, 5_000).astype(np.int32)
    plays = np.bincount(draws.integers(0, 5_000, 100_000), minlength=5_000).astype(np.float32)

    assert cluster_affinities(csr_array(plays[None]), labels, 20).sum() == pytest.approx(1)
