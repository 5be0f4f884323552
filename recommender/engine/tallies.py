"""From scored lists to the numbers that a verdict rests on: the listener is what is counted."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from recommender.engine.rounds import Score
from recommender.engine.sequential import z_of_listeners


class ListScore(NamedTuple):
    """One interleaved list that has closed: whose, on which day of the test (from 0), and its rounds."""

    listener: int
    day: int
    score: Score


@dataclass(frozen=True)
class Tally:
    """What the lists of a test add up to; names as in `verdicts.Evidence`."""

    wins: int
    losses: int
    late_wins: int
    late_losses: int
    listeners: int
    z: float


def tally(lists: Iterable[ListScore], *, day: int, late_days: int) -> Tally:
    """Add up.

    Lists of one listener are no independent witnesses: z is of the listeners' balances, one value each,
    among those with a round that counts.

    Args:
        day: the day it is, from 0; the last `late_days` days before it are late.
    """
    whole, late = Score(), Score()
    balances: defaultdict[int, int] = defaultdict(int)
    for one in lists:
        whole += one.score
        if one.day >= day - late_days:
            late += one.score
        if one.score != Score():
            balances[one.listener] += one.score.balance
    z = z_of_listeners(np.array(list(balances.values()), dtype=np.float64))
    return Tally(whole.wins, whole.losses, late.wins, late.losses, len(balances), z)
