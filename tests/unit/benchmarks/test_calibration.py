"""The loop's decisions on planted effects: a small, seeded part of `python -m benchmarks calibration`."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.simulation.drift_weeks import count_listening_alarms, count_new_song_alarms, is_drift_found
from benchmarks.simulation.experiment_run import (
    SimulatedExperiment,
    decide_by_events,
    is_rolled_back,
    run_experiment,
)
from benchmarks.simulation.listener_reactions import ListenerGroup
from recommender.engine.experiments.decision_rules import DecisionOutcome, ExperimentKind

LIVES = range(40)
SIXTY = ListenerGroup(listeners=60)


def share(trial: SimulatedExperiment, outcome: DecisionOutcome) -> float:
    return sum(run_experiment(trial, seed).outcome == outcome for seed in LIVES) / len(LIVES)


@pytest.mark.slow
def test_equal_models_are_hardly_ever_promoted() -> None:
    assert (
        share(SimulatedExperiment(crowd=replace(SIXTY, effect_deviation=0.05)), DecisionOutcome.PROMOTE)
        <= 0.05
    )


@pytest.mark.slow
def test_deciding_by_single_events_would_tell_equal_models_apart() -> None:
    ended = [
        run_experiment(SimulatedExperiment(crowd=SIXTY), seed, decide_by_events).outcome for seed in LIVES
    ]
    rightly = [run_experiment(SimulatedExperiment(crowd=SIXTY), seed).outcome for seed in LIVES]

    decided = {DecisionOutcome.PROMOTE, DecisionOutcome.REJECT}
    assert sum(outcome in decided for outcome in ended) / len(LIVES) > 0.15
    assert sum(outcome in decided for outcome in rightly) / len(LIVES) <= 0.05


def test_lists_that_are_lost_on_their_way_make_a_refresh_s_test_invalid() -> None:
    lost = SimulatedExperiment(ExperimentKind.REFRESH, SIXTY, share=0.5)

    assert share(lost, DecisionOutcome.INVALID) == 1
    assert share(lost, DecisionOutcome.PROMOTE) == 0


@pytest.mark.slow
def test_a_model_that_is_five_points_better_is_promoted_in_sixty_days() -> None:
    assert share(SimulatedExperiment(crowd=replace(SIXTY, effect=0.05)), DecisionOutcome.PROMOTE) >= 0.9


@pytest.mark.slow
def test_a_model_that_is_five_points_worse_is_not() -> None:
    assert share(SimulatedExperiment(crowd=replace(SIXTY, effect=-0.05)), DecisionOutcome.PROMOTE) == 0


@pytest.mark.slow
def test_a_model_that_excites_for_two_weeks_alone_is_hardly_ever_promoted() -> None:
    fad = replace(SIXTY, effect=-0.02, novelty=0.05)

    assert share(SimulatedExperiment(crowd=fad), DecisionOutcome.PROMOTE) <= 0.1


@pytest.mark.parametrize("crowd", [replace(SIXTY, effect=-0.1), ListenerGroup(listeners=200, effect=-0.05)])
def test_a_worse_refresh_is_rejected_or_comes_off_again(crowd: ListenerGroup) -> None:
    lives = range(20)

    ended = [
        run_experiment(SimulatedExperiment(ExperimentKind.REFRESH, crowd), seed).outcome
        != DecisionOutcome.PROMOTE
        or is_rolled_back(crowd, seed + 999)
        for seed in lives
    ]

    assert sum(ended) / len(lives) >= 0.95


def test_most_equal_refreshes_are_promoted() -> None:
    assert share(SimulatedExperiment(ExperimentKind.REFRESH, SIXTY), DecisionOutcome.PROMOTE) >= 0.7


def test_the_anchor_of_an_equal_model_seldom_comes_back() -> None:
    assert sum(is_rolled_back(SIXTY, seed) for seed in LIVES) / len(LIVES) <= 0.1


def test_a_crooked_coin_makes_a_test_invalid() -> None:
    assert (
        share(SimulatedExperiment(crowd=SIXTY, first_pick_probability=0.6), DecisionOutcome.INVALID) >= 0.95
    )


def test_a_drift_is_found_within_two_weeks() -> None:
    assert sum(is_drift_found(seed, listeners=60, drift_distance=0.2) for seed in range(20)) >= 18


@pytest.mark.slow
def test_a_stationary_year_causes_no_alarm() -> None:
    assert sum(count_listening_alarms(seed, listeners=60) for seed in range(4)) == 0
    assert sum(count_new_song_alarms(seed) > 0 for seed in range(50)) <= 1


@pytest.mark.slow
def test_a_target_that_is_missed_fails_the_suite(tmp_path: Path) -> None:
    told = f"--json={tmp_path / 'figures.json'}"

    assert main(["calibration", "--runs=2", "--event-level", told]) == 1
