"""Sequential tests: their values, and their error rates if the data is checked daily."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from recommender.engine.experiments.sequential import (
    adjust_by_cuped,
    confidence_sequence,
    listener_z_score,
    log_e_value_of_difference,
    log_e_value_of_failures,
    log_e_value_of_losing,
    log_e_value_of_share,
    win_share_interval,
)


def mixture(wins: int, losses: int, share: float, *, upto: float = 1.0) -> float:
    """The likelihood ratio against `share`, averaged over the prior by numerical integration."""
    prior = stats.beta(40 * share, 40 * (1 - share))
    observed = stats.binom(wins + losses, share).pmf(wins)

    def integrand(p: float) -> float:
        return float(stats.binom(wins + losses, p).pmf(wins) / observed * prior.pdf(p))

    return float(quad(integrand, 0, upto, limit=200)[0])


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (7, 3), (3, 7), (60, 20), (100, 100)])
def test_the_e_value_of_wins_is_the_likelihood_ratio_averaged_over_its_prior(wins: int, losses: int) -> None:
    expected = mixture(wins, losses, 0.5)

    found = log_e_value_of_difference(wins, losses)

    assert found == pytest.approx(math.log(expected), abs=1e-6)


@pytest.mark.parametrize(("inside", "outside", "share"), [(10, 90, 0.1), (30, 70, 0.1), (480, 520, 0.3)])
def test_a_share_has_the_same_e_value_around_its_own_design(inside: int, outside: int, share: float) -> None:
    expected = mixture(inside, outside, share)

    found = log_e_value_of_share(inside, outside, share)

    assert found == pytest.approx(math.log(expected), abs=1e-6)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (20, 60), (60, 20)])
def test_the_one_sided_e_value_averages_over_the_losing_half_alone(wins: int, losses: int) -> None:
    expected = 2 * mixture(wins, losses, 0.5, upto=0.5)

    found = log_e_value_of_losing(wins, losses)

    assert found == pytest.approx(math.log(expected), abs=1e-5)


@pytest.mark.parametrize(("failures", "requests"), [(0, 10), (3, 20), (5, 36)])
def test_the_e_value_of_failures_is_averaged_over_its_prior(failures: int, requests: int) -> None:
    observed = stats.binom(requests, 0.01).pmf(failures)
    expected = stats.betabinom(requests, 0.5, 4.5).pmf(failures) / observed

    found = log_e_value_of_failures(failures, requests - failures, 0.01)

    assert found == pytest.approx(math.log(expected), abs=1e-9)


def test_daily_looks_at_requests_of_which_one_in_a_hundred_fails_seldom_stop_a_challenger() -> None:
    random = np.random.default_rng(1)
    failures = random.binomial(40, 0.01, (500, 60)).cumsum(axis=1)
    requests = np.arange(40, 2_401, 40)

    stopped = [
        any(
            log_e_value_of_failures(f, n - f, 0.01) >= math.log(20)
            for f, n in zip(row, requests, strict=True)
        )
        for row in failures
    ]

    assert np.mean(stopped) <= 0.05


@pytest.mark.parametrize(("wins", "losses"), [(13, 7), (422, 367), (471, 226), (5, 98), (30, 0), (0, 30)])
def test_the_interval_holds_the_shares_that_the_e_value_does_not_refute(wins: int, losses: int) -> None:
    low, high = win_share_interval(wins, losses)

    shares = np.linspace(0.001, 0.999, 999)
    refuted = [log_e_value_of_share(wins, losses, share) >= math.log(20) for share in shares]
    assert refuted == [not low <= share <= high for share in shares]


def test_the_bounds_of_a_share_are_refuted_at_twenty_to_one() -> None:
    low, high = win_share_interval(13, 7)

    assert (mixture(13, 7, low), mixture(13, 7, high)) == pytest.approx((20, 20), rel=1e-3)


@pytest.mark.parametrize(("wins", "losses"), [(60, 20), (40, 20), (52, 30), (53, 30)])
def test_equal_shares_are_refuted_exactly_when_the_e_value_of_wins_decides(wins: int, losses: int) -> None:
    low, high = win_share_interval(wins, losses)

    assert (low < 0.5 < high) == (log_e_value_of_difference(wins, losses) < math.log(20))


def test_without_rounds_every_share_is_possible() -> None:
    assert win_share_interval(0, 0) == (0.0, 1.0)


def test_winning_always_gives_no_evidence_of_losing() -> None:
    assert log_e_value_of_losing(5_000, 0) == -math.inf


@pytest.mark.slow
def test_daily_looks_for_a_year_seldom_find_a_difference_between_equals() -> None:
    random = np.random.default_rng(1)
    throws = random.random((400, 365, 10)) < 0.5
    wins = throws.sum(axis=2).cumsum(axis=1)
    thrown = np.arange(10, 3_651, 10)

    ever = [
        any(log_e_value_of_difference(w, n - w) >= math.log(20) for w, n in zip(row, thrown, strict=True))
        for row in wins
    ]

    assert np.mean(ever) <= 0.05


def test_daily_looks_with_a_fixed_sample_test_find_many_false_differences() -> None:
    random = np.random.default_rng(1)
    wins = (random.random((400, 365, 10)) < 0.5).sum(axis=2).cumsum(axis=1)
    thrown = np.arange(10, 3_651, 10)

    ever = (np.abs(wins - thrown / 2) / np.sqrt(thrown / 4) > 1.96).any(axis=1)

    assert ever.mean() > 0.3


def test_the_confidence_sequence_covers_the_truth_on_all_days_together() -> None:
    random = np.random.default_rng(2)
    missed = 0

    for _ in range(300):
        treated, others = random.exponential(1, 400), random.exponential(1, 400)
        intervals = [confidence_sequence(treated[:n], others[:n], planned=300) for n in range(30, 401, 10)]
        missed += any(not one.low <= 0 <= one.high for one in intervals)

    assert missed / 300 <= 0.05


def test_a_confidence_sequence_is_tightest_near_the_planned_number() -> None:
    random = np.random.default_rng(3)
    treated, others = random.normal(0, 1, 250), random.normal(0, 1, 250)

    widths = {n: confidence_sequence(treated, others, planned=n).half_width for n in (10, 500, 100_000)}

    assert min(widths, key=lambda n: widths[n]) == 500


@pytest.mark.parametrize(("n", "m"), [(0, 0), (1, 40), (40, 1), (0, 40)])
def test_fewer_than_two_values_on_a_side_give_an_infinite_interval(n: int, m: int) -> None:
    interval = confidence_sequence(np.ones(n), np.zeros(m), planned=60)

    assert (interval.low, interval.high) == (-math.inf, math.inf)


def test_cuped_removes_what_earlier_values_explain() -> None:
    random = np.random.default_rng(4)
    before = random.normal(0, 1, 500)
    values = 3 * before + random.normal(0, 0.1, 500)

    found = adjust_by_cuped(values, before)

    assert found.mean() == pytest.approx(values.mean())
    assert found.std() == pytest.approx(0.1, rel=0.1)


def test_cuped_changes_nothing_if_earlier_values_are_equal() -> None:
    assert adjust_by_cuped(np.array([1.0, 2.0]), np.array([5.0, 5.0])).tolist() == [1.0, 2.0]
    assert adjust_by_cuped(np.empty(0), np.empty(0)).tolist() == []


def test_the_z_score_of_listeners_is_a_one_sample_t() -> None:
    balances = np.array([1.0, -1.0, 2.0, 0.0, 3.0])

    assert listener_z_score(balances) == pytest.approx(float(stats.ttest_1samp(balances, 0).statistic))


@pytest.mark.parametrize(
    ("balances", "z"),
    [([], 0.0), ([3.0], 0.0), ([0.0, 0.0], 0.0), ([1.0, 1.0], 1e9), ([-1.0, -1.0], -1e9)],
)
def test_equal_balances_give_zero_or_the_largest_z(balances: list[float], z: float) -> None:
    assert listener_z_score(np.array(balances)) == z
