"""Listeners who react to interleaved lists, for the calibration of what decides about models."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PLACES = 20
LIKED = 0.4  # of the songs that are looked at, with the champion
FALLS = 0.81  # how often a place is looked at, against the one before it


@dataclass(frozen=True)
class Crowd:
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
    spread: float = 0.0
    engaged: float = 2.0
    comes: float = 1.0
    novelty: float = 0.0


@dataclass(frozen=True)
class Day:
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


class Life:
    """Days of a crowd, one after the other, from a seed."""

    def __init__(self, crowd: Crowd, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._crowd = crowd
        self._own = self._random.normal(crowd.effect, crowd.spread, crowd.listeners)
        base = self._random.normal(LIKED, 0.1, crowd.listeners)
        self._base = np.clip(base, 0.05, 0.9)
        self._looked = looked_at(crowd.engaged)

    def day(self, number: int, *, share: float = 1.0, first: float = 0.5) -> Day:
        """The day's first lists of those who come, and who fall to this test.

        Args:
            share: of the lists that fall to this test.
            first: probability that the challenger fills a round's first place; a fair coin has .5.
        """
        random, crowd = self._random, self._crowd
        came = np.flatnonzero(random.random(crowd.listeners) < crowd.comes)
        who = came[random.random(len(came)) < share]
        firsts = random.random((len(who), PLACES // 2)) < first
        teams = np.stack([firsts, ~firsts], axis=2).reshape(len(who), PLACES)
        lift = self._own + (crowd.novelty if number < 14 else 0.0)
        rates = self._base[who, np.newaxis] + np.where(teams, lift[who, np.newaxis], 0.0)
        seen = random.random((len(who), PLACES)) < self._looked
        liked = random.random((len(who), PLACES)) < np.clip(rates, 0, 1)
        return Day(who.astype(np.int64), teams, seen & liked, len(came) - len(who))


def looked_at(engaged: float) -> NDArray[np.float64]:
    """Shape (20,): how probably each place is looked at, so that `engaged` songs of a list are liked.

    It falls from place to place, to a seventh at the tenth.
    """
    places = FALLS ** np.arange(PLACES)
    found: NDArray[np.float64] = np.minimum(1.0, places / places.sum() * engaged / LIKED)
    return found
