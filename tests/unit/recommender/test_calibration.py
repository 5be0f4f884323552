"""The loop's decisions on planted effects: a small, seeded part of `python -m benchmarks calibration`."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks._listening import Crowd
from benchmarks._trial import Trial, by_events, is_brought_back, live
from benchmarks._weeks import false_alarms, false_alarms_of_songs, is_found
from recommender.engine.experiments.decision_rules import Kind, Outcome

LIVES = range(40)
SIXTY = Crowd(listeners=60)


def share(trial: Trial, outcome: Outcome) -> float:
    return sum(live(trial, seed).outcome == outcome for seed in LIVES) / len(LIVES)


def test_equal_models_are_hardly_ever_promoted() -> None:
    assert share(Trial(crowd=replace(SIXTY, spread=0.05)), Outcome.PROMOTE) <= 0.05


def test_deciding_by_single_events_would_tell_equal_models_apart() -> None:
    ended = [live(Trial(crowd=SIXTY), seed, by_events).outcome for seed in LIVES]
    rightly = [live(Trial(crowd=SIXTY), seed).outcome for seed in LIVES]

    decided = {Outcome.PROMOTE, Outcome.REJECT}
    assert sum(outcome in decided for outcome in ended) / len(LIVES) > 0.15
    assert sum(outcome in decided for outcome in rightly) / len(LIVES) <= 0.05


def test_lists_that_are_lost_on_their_way_make_a_refresh_s_test_invalid() -> None:
    lost = Trial(Kind.REFRESH, SIXTY, share=0.5)

    assert share(lost, Outcome.INVALID) == 1
    assert share(lost, Outcome.PROMOTE) == 0


def test_a_model_that_is_five_points_better_is_promoted_in_sixty_days() -> None:
    assert share(Trial(crowd=replace(SIXTY, effect=0.05)), Outcome.PROMOTE) >= 0.9


def test_a_model_that_is_five_points_worse_is_not() -> None:
    assert share(Trial(crowd=replace(SIXTY, effect=-0.05)), Outcome.PROMOTE) == 0


def test_a_model_that_excites_for_two_weeks_alone_is_hardly_ever_promoted() -> None:
    fad = replace(SIXTY, effect=-0.02, novelty=0.05)

    assert share(Trial(crowd=fad), Outcome.PROMOTE) <= 0.1


@pytest.mark.parametrize("crowd", [replace(SIXTY, effect=-0.1), Crowd(listeners=200, effect=-0.05)])
def test_a_worse_refresh_is_rejected_or_comes_off_again(crowd: Crowd) -> None:
    lives = range(20)

    ended = [
        live(Trial(Kind.REFRESH, crowd), seed).outcome != Outcome.PROMOTE
        or is_brought_back(crowd, seed + 999)
        for seed in lives
    ]

    assert sum(ended) / len(lives) >= 0.95


def test_most_equal_refreshes_are_promoted() -> None:
    assert share(Trial(Kind.REFRESH, SIXTY), Outcome.PROMOTE) >= 0.7


def test_the_anchor_of_an_equal_model_seldom_comes_back() -> None:
    assert sum(is_brought_back(SIXTY, seed) for seed in LIVES) / len(LIVES) <= 0.1


def test_a_crooked_coin_makes_a_test_invalid() -> None:
    assert share(Trial(crowd=SIXTY, first=0.6), Outcome.INVALID) >= 0.95


def test_a_drift_is_found_within_two_weeks() -> None:
    assert sum(is_found(seed, listeners=60, moved=0.2) for seed in range(20)) >= 18


def test_a_stationary_year_causes_no_alarm() -> None:
    assert sum(false_alarms(seed, listeners=60) for seed in range(4)) == 0
    assert sum(false_alarms_of_songs(seed) > 0 for seed in range(50)) <= 1


def test_a_target_that_is_missed_fails_the_suite(tmp_path: Path) -> None:
    told = f"--json={tmp_path / 'figures.json'}"

    assert main(["calibration", "--runs=2", "--event-level", told]) == 1
