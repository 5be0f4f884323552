"""How much songs are played lately, from plays with times."""

import numpy as np
import pytest

from recommender.engine.data import Interactions
from recommender.engine.song_activity import measure_song_activity

DAY = 86_400.0
NOW = 20_000 * DAY


def make_plays(*rows: tuple[int, int, float], n_songs: int = 3) -> Interactions:
    """Plays of (listener, song, age in days)."""
    listeners, songs, ages = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(
        10, n_songs, listeners.astype(np.int32), songs.astype(np.int32), NOW - ages * DAY,
        np.ones(len(rows), dtype=np.float32),
    )  # fmt: skip


def test_each_listener_counts_once_by_the_age_of_their_last_play() -> None:
    plays = make_plays((0, 0, 90), (0, 0, 900), (0, 0, 180), (1, 0, 0), (1, 1, 30))

    found = measure_song_activity(plays, NOW)

    assert found is not None
    assert found.listeners_this_quarter.tolist() == pytest.approx([1.5, 0.5 ** (1 / 3), 0])
    assert found.listeners_this_month.tolist() == pytest.approx([1.125, 0.5, 0])


def test_days_run_from_the_first_play_of_any_listener() -> None:
    found = measure_song_activity(make_plays((0, 0, 90), (1, 0, 4), (2, 0, 30), (1, 1, 30)), NOW)

    assert found is not None
    assert found.days_since_first_play.tolist() == [90, 30, 0]


def test_a_bot_with_many_plays_counts_like_any_listener() -> None:
    found = measure_song_activity(make_plays(*[(0, 0, 0)] * 50, (1, 1, 0), (2, 1, 0)), NOW)

    assert found is not None
    assert found.listeners_this_quarter.tolist() == [1, 2, 0]


def test_times_after_now_count_as_now() -> None:
    found = measure_song_activity(make_plays((0, 0, -40), (1, 1, 0)), NOW)

    assert found is not None
    assert found.listeners_this_month.tolist() == [1, 1, 0]
    assert found.days_since_first_play.tolist() == [0, 0, 0]


def test_plays_without_times_have_no_activity() -> None:
    assert measure_song_activity(make_plays((0, 0, 20_000)), NOW) is None
