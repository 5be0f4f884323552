"""Interleaved lists, scored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.engine.experiments.interleaving_credit import Score, score_list, total

A, B = False, True  # champion, challenger


def test_a_round_is_won_by_the_model_whose_song_alone_was_engaged_with() -> None:
    score = score_list([1, 2, 3, 4], [A, B, B, A], engaged={2, 4}, refused=set())

    assert score == Score(wins=1, losses=1)


@pytest.mark.parametrize("engaged", [set(), {1, 2}])
def test_a_round_with_no_song_or_both_engaged_decides_nothing(engaged: set[int]) -> None:
    assert score_list([1, 2], [A, B], engaged, set()) == Score(0, 0)


def test_a_skip_undoes_an_engagement_and_may_decide_for_the_other() -> None:
    assert score_list([1, 2], [A, B], engaged={1, 2}, refused={1}) == Score(1, 0)
    assert score_list([1, 2], [A, B], engaged={1}, refused={1}) == Score(0, 0)


def test_the_first_three_decisive_rounds_in_the_lists_order_count() -> None:
    songs = list(range(10))

    score = score_list(songs, [A, B] * 5, engaged={1, 3, 5, 6, 8}, refused=set())

    assert score == Score(wins=3, losses=0)


def test_a_last_place_without_a_partner_is_no_round() -> None:
    assert score_list([1, 2, 3], [A, B, B], engaged={3}, refused=set()) == Score(0, 0)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=20))
def test_swapping_the_models_swaps_wins_and_losses(places: list[tuple[bool, bool, bool]]) -> None:
    songs = list(range(len(places)))
    engaged = {song for song, (_, liked, _) in zip(songs, places, strict=True) if liked}
    refused = {song for song, (_, _, skipped) in zip(songs, places, strict=True) if skipped}
    teams = [team for team, _, _ in places]

    one = score_list(songs, teams, engaged, refused)
    other = score_list(songs, [not team for team in teams], engaged, refused)

    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert one.wins + one.losses <= 3


def test_scores_add_up() -> None:
    assert total([Score(1, 0), Score(2, 1)]) == Score(3, 1)
    assert total([]).balance == 0
