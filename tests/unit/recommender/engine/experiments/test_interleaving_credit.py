"""Interleaving credit of lists and its totals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.engine.experiments.interleaving_credit import (
    InterleavingCredit,
    ListCredit,
    credit_list,
    total_by_listener,
)

A, B = False, True  # champion, challenger


def test_a_round_is_won_by_the_model_whose_song_alone_was_engaged_with() -> None:
    score = credit_list([1, 2, 3, 4], [A, B, B, A], engaged={2, 4})

    assert score == InterleavingCredit(wins=1, losses=1)


@pytest.mark.parametrize("engaged", [set(), {1, 2}])
def test_a_round_with_no_song_or_both_engaged_decides_nothing(engaged: set[int]) -> None:
    assert credit_list([1, 2], [A, B], engaged) == InterleavingCredit(0, 0)


def test_the_first_three_decisive_rounds_in_the_lists_order_count() -> None:
    songs = list(range(10))

    score = credit_list(songs, [A, B] * 5, engaged={1, 3, 5, 6, 8})

    assert score == InterleavingCredit(wins=3, losses=0)


def test_a_last_place_without_a_partner_is_not_a_round() -> None:
    assert credit_list([1, 2, 3], [A, B, B], engaged={3}) == InterleavingCredit(0, 0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20))
def test_swapping_the_models_swaps_wins_and_losses(places: list[tuple[bool, bool]]) -> None:
    songs = list(range(len(places)))
    engaged = {song for song, (_, liked) in zip(songs, places, strict=True) if liked}
    teams = [team for team, _ in places]

    one = credit_list(songs, teams, engaged)
    other = credit_list(songs, [not team for team in teams], engaged)

    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert one.wins + one.losses <= 3


def test_rounds_add_up_by_listener_and_the_last_days_are_late() -> None:
    lists = [
        ListCredit(listener=1, day=0, credit=InterleavingCredit(1, 0)),
        ListCredit(listener=1, day=9, credit=InterleavingCredit(2, 1)),
        ListCredit(listener=2, day=9, credit=InterleavingCredit()),
    ]

    totals = total_by_listener(lists, day=10, late_days=7)

    assert (totals.wins, totals.losses, totals.late_wins, totals.late_losses) == (3, 1, 2, 1)
    assert totals.listeners == 1
    assert InterleavingCredit(3, 1).balance == 2


def test_without_lists_the_totals_are_zero() -> None:
    totals = total_by_listener([], day=0, late_days=7)

    assert (totals.wins, totals.losses, totals.listeners, totals.z) == (0, 0, 0, 0.0)
