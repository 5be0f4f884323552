"""The lead of new versions over RP3beta, and when it has fallen."""

import numpy as np

from recommender.engine.evaluation.yardstick import WeeklyLead, find_fall


def leads(*differences: float, error: float = 0.002) -> list[WeeklyLead]:
    return [WeeklyLead(f"w{place}", value, error) for place, value in enumerate(differences)]


def test_four_versions_far_below_the_best_four_before_are_a_fall() -> None:
    found = find_fall(leads(0.03, 0.03, 0.03, 0.03, 0.05, 0.05, 0.05, 0.05, 0.01, 0.01, 0.01, 0.01))

    assert found is not None
    assert (found.best_from, round(found.best, 3), round(found.now, 3)) == ("w4", 0.05, 0.01)


def test_a_fall_within_the_error_or_of_fewer_than_four_versions_is_none() -> None:
    assert find_fall(leads(0.05, 0.05, 0.05, 0.05, 0.01, 0.01, 0.01, 0.01, error=0.02)) is None
    assert find_fall(leads(0.05, 0.05, 0.05, 0.05, 0.01, 0.01, 0.01)) is None
    # One bad week among four makes the mean uncertain.
    assert find_fall(leads(0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, -0.1)) is None


def test_a_steady_lead_seldom_falls_within_a_year() -> None:
    years = [np.random.default_rng(seed).normal(0.03, 0.005, 52) for seed in range(20)]

    false = sum(any(find_fall(leads(*year[:week], error=0.005)) for week in range(8, 53)) for year in years)

    assert false <= 1


def test_the_error_comes_from_the_interval() -> None:
    assert round(WeeklyLead.from_interval("w", 0.03, 0.03 - 0.0196, 0.03 + 0.0196).error, 6) == 0.01
