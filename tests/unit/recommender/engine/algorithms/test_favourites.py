"""Songs heard before, ranked by how likely they are played again."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommender.engine.algorithms.favourites import favourite_scores, play_strengths, rank_favourites
from recommender.engine.data import Interactions

DAY = 86_400.0
NOW = 20_000 * DAY


def make_plays(*rows: tuple[int, int, float]) -> Interactions:
    """Plays of (listener, song, age in days)."""
    listeners, songs, ages = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(
        2, 4, listeners.astype(np.int32), songs.astype(np.int32), NOW - ages * DAY,
        np.ones(len(rows), dtype=np.float32),
    )  # fmt: skip


def test_a_play_fades_with_the_root_of_its_age() -> None:
    found = play_strengths(NOW - np.array([0.5, 3.5, 99.5, -7]) * DAY, NOW)

    assert found.tolist() == pytest.approx([1, 0.5, 0.1, 2**0.5])


def test_a_song_of_this_week_ranks_above_one_played_more_often_a_year_ago() -> None:
    plays = make_plays((0, 1, 400), (0, 1, 401), (0, 1, 402), (0, 2, 3), (0, 3, 3), (0, 3, 10))

    lists = rank_favourites(favourite_scores(plays, NOW), 4)

    assert lists.tolist() == [[3, 2, 1, -1], [-1, -1, -1, -1]]


def test_scores_are_logarithms_of_summed_strengths() -> None:
    scores = favourite_scores(make_plays((0, 1, 0.5), (0, 1, 3.5)), NOW)

    assert scores.toarray()[0, 1] == pytest.approx(np.log(1.5))


def test_a_skip_takes_back_a_play_and_adds_no_song() -> None:
    plays = make_plays((0, 1, 0.5), (0, 2, 3.5))
    skips = csr_array(np.array([[0, 1, 0, 5], [0, 0, 0, 1]], dtype=np.float32))

    lists = rank_favourites(favourite_scores(plays, NOW, skips), 3)

    assert lists.tolist() == [[2, 1, -1], [-1, -1, -1]]
