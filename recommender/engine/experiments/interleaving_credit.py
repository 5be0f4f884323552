"""Interleaving credit: in each round of two songs, the model whose song alone was engaged wins."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from recommender.engine.experiments.sequential import listener_z_score

# More decisive rounds of a list add little information, and would give one evening too much weight.
MOST_DECISIVE_ROUNDS: Final = 3


@dataclass(frozen=True)
class InterleavingCredit:
    """Decisive rounds that count: `wins` and `losses` of the challenger."""

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
    """The credit of a list's first three decisive rounds, in the order of its places.

    Places 1 and 2 are a round, 3 and 4 the next; a last place without a partner is not a round. A round is
    decisive if the listener engaged with exactly one of its two songs.

    Args:
        songs: in the order of the list.
        by_challenger: for each place, whether the challenger drew it.
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
    """The credit of a closed list: its listener, and its day since the experiment's start (from 0)."""

    listener: int
    day: int
    credit: InterleavingCredit


@dataclass(frozen=True)
class InterleavingTotals:
    """Totals of an experiment's lists; the fields are those of `ExperimentEvidence`."""

    wins: int
    losses: int
    late_wins: int
    late_losses: int
    listeners: int
    z: float


def total_by_listener(lists: Iterable[ListCredit], *, day: int, late_days: int) -> InterleavingTotals:
    """Add up the credits of an experiment's lists.

    Lists of one listener are not independent, so z is computed from one balance per listener, among the
    listeners with a decisive round.

    Args:
        day: current day since the start, from 0; the last `late_days` days before it are late.
    """
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
