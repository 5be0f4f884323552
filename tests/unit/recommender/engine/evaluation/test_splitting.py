"""The split of plays into training and test parts at one instant."""

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


def test_a_play_at_the_cut_off_belongs_to_the_test_part() -> None:
    early, late = split_at(plays(1.0, 2.0, 3.0), 2.0)

    assert (early.songs.tolist(), late.songs.tolist()) == ([0], [1, 2])


def test_plays_at_the_same_instant_stay_in_the_same_part() -> None:
    early, late = split_latest(plays(*range(18), 18.0, 18.0), 0.1)

    assert (len(early.at), late.songs.tolist()) == (18, [18, 19])


def test_no_plays_are_split_into_two_empty_parts() -> None:
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


def test_a_song_is_new_if_the_listener_has_not_played_it_before() -> None:
    before = csr_array(np.array([[2, 0, 0], [0, 0, 5]], np.float32))
    later = csr_array(np.array([[3, 4, 0], [1, 0, 1]], np.float32))

    found = plays_of_new_songs(later, before)

    assert found.toarray().tolist() == [[0, 1, 0], [1, 0, 0]]
