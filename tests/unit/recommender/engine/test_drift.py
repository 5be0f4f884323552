"""Drift tests: what they find, what they ignore, and their false alarm rate."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon

from recommender.engine.drift import (
    ListeningChange,
    count_in_bins,
    group_small_clusters,
    is_alarm,
    measure_listening_change,
    measure_population_shift,
    quantile_edges,
)

GROUPS = 20


def world(seed: int, *, listeners: int = 60, weeks: int = 9, moved: float = 0.0) -> NDArray[np.float64]:
    """Weeks of listeners with individual tastes; in the last week the share `moved` of plays is elsewhere."""
    random = np.random.default_rng(seed)
    tastes = random.dirichlet(np.full(GROUPS, 0.3), listeners)
    there = np.zeros(GROUPS)
    there[:2] = 0.5
    plays = np.zeros((listeners, weeks, GROUPS))
    for week in range(weeks):
        share = moved if week == weeks - 1 else 0.0
        for listener in range(listeners):
            p = (1 - share) * tastes[listener] + share * there
            plays[listener, week] = random.multinomial(random.poisson(15), p / p.sum())
    return plays


def test_the_shift_is_the_population_stability_index_with_half_a_count_added() -> None:
    reference, current = np.array([50, 30, 20]), np.array([10, 30, 60])
    p = (current + 0.5) / (current + 0.5).sum()
    q = (reference + 0.5) / (reference + 0.5).sum()

    shift = measure_population_shift(reference, current)

    assert shift.psi == pytest.approx(float(sum((p - q) * np.log(p / q))))
    assert shift.critical == pytest.approx(9.21034 * (1 / 100 + 1 / 100))
    assert shift.is_drift


@pytest.mark.parametrize("n", [100, 1_000])
def test_new_songs_like_the_old_ones_are_drift_in_1_of_100_weeks(n: int) -> None:
    random = np.random.default_rng(5)
    shares = random.dirichlet(np.ones(10) * 5)

    cries = [
        measure_population_shift(random.multinomial(5_000, shares), random.multinomial(n, shares)).is_drift
        for _ in range(500)
    ]

    assert np.mean(cries) <= 0.03


def test_a_few_new_songs_are_never_drift() -> None:
    assert not measure_population_shift(np.array([500, 500]), np.array([0, 99])).is_drift
    assert measure_population_shift(np.array([500, 500]), np.array([0, 100])).is_drift


def test_bins_hold_equally_many_distances() -> None:
    distances = np.random.default_rng(6).exponential(1, 1_000)

    counts = count_in_bins(distances, quantile_edges(distances))

    assert counts.tolist() == [100] * 10


def test_equal_distances_share_a_bin() -> None:
    edges = quantile_edges(np.zeros(50))

    assert count_in_bins(np.zeros(50), edges).tolist() == [0, 50]
    assert quantile_edges(np.empty(0)).tolist() == []


def test_the_largest_clusters_are_groups_and_the_others_share_one() -> None:
    groups = group_small_clusters(np.array([5, 100, 1, 50, 2]), most=3)

    assert groups.tolist() == [2, 0, 2, 1, 2]
    assert group_small_clusters(np.array([1, 2])).tolist() == [1, 0]


def test_the_parts_add_up_to_the_jensen_shannon_divergence() -> None:
    weeks = world(1, moved=0.3)
    weeks = weeks * np.minimum(1, 50 / np.maximum(weeks.sum(axis=2, keepdims=True), 1e-9))
    there = weeks[weeks[:, -1].sum(axis=1) > 0]
    expected = jensenshannon(there[:, -1].sum(axis=0), there[:, :-1].sum(axis=(0, 1))) ** 2

    change = measure_listening_change(weeks, seed=1)

    assert change.parts.sum() == pytest.approx(expected)


@pytest.mark.slow
def test_stationary_listening_is_seldom_drift() -> None:
    cries = [measure_listening_change(world(seed), seed=seed).is_drift for seed in range(40)]

    assert sum(cries) <= 1


def test_a_large_change_of_listening_is_found_with_its_groups() -> None:
    found = [measure_listening_change(world(seed, moved=0.35), seed=seed) for seed in range(20)]

    assert np.mean([change.is_drift for change in found]) >= 0.9
    assert all(set(np.argsort(-change.parts)[:2].tolist()) == {0, 1} for change in found if change.is_drift)


def test_a_change_of_who_listens_is_not_drift() -> None:
    weeks = world(3)
    weeks[:30, :-1] = 0

    assert not measure_listening_change(weeks, seed=3).is_drift


def test_one_listener_who_plays_all_day_is_not_drift() -> None:
    weeks = world(4)
    weeks[0, -1] = 0
    weeks[0, -1, 7] = 100_000

    assert not measure_listening_change(weeks, seed=4).is_drift


def test_the_same_seed_gives_the_same_answer() -> None:
    weeks = world(5, moved=0.2)

    one, other = measure_listening_change(weeks, seed=9), measure_listening_change(weeks, seed=9)

    assert (one.p, one.effect, one.limit) == (other.p, other.effect, other.limit)


@pytest.mark.parametrize("shape", [(0, 3, 4), (5, 1, 4), (5, 3, 4)])
def test_without_listening_there_is_no_drift(shape: tuple[int, int, int]) -> None:
    change = measure_listening_change(np.zeros(shape), seed=1)

    assert (change.p, change.effect, change.is_drift) == (1.0, 0.0, False)


def a_change(effect: float, *, p: float = 0.001, plays: int = 500, listeners: int = 40) -> ListeningChange:
    return ListeningChange(p, effect, 0.1, np.zeros(2), np.zeros(2), listeners, plays)


@pytest.mark.parametrize(
    ("change", "before", "alarm"),
    [
        (a_change(0.15), False, False),
        (a_change(0.15), True, True),
        (a_change(0.05), True, False),
        (a_change(0.2), False, True),
        (a_change(0.15, p=0.02), True, False),
        (a_change(0.3, plays=199), True, False),
        (a_change(0.3, listeners=19), True, False),
        (a_change(math.inf), False, True),
    ],
)
def test_drift_in_two_consecutive_weeks_or_a_large_one_is_an_alarm(
    change: ListeningChange, before: bool, alarm: bool
) -> None:
    assert is_alarm(change, drifted_before=before) is alarm
