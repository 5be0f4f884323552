"""Interleaving credit of lists and its totals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.engine.experiments.decision_rules import apply_decision_rules
from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES, RULES_VERSION_3
from recommender.engine.experiments.evidence import DecisionOutcome, ExperimentEvidence
from recommender.engine.experiments.interleaving_credit import (
    ClosedLists,
    InterleavingCredit,
    ListCredit,
    count_rounds,
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


def closed(*lists: tuple[int, int, int, int]) -> ClosedLists:
    """Lists as listener, day, wins and losses."""
    return ClosedLists.from_credits(
        [ListCredit(listener, day, InterleavingCredit(wins, losses)) for listener, day, wins, losses in lists]
    )


def test_a_refresh_counts_the_lists_of_seven_whole_days() -> None:
    lists = closed((1, 3, 3, 0), (1, 4, 1, 0), (2, 10, 0, 2), (2, 11, 3, 0))

    totals = count_rounds(lists, "refresh", DEFAULT_RULES)

    assert (totals["wins"], totals["losses"], totals["listeners"]) == (1, 2, 2)


def test_a_change_counts_all_days_and_those_after_two_weeks_apart() -> None:
    lists = closed((1, 0, 1, 0), (1, 13, 1, 0), (1, 14, 0, 2), (2, 20, 1, 0))

    totals = count_rounds(lists, "change", DEFAULT_RULES)

    assert (totals["wins"], totals["losses"]) == (3, 2)
    assert (totals["late_wins"], totals["late_losses"]) == (1, 2)


def test_the_tenth_at_either_end_is_left_out_of_the_trimmed_rounds() -> None:
    lists = closed((1, 0, 3, 0), (1, 1, 3, 0), (2, 0, 0, 3), *[(other, 0, 2, 1) for other in range(3, 11)])

    totals = count_rounds(lists, "change", RULES_VERSION_3)

    assert (totals["wins"], totals["losses"]) == (22, 11)
    assert (totals["trimmed_wins"], totals["trimmed_losses"]) == (16, 8)


def test_a_refresh_after_two_that_did_not_win_counts_three_weeks_more() -> None:
    lists = closed((1, 4, 1, 0), (1, 31, 1, 0), (1, 32, 1, 0))

    assert count_rounds(lists, "refresh", DEFAULT_RULES, unproven=1)["wins"] == 1
    assert count_rounds(lists, "refresh", DEFAULT_RULES, unproven=2)["wins"] == 2


def test_one_listener_moves_the_balance_of_a_refresh_by_four_rounds_at_most() -> None:
    fan = closed(*[(1, 4 + day, 3, 0) for day in range(7)], *[(other, 4, 0, 2) for other in range(2, 12)])
    mild = closed((1, 4, 3, 0), (1, 5, 1, 0), *[(other, 4, 0, 2) for other in range(2, 12)])

    assert (
        count_rounds(fan, "refresh", DEFAULT_RULES)["z"] == count_rounds(mild, "refresh", DEFAULT_RULES)["z"]
    )


def test_the_limit_of_a_listeners_balance_grows_with_the_test() -> None:
    lists = closed(*[(1, day, 3, 0) for day in range(4, 32)], *[(other, 4, 0, 2) for other in range(2, 12)])

    assert count_rounds(lists, "refresh", DEFAULT_RULES, unproven=1)["capped_balance"] == 4 - 20
    assert count_rounds(lists, "refresh", DEFAULT_RULES, unproven=2)["capped_balance"] == 8 - 20


def test_listeners_with_two_decisive_rounds_have_a_preference() -> None:
    lists = closed((1, 4, 2, 0), (2, 4, 0, 2), (3, 4, 1, 1), (4, 4, 1, 0), (5, 4, 0, 0), (6, 4, 3, 0))

    totals = count_rounds(lists, "change", DEFAULT_RULES)

    assert (totals["winners"], totals["losers"], totals["ties"]) == (2, 1, 1)
    assert totals["listeners"] == 5


def test_the_most_and_the_least_active_third_are_counted_apart() -> None:
    lists = closed((1, 4, 9, 1), (2, 4, 2, 2), (3, 4, 0, 1), (4, 4, 0, 0))

    totals = count_rounds(lists, "change", DEFAULT_RULES)

    assert (totals["heavy"], totals["light"]) == ((9, 1), (0, 1))


def test_no_lists_count_as_nothing() -> None:
    totals = count_rounds(closed(), "refresh", DEFAULT_RULES)

    assert (totals["wins"], totals["losses"], totals["listeners"], totals["z"]) == (0, 0, 0, 0.0)
    assert (totals["heavy"], totals["light"]) == ((0, 0), (0, 0))


def test_a_listener_prefers_a_version_by_one_at_most_however_many_rounds_it_won() -> None:
    lists = closed((1, 4, 90, 0), (2, 4, 3, 1), (3, 4, 1, 2), (4, 4, 1, 0))

    totals = count_rounds(lists, "change", DEFAULT_RULES)

    # 3 : 1 is one standard deviation of four rounds, 1 : 2 is .577 of three, and .7 is a full preference;
    # one round is none, and counts as 0: else bots would be a larger share of those who count.
    preferences = np.array([1.0, 1.0, -1 / np.sqrt(3) / 0.7, 0.0])
    assert totals["preference"] == pytest.approx(preferences.mean())
    assert totals["preference_error"] == pytest.approx(preferences.std(ddof=1) / 2)


def test_two_bots_among_listeners_of_one_round_each_decide_no_change() -> None:
    bots = [(bot, day, 3, 0) for bot in (1, 2) for day in range(31)]
    others = [(listener, 4, listener % 2, 1 - listener % 2) for listener in range(3, 23)]

    totals = count_rounds(closed(*bots, *others), "change", DEFAULT_RULES)

    assert totals["preference"] == pytest.approx(2 / 22)
    verdict = apply_decision_rules(ExperimentEvidence("change", days=31, **totals))
    assert verdict.outcome is DecisionOutcome.WAITING


def test_the_rounds_of_the_last_seven_closed_days_are_counted_apart() -> None:
    lists = closed((1, 13, 1, 0), (1, 14, 0, 2), (2, 20, 1, 0))

    totals = count_rounds(lists, "change", DEFAULT_RULES)

    assert (totals["recent_wins"], totals["recent_losses"]) == (1, 2)


def test_decisions_of_earlier_versions_are_counted_again_without_preferences() -> None:
    lists = closed((1, 4, 9, 1), (2, 4, 2, 2))

    assert "preference" not in count_rounds(lists, "change", RULES_VERSION_3)
