"""Weeks of listening with and without drift, for the calibration of what finds it."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon

from recommender.engine.drift import WEEKS, change_of, compared, is_alarm, shift_of, worst_of

GROUPS = 20
PLAYS = 15  # a listener's week
YEAR = 52
CLUSTERS, BINS = 64, 10
KNOWN_SONGS, NEW_SONGS = 5_000, 150  # new ones a week


class Weeks:
    """Listeners with tastes of their own.

    Args:
        moved: JS distance between what all listen to before and after, natural logarithm.
        hit: share of a week's plays that fall to one group that everybody plays, another one each week.
        season: the same at the height of a season, which comes and goes once a year in two groups.
    """

    def __init__(
        self, seed: int, *, listeners: int = 60, moved: float = 0.0, hit: float = 0.0, season: float = 0.0
    ) -> None:
        self._random = np.random.default_rng(seed)
        self._tastes = self._random.dirichlet(np.full(GROUPS, 0.3), listeners)
        self._there = np.zeros(GROUPS)
        self._there[self._random.choice(GROUPS, 2, replace=False)] = 0.5
        self._share = _share_of(self._tastes.mean(axis=0), self._there, moved)
        self._hit, self._season, self._number = hit, season, 0

    def week(self, *, after: bool = False) -> NDArray[np.float64]:
        """Shape (n_listeners, 20): one week's plays; `after` the drift, or before it."""
        tastes = self._tastes
        if after:
            tastes = (1 - self._share) * tastes + self._share * self._there
        if self._season:
            height = self._season * max(0.0, np.sin(2 * np.pi * self._number / YEAR))
            tastes = (1 - height) * tastes + height * self._there
        self._number += 1
        if self._hit:
            tastes = (1 - self._hit) * tastes + self._hit * np.eye(GROUPS)[self._random.integers(GROUPS)]
        played = self._random.poisson(PLAYS, len(tastes))
        return self._random.multinomial(played, tastes / tastes.sum(axis=1, keepdims=True)).astype(np.float64)


def is_found(seed: int, *, listeners: int, moved: float) -> bool:
    """Whether a drift is found within two weeks of its beginning."""
    world = Weeks(seed, listeners=listeners, moved=moved)
    weeks = [world.week() for _ in range(WEEKS - 1)] + [world.week(after=True) for _ in range(2)]
    return any(_alarms(weeks, seed))


def false_alarms(seed: int, *, listeners: int, hit: float = 0.0, season: float = 0.0) -> int:
    """Alarms in a year in which nothing drifts for good."""
    world = Weeks(seed, listeners=listeners, hit=hit, season=season)
    return sum(_alarms([world.week() for _ in range(WEEKS - 1 + YEAR)], seed))


def false_alarms_of_songs(seed: int) -> int:
    """The same for each week's new songs, whose clusters and distances are those of all songs."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(CLUSTERS, 2.0))
    known = random.multinomial(KNOWN_SONGS, shares), random.multinomial(KNOWN_SONGS, np.full(BINS, 1 / BINS))
    alarms, drifted = 0, False
    for _ in range(YEAR):
        new = random.multinomial(NEW_SONGS, shares), random.multinomial(NEW_SONGS, np.full(BINS, 1 / BINS))
        worst = worst_of([shift_of(*pair) for pair in zip(known, new, strict=True)])
        alarms += is_alarm(worst, before=drifted)
        drifted = worst.is_drift
    return alarms


def _alarms(weeks: list[NDArray[np.float64]], seed: int) -> list[bool]:
    """Of each week that has enough before it, looked at as the loop does."""
    alarms: list[bool] = []
    drifted = alarm = False
    for last in range(WEEKS, len(weeks) + 1):
        ten = np.stack(weeks[last - WEEKS : last], axis=1)
        change = change_of(compared(ten, after_drift=drifted and not alarm), seed=seed)
        alarm, drifted = is_alarm(change, before=drifted), change.is_drift
        alarms.append(alarm)
    return alarms


def _share_of(before: NDArray[np.float64], there: NDArray[np.float64], moved: float) -> float:
    """How much of everybody's plays must move for this JS distance."""
    if not moved:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        if jensenshannon(before, (1 - middle) * before + middle * there) < moved:
            low = middle
        else:
            high = middle
    return low
