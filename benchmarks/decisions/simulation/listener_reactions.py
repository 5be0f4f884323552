"""Simulate listeners who react to interleaved lists."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.experiments.interleaving_credit import MOST_DECISIVE_ROUNDS

LIST_LENGTH = 20
LIKE_RATE = 0.4  # of the songs seen, with the champion
POSITION_DECAY = 0.81  # probability that a place is seen, relative to the place before
WEEKEND: Final = (5, 6)  # days 5 and 6 of an experiment that starts on a Monday


@dataclass(frozen=True)
class ListenerGroup:
    """Listeners and how they like two models."""

    listeners: int = 60
    effect: float = 0.0  # added to the like rate of the challenger's songs; .05 is five points
    effect_deviation: float = 0.0  # standard deviation of that effect among listeners
    engaged: float = 2.0  # engaged songs per list, on average
    visit_probability: float = 1.0  # probability that a listener comes on a day
    novelty: float = 0.0  # added to the effect in the first days
    novelty_days: int = 14
    fans: int = 0  # listeners who like every song of the challenger and no other
    activity_deviation: float = 0.0  # of the logarithm of activity among listeners; 1.2 is a heavy tail
    weekend: float = 1.0  # engagement at weekends, relative to other days

    def effect_on(self, day: int) -> float:
        return self.effect + (self.novelty if day < self.novelty_days else 0.0)


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
        own = self._random.normal(0.0, group.effect_deviation, group.listeners)
        # Centred, so that the mean effect over listeners is exactly the planted one.
        self._own = own - own.mean() if group.effect_deviation else own
        base = self._random.normal(LIKE_RATE, 0.1, group.listeners)
        self._base = np.clip(base, 0.05, 0.9)
        activity = np.exp(self._random.normal(0.0, group.activity_deviation, group.listeners))
        self._activity = activity / activity.mean()
        self._examined = examination_probabilities(group.engaged)

    def simulate_day(
        self, number: int, *, share: float = 1.0, first_pick_probability: float = 0.5
    ) -> DayOfLists:
        """The day's lists in the experiment, which gets `share` of all lists."""
        random, group = self._random, self._group
        visits = np.minimum(1.0, group.visit_probability * self._activity)
        came = np.flatnonzero(random.random(group.listeners) < visits)
        who = came[random.random(len(came)) < share]
        firsts = random.random((len(who), LIST_LENGTH // 2)) < first_pick_probability
        teams = np.stack([firsts, ~firsts], axis=2).reshape(len(who), LIST_LENGTH)
        lift = self._own[who] + group.effect_on(number)
        rates = self._base[who, np.newaxis] + np.where(teams, lift[:, np.newaxis], 0.0)
        examined = self._examined * (group.weekend if number % 7 in WEEKEND else 1.0)
        interest = np.clip(self._activity[who], 0.3, 3.0)[:, np.newaxis]
        seen = random.random((len(who), LIST_LENGTH)) < np.minimum(1.0, interest * examined)
        liked = random.random((len(who), LIST_LENGTH)) < np.clip(rates, 0, 1)
        engaged = np.where((who < group.fans)[:, np.newaxis], teams, seen & liked)
        return DayOfLists(who.astype(np.int64), teams, engaged, len(came) - len(who))


def examination_probabilities(engaged: float) -> NDArray[np.float64]:
    """Shape (20,): how likely each place is seen, so that `engaged` songs of a list are liked."""
    places = POSITION_DECAY ** np.arange(LIST_LENGTH)
    found: NDArray[np.float64] = np.minimum(1.0, places / places.sum() * engaged / LIKE_RATE)
    return found


def credit_lists(
    by_challenger: NDArray[np.bool_], engaged: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each list's wins and losses, shape (n,) each: `credit_list` of production for many lists at once."""
    first, second = engaged[:, ::2], engaged[:, 1::2]
    decisive = first ^ second
    decisive &= np.cumsum(decisive, axis=1) <= MOST_DECISIVE_ROUNDS
    won = np.where(first, by_challenger[:, ::2], by_challenger[:, 1::2])
    return (decisive & won).sum(axis=1), (decisive & ~won).sum(axis=1)
