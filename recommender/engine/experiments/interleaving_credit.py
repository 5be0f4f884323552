"""Interleaved lists, scored: of each round's two songs, which model's was engaged with."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from recommender.engine.experiments.sequential import listener_z_score

# More decisive rounds of one list say little that three do not, and would let one evening count for many.
MOST_DECISIVE_ROUNDS: Final = 3


@dataclass(frozen=True)
class InterleavingCredit:
    """Rounds that count: `wins` of the challenger, `losses` to the champion."""

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


def sum_credits(scores: Iterable[InterleavingCredit]) -> InterleavingCredit:
    return sum(scores, InterleavingCredit())


class ListCredit(NamedTuple):
    """One interleaved list that has closed: whose, on which day of the test (from 0), and its rounds."""

    listener: int
    day: int
    credit: InterleavingCredit


@dataclass(frozen=True)
class InterleavingTotals:
    """What the lists of a test add up to; names as in `verdicts.Evidence`."""

    wins: int
    losses: int
    late_wins: int
    late_losses: int
    listeners: int
    z: float


def total_by_listener(lists: Iterable[ListCredit], *, day: int, late_days: int) -> InterleavingTotals:
    """Add up.

    Lists of one listener are no independent witnesses: z is of the listeners' balances, one value each,
    among those with a round that counts.

    Args:
        day: the day it is, from 0; the last `late_days` days before it are late.
    """
    whole, late = InterleavingCredit(), InterleavingCredit()
    balances: defaultdict[int, int] = defaultdict(int)
    for one in lists:
        whole += one.credit
        if one.day >= day - late_days:
            late += one.credit
        if one.credit != InterleavingCredit():
            balances[one.listener] += one.credit.balance
    z = listener_z_score(np.array(list(balances.values()), dtype=np.float64))
    return InterleavingTotals(whole.wins, whole.losses, late.wins, late.losses, len(balances), z)
