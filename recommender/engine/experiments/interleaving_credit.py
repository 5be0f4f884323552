"""Interleaving credit: whose songs did the listeners of interleaved lists engage with?

Positions 1 and 2, 3 and 4, ... are rounds. A round is decisive if the listener engaged with exactly one
of its songs; the model that drew this song wins.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommender.engine.experiments.decision_thresholds import DecisionRules
from recommender.engine.experiments.evidence import ExperimentKind
from recommender.engine.experiments.sequential import listener_z_score

# Later decisive rounds of a list add little information and would give one listening session too much weight.
MOST_DECISIVE_ROUNDS: Final = 3
# In the sign test a listener with a single decisive round would be a coin throw.
ROUNDS_OF_A_PREFERENCE: Final = 2
FEWEST_FOR_AN_ERROR: Final = 2


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
    """Wins and losses of the challenger in the first three decisive rounds of a list.

    Args:
        songs: in the order of the list; a last song without a partner is not a round.
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
    """Totals of interleaved lists, for the fields of the same names in `ExperimentEvidence`."""

    wins: int
    losses: int
    late_wins: int
    late_losses: int
    listeners: int
    z: float


def total_by_listener(lists: Iterable[ListCredit], *, day: int, late_days: int) -> InterleavingTotals:
    """Add up the wins and losses of lists by the rules of version 1.

    Args:
        day: since the start, from 0; the `late_days` days before it count as late.
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


@dataclass(frozen=True)
class ClosedLists:
    """Wins and losses of closed lists, in order of day and listener; shape (n,) each."""

    listeners: NDArray[np.int64]
    days: NDArray[np.int64]  # since the experiment's start, from 0
    wins: NDArray[np.int64]
    losses: NDArray[np.int64]

    @classmethod
    def from_credits(cls, lists: Sequence[ListCredit]) -> "ClosedLists":
        columns = [(one.listener, one.day, one.credit.wins, one.credit.losses) for one in lists]
        return cls(*np.array(columns, dtype=np.int64).reshape(-1, 4).T)

    def select(self, kept: NDArray[np.bool_]) -> "ClosedLists":
        return ClosedLists(self.listeners[kept], self.days[kept], self.wins[kept], self.losses[kept])


def count_rounds(lists: ClosedLists, kind: str, rules: DecisionRules, *, unproven: int = 0) -> dict[str, Any]:
    """Count the rounds of lists by the rules since version 2; returns fields of `ExperimentEvidence`.

    A refresh counts the lists of whole weeks, another experiment all lists.
    """
    if kind == ExperimentKind.REFRESH:
        until = rules.refresh_until + rules.extra_days(unproven)
        lists = lists.select((lists.days >= rules.refresh_from) & (lists.days <= until))
    people, row = np.unique(lists.listeners, return_inverse=True)
    wins, losses = (
        np.bincount(row, weights=column, minlength=len(people)).astype(np.int64)
        for column in (lists.wins, lists.losses)
    )
    late = lists.days >= rules.late_from
    decided = wins + losses > 0
    balances = (wins - losses)[decided]
    if kind == ExperimentKind.REFRESH:
        cap = rules.balance_cap(unproven)
        balances = np.clip(balances, -cap, cap)
    has_preference = wins + losses >= ROUNDS_OF_A_PREFERENCE
    # Ties of activity are decided by the listener's id, so that a recount gives the same thirds.
    by_activity = np.lexsort((people, -(wins + losses)))[: int(decided.sum())]
    third = len(by_activity) // 3
    by_balance = np.lexsort((people, wins - losses))
    by_balance = by_balance[decided[by_balance]]
    cut = math.ceil(rules.trimmed * len(by_balance))
    middle = by_balance[cut : len(by_balance) - cut]
    heavy, light = by_activity[:third], by_activity[len(by_activity) - third :]
    counts = {
        "wins": int(wins.sum()), "losses": int(losses.sum()),
        "late_wins": int(lists.wins[late].sum()), "late_losses": int(lists.losses[late].sum()),
        "listeners": int(decided.sum()), "z": listener_z_score(balances.astype(np.float64)),
        "winners": int((has_preference & (wins > losses)).sum()),
        "losers": int((has_preference & (wins < losses)).sum()),
        "ties": int((has_preference & (wins == losses)).sum()),
        "trimmed_wins": int(wins[middle].sum()), "trimmed_losses": int(losses[middle].sum()),
        "heavy": (int(wins[heavy].sum()), int(losses[heavy].sum())),
        "light": (int(wins[light].sum()), int(losses[light].sum())),
    }  # fmt: skip
    if rules.recent_days:
        counts |= _mean_preference(wins, losses, has_preference, rules.preference_cap)
        counts |= _count_recent_rounds(lists, rules.recent_days)
        counts["capped_balance"] = float(balances.sum())
    return counts


def _count_recent_rounds(lists: ClosedLists, days: int) -> dict[str, int]:
    recent = lists.days > lists.days.max(initial=0) - days
    return {"recent_wins": int(lists.wins[recent].sum()), "recent_losses": int(lists.losses[recent].sum())}


def _mean_preference(
    wins: NDArray[np.int64], losses: NDArray[np.int64], has_preference: NDArray[np.bool_], cap: float
) -> dict[str, float]:
    """The mean of the listeners' preferences, from -1 to 1, and its standard error.

    A listener with too few rounds for a preference counts as 0. Otherwise bots, who always have enough
    rounds, would be a larger share of the mean than of the listeners.

    Args:
        cap: a listener's balance counts in its standard deviations under equality, up to this number,
            which is a preference of 1: so bots, who win all rounds, count hardly more than anybody else.
    """
    rounds = np.maximum(wins + losses, 1)
    preferences = np.where(has_preference, np.clip((wins - losses) / np.sqrt(rounds) / cap, -1.0, 1.0), 0.0)
    if len(preferences) < FEWEST_FOR_AN_ERROR:
        return {"preference": float(preferences.sum()), "preference_error": 0.0}
    error = preferences.std(ddof=1) / math.sqrt(len(preferences))
    return {"preference": float(preferences.mean()), "preference_error": float(error)}
