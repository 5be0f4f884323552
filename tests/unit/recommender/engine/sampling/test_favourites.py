"""Favourites: old plays weigh less, skips subtract, and songs of the last days rank lower."""

import numpy as np
import pytest

from recommender.engine.sampling.favourites import favourite_scores, favourite_values


def test_scores_are_the_logarithm_of_weighted_plays_less_skips() -> None:
    scores = favourite_scores(np.array([1.0, np.e, np.e]), np.array([0.0, 0.0, 2.0]))

    assert scores == pytest.approx([0.0, 1.0, -1.0])


def test_a_song_played_now_falls_behind_and_recovers_within_three_days() -> None:
    scores = np.linspace(2.0, 0.0, 21)

    values = [favourite_values(scores, np.array([days, *[9.0] * 20])) for days in (0.0, 1.5, 3.0)]

    assert [int(np.argsort(-value, kind="stable")[0]) for value in values] == [1, 1, 0]
    assert values[0][0] < values[0][1:].min()
    assert values[0][0] < values[1][0] < values[2][0]
