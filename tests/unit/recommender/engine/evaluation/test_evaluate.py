"""Evaluation of a model on what listeners played later."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommender.engine.algorithms.baselines import Popularity
from recommender.engine.data import Catalogue, Profiles, TrainingSet
from recommender.engine.evaluation.evaluate import evaluate_lists, evaluate_model, paired_difference

ARTISTS = np.array([0, 0, 1, 2], dtype=np.int32)
# Songs by falling popularity: 0, 1, 2, 3.
PLAYS = csr_array(np.array([[1, 0, 0, 0], [9, 5, 0, 0], [9, 5, 4, 1]], dtype=np.float32))


def popularity() -> Popularity:
    songs = 4
    catalogue = Catalogue(
        ids=np.arange(songs), artists=["A", "A", "B", "C"], albums=[""] * songs, songwriters=[""] * songs,
        genres=[""] * songs, release_years=np.full(songs, np.nan), durations=np.full(songs, np.nan), audio={},
        available=np.ones(songs, dtype=np.bool_),
    )  # fmt: skip
    return Popularity.fit(TrainingSet(catalogue, PLAYS))


def test_each_listener_s_list_is_compared_with_their_later_plays() -> None:
    test = csr_array(np.array([[0, 0, 1, 0], [0, 0, 1, 0]], dtype=np.float32))

    found = evaluate_model(popularity(), Profiles(PLAYS[:2]), test, artists=ARTISTS, n=2)

    # Lists: 1, 2 and 2, 3; the song that came is second for the one, first for the other.
    assert found.ndcg_each.tolist() == pytest.approx([1 / np.log2(3), 1.0])
    assert found.ndcg == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert (found.recall, found.coverage, found.diversity, found.listeners) == (1.0, 0.75, 1.0, 2)


def test_a_listener_without_later_plays_is_not_counted() -> None:
    lists = np.array([[2, 3], [0, 1]], dtype=np.int32)
    test = csr_array(np.array([[0, 0, 1, 0], [0, 0, 0, 0]], dtype=np.float32))

    both = evaluate_lists(lists, test, artists=ARTISTS)

    alone = evaluate_lists(lists[:1], test[:1], artists=ARTISTS)
    assert both.summary() == alone.summary()
    assert both.summary() == {"ndcg": 1.0, "recall": 1.0, "coverage": 0.5, "diversity": 1.0, "listeners": 1}


def test_empty_places_of_a_short_list_are_not_hits() -> None:
    test = csr_array(np.array([[0, 0, 0, 1]], dtype=np.float32))
    heard = csr_array(np.array([[1, 1, 1, 0]], dtype=np.float32))

    found = evaluate_model(popularity(), Profiles(heard), test, artists=ARTISTS, n=3)

    assert (found.ndcg, found.recall, found.coverage) == (1.0, 1.0, 0.25)
    assert np.isnan(found.diversity)
    assert found.summary()["diversity"] is None


def test_two_models_are_compared_on_the_listeners_that_both_have_values_for() -> None:
    ours = np.array([0.5, 0.4, np.nan, 0.3] + [0.2] * 50)
    theirs = np.array([0.4, 0.3, 0.9, np.nan] + [0.1] * 50)

    found = paired_difference(ours, theirs)

    assert found == {"difference": 0.1, "low": 0.1, "high": 0.1, "listeners": 52}
