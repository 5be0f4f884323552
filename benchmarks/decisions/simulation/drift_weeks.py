"""Simulate weeks of listening with and without drift."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon

from recommender.engine.drift import (
    REFERENCE_WEEKS,
    WEEKS_NEEDED,
    is_alarm,
    measure_listening_change,
    measure_population_shift,
    select_compared_weeks,
    stronger_change,
    worst_shift,
)

TASTE_GROUPS = 20
PLAYS_PER_WEEK = 15  # of a listener
WEEKS_PER_YEAR = 52
CLUSTERS, BINS = 64, 10
KNOWN_SONGS, NEW_SONGS = 5_000, 150  # new ones per week


class ListeningWeeks:
    """Listeners with individual tastes.

    Args:
        drift_distance: JS distance (natural logarithm) between all plays before and after the drift.
        hit_share: share of each week's plays in one taste group, another one each week.
        season_share: the same in the middle of a yearly season, always in the same two groups.
    """

    def __init__(
        self,
        seed: int,
        *,
        listeners: int = 60,
        drift_distance: float = 0.0,
        hit_share: float = 0.0,
        season_share: float = 0.0,
    ) -> None:
        self._random = np.random.default_rng(seed)
        self._tastes = self._random.dirichlet(np.full(TASTE_GROUPS, 0.3), listeners)
        self._target = np.zeros(TASTE_GROUPS)
        self._target[self._random.choice(TASTE_GROUPS, 2, replace=False)] = 0.5
        self._share = _share_for_distance(self._tastes.mean(axis=0), self._target, drift_distance)
        self._hit, self._season, self._number = hit_share, season_share, 0

    def simulate_week(self, *, after_drift: bool = False, moved: float = 0.0) -> NDArray[np.float64]:
        """Shape (n_listeners, 20): one week's plays; `moved` is the share of plays in the drift's target."""
        tastes = self._tastes
        share = self._share if after_drift else moved
        if share:
            tastes = (1 - share) * tastes + share * self._target
        if self._season:
            height = self._season * max(0.0, np.sin(2 * np.pi * self._number / WEEKS_PER_YEAR))
            tastes = (1 - height) * tastes + height * self._target
        self._number += 1
        if self._hit:
            tastes = (1 - self._hit) * tastes + self._hit * np.eye(TASTE_GROUPS)[
                self._random.integers(TASTE_GROUPS)
            ]
        played = self._random.poisson(PLAYS_PER_WEEK, len(tastes))
        return self._random.multinomial(played, tastes / tastes.sum(axis=1, keepdims=True)).astype(np.float64)


def is_drift_found(seed: int, *, listeners: int, drift_distance: float) -> bool:
    """Whether a drift is found within two weeks of its beginning."""
    world = ListeningWeeks(seed, listeners=listeners, drift_distance=drift_distance)
    weeks = [world.simulate_week() for _ in range(WEEKS_NEEDED - 1)] + [
        world.simulate_week(after_drift=True) for _ in range(2)
    ]
    return any(_weekly_alarms(weeks, seed))


def is_slow_drift_found(seed: int, *, listeners: int, moved: float = 0.5, weeks: int = 20) -> bool:
    """Whether a drift of `moved` of the plays that is spread over so many weeks is found until its end."""
    world = ListeningWeeks(seed, listeners=listeners)
    before = [world.simulate_week() for _ in range(WEEKS_NEEDED)]
    after = [world.simulate_week(moved=moved * number / weeks) for number in range(1, weeks + 1)]
    return any(_weekly_alarms([*before, *after], seed, standing=before[-REFERENCE_WEEKS:]))


def count_listening_alarms(
    seed: int, *, listeners: int, hit_share: float = 0.0, season_share: float = 0.0
) -> int:
    """Alarms in a year without lasting drift."""
    world = ListeningWeeks(seed, listeners=listeners, hit_share=hit_share, season_share=season_share)
    return sum(
        _weekly_alarms([world.simulate_week() for _ in range(WEEKS_NEEDED - 1 + WEEKS_PER_YEAR)], seed)
    )


def count_new_song_alarms(seed: int) -> int:
    """Alarms in a year whose new songs are distributed like all songs."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(CLUSTERS, 2.0))
    known = random.multinomial(KNOWN_SONGS, shares), random.multinomial(KNOWN_SONGS, np.full(BINS, 1 / BINS))
    alarms, drifted = 0, False
    for _ in range(WEEKS_PER_YEAR):
        new = random.multinomial(NEW_SONGS, shares), random.multinomial(NEW_SONGS, np.full(BINS, 1 / BINS))
        worst = worst_shift([measure_population_shift(*pair) for pair in zip(known, new, strict=True)])
        alarms += is_alarm(worst, drifted_before=drifted)
        drifted = worst.is_drift
    return alarms


def _weekly_alarms(
    weeks: list[NDArray[np.float64]], seed: int, standing: list[NDArray[np.float64]] | None = None
) -> list[bool]:
    """Whether each week with enough history raises an alarm, as monitoring decides it.

    Args:
        standing: the weeks before the last full training; by default the first weeks.
    """
    standing = standing or weeks[:REFERENCE_WEEKS]
    alarms: list[bool] = []
    drifted = alarm = False
    for last in range(WEEKS_NEEDED, len(weeks) + 1):
        window = np.stack(weeks[last - WEEKS_NEEDED : last], axis=1)
        recent = measure_listening_change(
            select_compared_weeks(window, after_drift=drifted and not alarm), seed=seed
        )
        is_apart = last - 1 - REFERENCE_WEEKS >= WEEKS_NEEDED
        since_training = np.stack([*standing, weeks[last - 1]], axis=1) if is_apart else None
        change = stronger_change(
            recent,
            measure_listening_change(since_training, seed=seed) if since_training is not None else None,
        )
        alarm, drifted = is_alarm(change, drifted_before=drifted), change.is_drift
        alarms.append(alarm)
    return alarms


def _share_for_distance(before: NDArray[np.float64], target: NDArray[np.float64], distance: float) -> float:
    """Share of everybody's plays that must move for this JS distance."""
    if not distance:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        if jensenshannon(before, (1 - middle) * before + middle * target) < distance:
            low = middle
        else:
            high = middle
    return low
