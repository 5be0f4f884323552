import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.metrics.pairwise import cosine_similarity

from recommender.engine.algorithms.baselines import EASE, ItemKNN, Popularity, Random, RP3beta
from recommender.engine.algorithms.item_similarity import (
    TooManySongs,
    ease_weights,
    ease_weights_of_most_played,
    keep_best,
    limit_songs,
    rp3_weights,
)
from recommender.engine.data import Catalogue, Profiles, TooFewPlays, TrainingSet

MODELS = [Random, Popularity, RP3beta, ItemKNN, EASE]


def make_catalogue(n_songs: int) -> Catalogue:
    unknown = np.full(n_songs, np.nan)
    blank = [""] * n_songs
    ids = np.arange(n_songs, dtype=np.int64)
    available = np.ones(n_songs, dtype=np.bool_)
    return Catalogue(ids, blank, blank, blank, blank, unknown, unknown, {}, available)


def make_training(plays: NDArray[np.float32]) -> TrainingSet:
    return TrainingSet(make_catalogue(plays.shape[1]), csr_array(plays))


def random_plays(listeners: int = 40, songs: int = 30, seed: int = 3) -> NDArray[np.float32]:
    draw = np.random.default_rng(seed)
    return (draw.random((listeners, songs)) < 0.2).astype(np.float32) * draw.integers(
        1, 9, (listeners, songs)
    )


def test_popularity_counts_listeners_and_not_plays() -> None:
    training = make_training(np.array([[9, 1, 0], [0, 1, 0], [0, 1, 1]], dtype=np.float32))

    model = Popularity.fit(training)

    assert model.listeners.tolist() == [1, 3, 1]
    assert model.recommend(Profiles(csr_array((1, 3), dtype=np.float32)), 3).tolist() == [[1, 0, 2]]


def test_plays_held_out_for_tuning_are_trained_on() -> None:
    plays = np.array([[1, 0, 0]], dtype=np.float32)
    later = csr_array(np.array([[0, 0, 1]], dtype=np.float32))

    model = Popularity.fit(TrainingSet(make_catalogue(3), csr_array(plays), tuning=later))

    assert model.listeners.tolist() == [1, 0, 1]


def test_rp3_weights_equal_two_damped_walks_divided_by_popularity() -> None:
    plays = random_plays()
    ones = (plays > 0).astype(float)
    forth = (ones.T / np.maximum(ones.T.sum(axis=1, keepdims=True), 1)) ** 0.7
    back = (ones / np.maximum(ones.sum(axis=1, keepdims=True), 1)) ** 0.7
    expected = (forth @ back) / np.maximum(ones.sum(axis=0), 1) ** 0.4
    np.fill_diagonal(expected, 0)

    found = rp3_weights(csr_array(plays)).toarray()

    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_itemknn_without_shrinkage_is_scikit_learn_s_cosine() -> None:
    plays = random_plays()
    expected = cosine_similarity((plays > 0).T)
    np.fill_diagonal(expected, 0)

    model = ItemKNN.fit(make_training(plays), k=30, shrink=0)

    np.testing.assert_allclose(model.weights.toarray(), expected, atol=1e-6)


def test_itemknn_keeps_the_nearest_of_each_recommended_song() -> None:
    model = ItemKNN.fit(make_training(random_plays()), k=4)

    assert (model.weights.toarray() > 0).sum(axis=0).max() == 4


def test_ease_solves_the_ridge_regression_of_each_song_on_the_others() -> None:
    plays = (random_plays() > 0).astype(float)
    others = np.delete(plays, 5, axis=1)
    expected = np.linalg.solve(others.T @ others + 60 * np.eye(29), others.T @ plays[:, 5])

    weights = ease_weights(csr_array(plays))

    np.testing.assert_allclose(np.delete(weights[:, 5], 5), expected, atol=1e-5)
    assert weights[5, 5] == 0


def test_ease_refuses_a_catalogue_whose_matrix_would_not_fit() -> None:
    with pytest.raises(TooManySongs, match="at most 20000 songs, not 20001"):
        ease_weights(csr_array((3, 20_001), dtype=np.float32))


