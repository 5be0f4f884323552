"""Power of experiments at the current traffic, compared with the calibration."""

from datetime import UTC, date, datetime

import pytest

from benchmarks.decisions.simulation.experiment_run import (
    EXPERIMENT_SHARE,
    SimulatedExperiment,
    run_experiment,
    score_lists,
)
from benchmarks.decisions.simulation.listener_reactions import ListenerGroup, ListenerSimulator
from recommender.engine.experiments.evidence import DecisionOutcome, ExperimentKind
from recommender.experiments.power_analysis import describe_power, recent_audience, rejection_probability
from recommender.models import EngagementDay, Experiment
from tests.support.builders.experiments import make_version

NOW = datetime(2026, 11, 23, 5, tzinfo=UTC)


def day(number: int, listeners: int, engaged: float, *, final: bool = True) -> EngagementDay:
    return EngagementDay(day=date(2026, 11, number), listeners=listeners, engaged=engaged, final=final)


def rounds_a_day(crowd: ListenerGroup) -> float:
    life = ListenerSimulator(crowd, seed=1)
    days = [score_lists(life.simulate_day(number, share=EXPERIMENT_SHARE), number) for number in range(20)]
    return sum(int(day.wins.sum() + day.losses.sum()) for day in days) / 20


@pytest.mark.slow
@pytest.mark.parametrize("listeners", [30, 60, 200])
def test_the_rejection_probability_agrees_with_the_calibration(listeners: int) -> None:
    worse = ListenerGroup(listeners=listeners, engaged=2.1, effect=-0.05)

    lived = [
        run_experiment(SimulatedExperiment(ExperimentKind.REFRESH, worse), seed).outcome
        == DecisionOutcome.REJECT
        for seed in range(100)
    ]

    chance = rejection_probability(rounds_a_day(worse), 0.05)
    # A hundred lives are sure to a tenth.
    assert chance == pytest.approx(sum(lived) / 100, abs=0.12)


def test_the_audience_is_measured_on_the_last_seven_final_days() -> None:
    old = [day(number, 500, 9.0) for number in range(1, 8)]
    lately = [day(number, 30, 1.0) for number in range(8, 15)]
    by_another_version = [day(14, 10, 3.0)]
    growing = [day(15, 400, 5.0, final=False)]

    found = recent_audience([*old, *lately, *by_another_version, *growing])

    assert found is not None
    assert found == pytest.approx((220 / 7, (7 * 30 + 30) / 220))
    assert recent_audience(growing) is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            "refresh",
            "At 50 decisive rounds a day (measured) it rejects a refresh that is worse by 3 points with",
        ),
        ("change", "At 50 decisive rounds a day (measured) the experiment detects a 3-point change in"),
    ],
)
def test_the_page_of_an_experiment_states_its_power(kind: str, told: str) -> None:
    test = Experiment(
        kind=kind, list_share=0.7, champion=make_version("2026w46.1"), challenger=make_version("2026w47.1")
    )

    assert describe_power(test, NOW, (4, 200)).startswith(told)
