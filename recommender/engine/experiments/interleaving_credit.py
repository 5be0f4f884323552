"""Interleaving credit: which model's songs did the listeners of interleaved lists engage with?

The songs at positions 1 and 2, 3 and 4, and so on, are a round. A round is decisive if the listener engaged
with exactly one of its songs; the model that drew this song wins it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from recommender.engine.experiments.sequential import listener_z_score

# Later decisive rounds of a list add little information and would give one listening session too much weight.
MOST_DECISIVE_ROUNDS: Final = 3


@dataclass(frozen=True)
class InterleavingCredit:
    wins: int = 0
    losses: int = 0

    @property
    def balance(self) -> int:
        return self.wins - self.losses

    def __add__(self, other: "InterleavingCredit") -> "InterleavingCredit":
        return InterleavingCredit(self.wins + other.wins, self.losses + other.losses)


def credit_list(
    songs: Sequence[int], by_challenger: Sequence[bool], engaged: Collection[int]
) -> InterleavingCredit:
    """Count the challenger's wins and losses in the first three decisive rounds of a list.

    Args:
        songs: in the order of the list; a last song without a partner is not a round.
        by_challenger: for each song, whether the challenger drew it.
        engaged: songs that the listener engaged with.
    """
    wins = losses = 0
    for first in range(0, len(songs) - 1, 2):
        places = [place for place in (first, first + 1) if songs[place] in engaged]
        if len(places) != 1:
            continue
        if by_challenger[places[0]]:
            wins += 1
        else:
            losses += 1
        if wins + losses == MOST_DECISIVE_ROUNDS:
            break
    return InterleavingCredit(wins, losses)


class ListCredit(NamedTuple):
    listener: int
    day: int
    credit: InterleavingCredit


@dataclass(frozen=True)
class InterleavingTotals:
    """Totals of an experiment's lists; the fields mean the same as in `ExperimentEvidence`."""

    wins: int
    losses: int
    late_wins: int
    late_losses: int
    listeners: int
    z: float


def total_by_listener(lists: Iterable[ListCredit], *, day: int, late_days: int) -> InterleavingTotals:
    """Add up the credits of an experiment's lists.

    Args:
        day: current day since the start, from 0; the `late_days` days before it count as late.
    """
    # Lists of one listener are not independent, so z is computed from one balance (wins minus losses) per
    # listener with a decisive round.
    total, late = InterleavingCredit(), InterleavingCredit()
    balances: defaultdict[int, int] = defaultdict(int)
    for one in lists:
        total += one.credit
        if one.day >= day - late_days:
            late += one.credit
        if one.credit != InterleavingCredit():
            balances[one.listener] += one.credit.balance
    z = listener_z_score(np.array(list(balances.values()), dtype=np.float64))
    return InterleavingTotals(total.wins, total.losses, late.wins, late.losses, len(balances), z)