@pytest.mark.parametrize("most", [12, 29, 30])
def test_ease_of_a_large_catalogue_relates_its_most_played_songs(most: int) -> None:
    plays = csr_array(random_plays())
    listeners = (plays.toarray() > 0).sum(axis=0)
    chosen = sorted(sorted(range(30), key=lambda song: (-listeners[song], song))[:most])

    weights = ease_weights_of_most_played(plays, k=30, most=most).toarray()

    np.testing.assert_array_equal(weights[np.ix_(chosen, chosen)], ease_weights(plays[:, chosen]))
    others = [song for song in range(30) if song not in chosen]
    assert not weights[others].any()
    assert not weights[:, others].any()


def test_ease_refuses_an_empty_training_set() -> None:
    with pytest.raises(TooFewPlays):
        EASE.fit(make_training(np.zeros((2, 3), dtype=np.float32)))


def test_only_the_thousand_most_played_songs_of_a_listener_count() -> None:
    counts = csr_array(np.arange(1, 6, dtype=np.float32)[np.newaxis, :])

    kept = limit_songs(counts, 2)

    assert kept.toarray().tolist() == [[0, 0, 0, 4, 5]]


def test_of_tied_neighbours_the_first_ones_are_kept() -> None:
    matrix = csr_array(np.array([[1, -2, 1, 1], [0, 0, 0, 3]], dtype=np.float32))

    kept = keep_best(matrix, 2)

    assert kept.toarray().tolist() == [[1, -2, 0, 0], [0, 0, 0, 3]]


def test_the_best_entries_of_rows_equal_those_of_a_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(3)
    # Few different values: ties at the edge; rows of 0 to 80 entries, parted in several calls.
    rows = draws.integers(-3, 4, (60, 80)) * (draws.random((60, 80)) < draws.random((60, 1)))
    monkeypatch.setattr("recommender.engine.algorithms.item_similarity.PARTITION_CELLS", 100)

    kept = keep_best(csr_array(rows.astype(np.float32)), 7)

    for row, found in zip(rows, kept.toarray(), strict=True):
        best = np.argsort(-np.abs(row), kind="stable")[:7]
        expected = np.zeros(80)
        expected[best] = row[best]
        np.testing.assert_array_equal(found, expected)


def test_a_large_product_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    plays = csr_array(random_plays(200, 90))
    whole = rp3_weights(plays).toarray()
    monkeypatch.setattr("recommender.engine.algorithms.item_similarity.BLOCK_PRODUCTS", 500)

    in_blocks = rp3_weights(plays).toarray()

    np.testing.assert_array_equal(in_blocks, whole)


@pytest.mark.parametrize("kind", MODELS)
def test_played_excluded_and_unavailable_songs_are_never_recommended(kind: type[RP3beta]) -> None:
    plays = random_plays()
    training = make_training(plays)
    training.catalogue.available[3] = False
    excluded = np.zeros(plays.shape, dtype=np.float32)
    excluded[:, 7] = 1
    profiles = Profiles(csr_array(plays), excluded=csr_array(excluded))

    lists = kind.fit(training).recommend(profiles, 30)

    for row, found in enumerate(lists):
        wanted = set(range(30)) - {3, 7} - set(np.flatnonzero(plays[row]))
        assert set(found[found >= 0]) == wanted


def test_random_gives_a_listener_the_same_songs_in_any_batch_and_process() -> None:
    script = (
        "import numpy as np; from scipy.sparse import csr_array;"
        "from recommender.engine.algorithms.baselines import Random;"
        "from recommender.engine.data import Profiles;"
        "print(Random(np.ones(50, bool)).recommend("
        "Profiles(csr_array((1, 50), dtype=np.float32), keys=np.array([8])), 5).tolist())"
    )
    keys = np.array([4, 8], dtype=np.int64)
    model = Random(np.ones(50, dtype=np.bool_))

    together = model.recommend(Profiles(csr_array((2, 50), dtype=np.float32), keys=keys), 5)
    alone = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip

    assert alone.stdout.strip() == str([together[1].tolist()])
