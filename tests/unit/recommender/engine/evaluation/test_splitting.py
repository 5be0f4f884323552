"""Before and after, at one instant for all."""

import numpy as np
from scipy.sparse import csr_array

from recommender.engine.data import Interactions
from recommender.engine.evaluation.splitting import plays_of_new_songs, split_at, split_latest


def plays(*times: float) -> Interactions:
    number = len(times)
    return Interactions(
        1, number, np.zeros(number, np.int32), np.arange(number, dtype=np.int32), np.array(times),
        np.ones(number, np.float32),
    )  # fmt: skip


def test_the_instant_itself_is_after() -> None:
    early, late = split_at(plays(1.0, 2.0, 3.0), 2.0)

    assert (early.songs.tolist(), late.songs.tolist()) == ([0], [1, 2])


def test_the_latest_share_keeps_plays_of_one_instant_together() -> None:
    early, late = split_latest(plays(*range(18), 18.0, 18.0), 0.1)

    assert (len(early.at), late.songs.tolist()) == (18, [18, 19])


def test_nothing_is_split_into_nothing() -> None:
    early, late = split_latest(plays(), 0.1)

    assert (len(early.at), len(late.at)) == (0, 0)


def test_plays_of_one_song_add_up_in_the_matrix() -> None:
    twice = Interactions(
        2,
        2,
        np.array([1, 1], np.int32),
        np.array([0, 0], np.int32),
        np.zeros(2),
        np.array([1, 2], np.float32),
    )

    assert twice.matrix().toarray().tolist() == [[0, 0], [3, 0]]
    assert twice.matrix(np.array([0.5, 0.25], np.float32)).toarray().tolist() == [[0, 0], [1, 0]]


def test_a_song_is_new_to_who_has_not_played_it_before_however_often_then() -> None:
    before = csr_array(np.array([[2, 0, 0], [0, 0, 5]], np.float32))
    later = csr_array(np.array([[3, 4, 0], [1, 0, 1]], np.float32))

    found = plays_of_new_songs(later, before)

    assert found.toarray().tolist() == [[0, 1, 0], [1, 0, 0]]
