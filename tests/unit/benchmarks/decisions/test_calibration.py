"""Decisions on planted effects: a small, seeded part of `python -m benchmarks calibration`."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.decisions.simulation.drift_weeks import (
    count_listening_alarms,
    count_new_song_alarms,
    is_drift_found,
    is_slow_drift_found,
)
from benchmarks.decisions.simulation.engagement_years import count_false_incidents, is_fall_found
from benchmarks.decisions.simulation.experiment_run import (
    SimulatedExperiment,
    decide_by_events,
    is_rolled_back,
    run_experiment,
)
from benchmarks.decisions.simulation.failing_challenger import day_of_stop
from benchmarks.decisions.simulation.listener_reactions import ListenerGroup
from benchmarks.decisions.simulation.ratchet import simulate_ratchet
from recommender.engine.experiments.evidence import DecisionOutcome, ExperimentKind

SEEDS = range(40)
SIXTY = ListenerGroup(listeners=60)


def share(experiment: SimulatedExperiment, outcome: DecisionOutcome) -> float:
    return sum(run_experiment(experiment, seed).outcome == outcome for seed in SEEDS) / len(SEEDS)


@pytest.mark.slow
def test_a_challenger_that_equals_the_champion_is_seldom_promoted() -> None:
    assert (
        share(SimulatedExperiment(group=replace(SIXTY, effect_deviation=0.05)), DecisionOutcome.PROMOTE)
        <= 0.05
    )


@pytest.mark.slow
def test_deciding_by_single_events_wrongly_tells_equal_models_apart() -> None:
    by_event = [
        run_experiment(SimulatedExperiment(group=SIXTY), seed, decide_by_events).outcome for seed in SEEDS
    ]
    by_listener = [run_experiment(SimulatedExperiment(group=SIXTY), seed).outcome for seed in SEEDS]

    decided = {DecisionOutcome.PROMOTE, DecisionOutcome.REJECT}
    assert sum(outcome in decided for outcome in by_event) / len(SEEDS) > 0.15
    assert sum(outcome in decided for outcome in by_listener) / len(SEEDS) <= 0.05


def test_refreshes_that_are_each_a_little_worse_open_an_incident_and_equal_ones_are_not_frozen() -> None:
    worse = [simulate_ratchet(60, seed, weeks=12) for seed in range(20)]
    equal = [simulate_ratchet(60, seed, step=0.0, weeks=52) for seed in range(10)]

    assert sum(one.incident_on is not None for one in worse) >= 17
    assert sum(one.frozen_on is not None for one in equal) <= 1


def test_busy_weekends_are_no_engagement_incidents_and_a_fall_by_a_fifth_is_one() -> None:
    false = [count_false_incidents(seed, listeners=5_000, weekend=1.4) for seed in range(3)]
    found = [is_fall_found(seed, listeners=5_000, weekend=1.4) for seed in range(10)]

    assert sum(false) <= 2
    assert sum(found) >= 9


def test_a_challenger_that_breaks_for_a_tenth_of_60_listeners_is_stopped_on_its_first_day() -> None:
    assert [day_of_stop(60, 0.1, seed) for seed in range(5)] == [1] * 5


def test_lost_lists_make_a_refresh_experiment_invalid() -> None:
    lost = SimulatedExperiment(ExperimentKind.REFRESH, SIXTY, share=0.5)

    assert share(lost, DecisionOutcome.INVALID) == 1
    assert share(lost, DecisionOutcome.PROMOTE) == 0


@pytest.mark.slow
def test_a_model_that_is_five_points_better_is_promoted_in_sixty_days() -> None:
    assert share(SimulatedExperiment(group=replace(SIXTY, effect=0.05)), DecisionOutcome.PROMOTE) >= 0.9


@pytest.mark.slow
def test_a_model_that_is_five_points_worse_is_never_promoted() -> None:
    assert share(SimulatedExperiment(group=replace(SIXTY, effect=-0.05)), DecisionOutcome.PROMOTE) == 0


@pytest.mark.slow
def test_a_model_that_is_liked_only_for_two_weeks_is_seldom_promoted() -> None:
    novelty_only = replace(SIXTY, effect=-0.02, novelty=0.05)

    assert share(SimulatedExperiment(group=novelty_only), DecisionOutcome.PROMOTE) <= 0.1


@pytest.mark.parametrize("group", [replace(SIXTY, effect=-0.1), ListenerGroup(listeners=200, effect=-0.05)])
def test_a_worse_refresh_is_rejected_or_rolled_back(group: ListenerGroup) -> None:
    seeds = range(20)

    ended = [
        run_experiment(SimulatedExperiment(ExperimentKind.REFRESH, group), seed).outcome
        != DecisionOutcome.PROMOTE
        or is_rolled_back(group, seed + 999)
        for seed in seeds
    ]

    assert sum(ended) / len(seeds) >= 0.95


def test_most_equal_refreshes_are_promoted() -> None:
    assert share(SimulatedExperiment(ExperimentKind.REFRESH, SIXTY), DecisionOutcome.PROMOTE) >= 0.7


@pytest.mark.slow
def test_a_promoted_model_that_equals_the_holdback_is_seldom_rolled_back() -> None:
    assert sum(is_rolled_back(SIXTY, seed) for seed in SEEDS) / len(SEEDS) <= 0.1


def test_a_biased_allocation_makes_an_experiment_invalid() -> None:
    assert (
        share(SimulatedExperiment(group=SIXTY, first_pick_probability=0.6), DecisionOutcome.INVALID) >= 0.95
    )


@pytest.mark.slow
def test_a_drift_is_found_within_two_weeks() -> None:
    assert sum(is_drift_found(seed, listeners=60, drift_distance=0.2) for seed in range(20)) >= 18


@pytest.mark.slow
def test_a_drift_that_is_spread_over_twenty_weeks_is_found() -> None:
    assert sum(is_slow_drift_found(seed, listeners=60) for seed in range(3)) >= 2


@pytest.mark.slow
def test_a_year_without_drift_raises_no_alarm() -> None:
    assert sum(count_listening_alarms(seed, listeners=60) for seed in range(2)) == 0
    assert sum(count_new_song_alarms(seed) > 0 for seed in range(25)) <= 1


@pytest.mark.slow
def test_a_missed_target_of_a_full_calibration_is_exit_code_1(tmp_path: Path) -> None:
    output = f"--json={tmp_path / 'figures.json'}"

    assert main(["calibration", "--runs=1", "--event-level", output]) == 1
