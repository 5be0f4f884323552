"""Listeners who react to interleaved lists, for the calibration of what decides about models."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIST_LENGTH = 20
LIKE_RATE = 0.4  # of the songs that are looked at, with the champion
POSITION_DECAY = 0.81  # how often a place is looked at, against the one before it


@dataclass(frozen=True)
class ListenerGroup:
    """Who listens, and what they make of two models.

    Attributes:
        effect: by how much the challenger's songs are liked more often; .05 is five points.
        spread: standard deviation of that effect among listeners.
        engaged: songs of a list that are engaged with, on average.
        comes: probability that a listener comes on a day.
        novelty: by how much more they are liked in the first fortnight, for being new.
    """

    listeners: int = 60
    effect: float = 0.0
    effect_deviation: float = 0.0
    engaged: float = 2.0
    visit_probability: float = 1.0
    novelty: float = 0.0


@dataclass(frozen=True)
class DayOfLists:
    """One day's lists; arrays with one row a list.

    Attributes:
        listeners: shape (n,).
        by_challenger: shape (n, 20): who drew each place.
        engaged: shape (n, 20).
        others: lists of the day that fell to no test, or to another.
    """

    listeners: NDArray[np.int64]
    by_challenger: NDArray[np.bool_]
    engaged: NDArray[np.bool_]
    others: int = 0


class ListenerSimulator:
    """Days of a crowd, one after the other, from a seed."""

    def __init__(self, crowd: ListenerGroup, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._crowd = crowd
        self._own = self._random.normal(crowd.effect, crowd.effect_deviation, crowd.listeners)
        base = self._random.normal(LIKE_RATE, 0.1, crowd.listeners)
        self._base = np.clip(base, 0.05, 0.9)
        self._looked = examination_probabilities(crowd.engaged)

    def simulate_day(
        self, number: int, *, share: float = 1.0, first_pick_probability: float = 0.5
    ) -> DayOfLists:
        """The day's first lists of those who come, and who fall to this test.

        Args:
            share: of the lists that fall to this test.
            first: probability that the challenger fills a round's first place; a fair coin has .5.
        """
        random, crowd = self._random, self._crowd
        came = np.flatnonzero(random.random(crowd.listeners) < crowd.visit_probability)
        who = came[random.random(len(came)) < share]
        firsts = random.random((len(who), LIST_LENGTH // 2)) < first_pick_probability
        teams = np.stack([firsts, ~firsts], axis=2).reshape(len(who), LIST_LENGTH)
        lift = self._own + (crowd.novelty if number < 14 else 0.0)
        rates = self._base[who, np.newaxis] + np.where(teams, lift[who, np.newaxis], 0.0)
        seen = random.random((len(who), LIST_LENGTH)) < self._looked
        liked = random.random((len(who), LIST_LENGTH)) < np.clip(rates, 0, 1)
        return DayOfLists(who.astype(np.int64), teams, seen & liked, len(came) - len(who))


def examination_probabilities(engaged: float) -> NDArray[np.float64]:
    """Shape (20,): how probably each place is looked at, so that `engaged` songs of a list are liked.

    It falls from place to place, to a seventh at the tenth.
    """
    places = POSITION_DECAY ** np.arange(LIST_LENGTH)
    found: NDArray[np.float64] = np.minimum(1.0, places / places.sum() * engaged / LIKE_RATE)
    return found
