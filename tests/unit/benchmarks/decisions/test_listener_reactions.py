"""Simulated lists are scored like those of production."""

import numpy as np
import pytest

from benchmarks.decisions.simulation.listener_reactions import ListenerGroup, ListenerSimulator, credit_lists
from recommender.engine.experiments.interleaving_credit import credit_list


def test_many_lists_at_once_are_credited_like_one_list() -> None:
    day = ListenerSimulator(ListenerGroup(listeners=300, engaged=5.0), seed=3).simulate_day(0)

    wins, losses = credit_lists(day.by_challenger, day.engaged)

    expected = [
        credit_list(range(20), teams.tolist(), set(np.flatnonzero(engaged).tolist()))
        for teams, engaged in zip(day.by_challenger, day.engaged, strict=True)
    ]
    assert list(zip(wins.tolist(), losses.tolist(), strict=True)) == [
        (one.wins, one.losses) for one in expected
    ]


def test_a_fan_likes_every_song_of_the_challenger_and_no_other() -> None:
    day = ListenerSimulator(ListenerGroup(fans=2), seed=1).simulate_day(0)

    fans = day.listeners < 2
    assert (day.engaged[fans] == day.by_challenger[fans]).all()
    assert not (day.engaged[~fans] == day.by_challenger[~fans]).all(axis=1).any()


def test_a_mean_effect_of_zero_over_listeners_is_exactly_zero() -> None:
    simulator = ListenerSimulator(ListenerGroup(effect_deviation=0.1), seed=1)

    assert simulator._own.mean() == pytest.approx(0, abs=1e-12)


def test_the_effect_of_a_fad_ends_with_its_days() -> None:
    fad = ListenerGroup(effect=-0.05, novelty=0.15, novelty_days=3)

    assert [round(fad.effect_on(day), 2) for day in (0, 2, 3, 20)] == [0.1, 0.1, -0.05, -0.05]
