"""Simulate listeners who react to interleaved lists."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIST_LENGTH = 20
LIKE_RATE = 0.4  # of the songs seen, with the champion
POSITION_DECAY = 0.81  # probability that a place is seen, relative to the place before


@dataclass(frozen=True)
class ListenerGroup:
    """Listeners and how they like two models."""

    listeners: int = 60
    effect: float = 0.0  # added to the like rate of the challenger's songs; .05 is five points
    effect_deviation: float = 0.0  # standard deviation of that effect among listeners
    engaged: float = 2.0  # engaged songs per list, on average
    visit_probability: float = 1.0  # probability that a listener comes on a day
    novelty: float = 0.0  # added to the like rate in the first two weeks


@dataclass(frozen=True)
class DayOfLists:
    """One day's lists, one row each."""

    listeners: NDArray[np.int64]  # shape (n,)
    by_challenger: NDArray[np.bool_]  # shape (n, 20): who drew each place
    engaged: NDArray[np.bool_]  # shape (n, 20)
    others: int = 0  # lists of the day outside this experiment


class ListenerSimulator:
    """Simulates one day after the other."""

    def __init__(self, group: ListenerGroup, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._group = group
        self._own = self._random.normal(group.effect, group.effect_deviation, group.listeners)
        base = self._random.normal(LIKE_RATE, 0.1, group.listeners)
        self._base = np.clip(base, 0.05, 0.9)
        self._examined = examination_probabilities(group.engaged)

    def simulate_day(
        self, number: int, *, share: float = 1.0, first_pick_probability: float = 0.5
    ) -> DayOfLists:
        """The day's lists in the experiment, which gets `share` of all lists."""
        random, group = self._random, self._group
        came = np.flatnonzero(random.random(group.listeners) < group.visit_probability)
        who = came[random.random(len(came)) < share]
        firsts = random.random((len(who), LIST_LENGTH // 2)) < first_pick_probability
        teams = np.stack([firsts, ~firsts], axis=2).reshape(len(who), LIST_LENGTH)
        lift = self._own + (group.novelty if number < 14 else 0.0)
        rates = self._base[who, np.newaxis] + np.where(teams, lift[who, np.newaxis], 0.0)
        seen = random.random((len(who), LIST_LENGTH)) < self._examined
        liked = random.random((len(who), LIST_LENGTH)) < np.clip(rates, 0, 1)
        return DayOfLists(who.astype(np.int64), teams, seen & liked, len(came) - len(who))


def examination_probabilities(engaged: float) -> NDArray[np.float64]:
    """Shape (20,): how likely each place is seen, so that `engaged` songs of a list are liked."""
    places = POSITION_DECAY ** np.arange(LIST_LENGTH)
    found: NDArray[np.float64] = np.minimum(1.0, places / places.sum() * engaged / LIKE_RATE)
    return found
