"""Lookups of song ids, compared with numpy's slower functions."""

import numpy as np
import pytest

from recommender.engine.song_columns import are_among, find_columns

SONGS = np.array([3, 5, 8, 2**40], dtype=np.int64)


@pytest.mark.parametrize("wanted", [[], [8], [9, 3], [2**40, 5, 5, -1]])
def test_songs_are_found_among_others_in_any_order_as_by_isin(wanted: list[int]) -> None:
    found = are_among(SONGS, np.array(wanted, dtype=np.int64))

    assert found.tolist() == np.isin(SONGS, wanted).tolist()


def test_a_song_that_the_model_does_not_know_is_not_there() -> None:
    columns, there = find_columns(SONGS, np.array([8, 4, 2**41], dtype=np.int64))

    assert there.tolist() == [True, False, False]
    assert columns[0] == 2


def test_nothing_is_found_in_an_empty_catalogue() -> None:
    assert find_columns(SONGS[:0], SONGS)[1].tolist() == [False] * 4
