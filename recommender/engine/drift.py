"""Drift: do new songs, or listeners' weeks, look unlike what the model learnt from?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

ALPHA: Final = 0.01
LEAST_EFFECT: Final = 0.1  # of sqrt(JSD above chance); less makes no list worse that anybody would notice
FEWEST_PLAYS: Final = 200
FEWEST_LISTENERS: Final = 20
FEWEST_SONGS: Final = 100
REFERENCE_WEEKS: Final = 8  # weeks that the last one is held against
WEEKS_NEEDED: Final = REFERENCE_WEEKS + 2  # that a look needs: one of them may have drifted already
MOST_PLAYS_PER_WEEK: Final = 50.0  # plays of one listener that count; who plays all day is one listener still
PERMUTATIONS: Final = 1_999
REFERENCE_PERMUTATIONS: Final = 199  # only the mean is wanted of the reference weeks
MOST_LISTENERS: Final = 2_000  # a seeded sample of more: the answer is sharp by then
MOST_GROUPS: Final = 20
BATCH_CELLS: Final = 4_000_000  # numbers that are gathered at once


@dataclass(frozen=True)
class PopulationShift:
    """How far new songs are from those learnt from.

    Attributes:
        psi: population stability index, sum of (p - q) ln(p / q).
        critical: what chance exceeds in one of a hundred.
        shares: of each bin, current less reference.
        n: new songs.
    """

    psi: float
    critical: float
    shares: NDArray[np.float64]
    n: int

    @property
    def has_enough_data(self) -> bool:
        return self.n >= FEWEST_SONGS

    @property
    def is_drift(self) -> bool:
        return self.has_enough_data and self.psi > self.critical

    @property
    def is_large(self) -> bool:
        """So far that one week is enough."""
        return self.is_drift and self.psi >= 2 * self.critical


@dataclass(frozen=True)
class ListeningChange:
    """How far a week's listening is from the weeks before.

    Attributes:
        p: share of permutations at least as far.
        effect: sqrt(max(0, JSD - mean JSD of the permutations)), natural logarithm.
        limit: what the effect must reach: .1, or the largest of the reference weeks among themselves.
        shares: of each group, current less reference.
        parts: what each group adds to the JSD; their sum is the JSD.
        listeners, plays: of the current week.
    """

    p: float
    effect: float
    limit: float
    shares: NDArray[np.float64]
    parts: NDArray[np.float64]
    listeners: int
    plays: int

    @property
    def has_enough_data(self) -> bool:
        return self.plays >= FEWEST_PLAYS and self.listeners >= FEWEST_LISTENERS

    @property
    def is_drift(self) -> bool:
        return self.has_enough_data and self.p <= ALPHA and self.effect >= self.limit

    @property
    def is_large(self) -> bool:
        """So far that one week is enough."""
        return self.is_drift and self.effect >= 2 * self.limit


def measure_population_shift(
    reference: NDArray[np.integer], current: NDArray[np.integer], *, alpha: float = ALPHA
) -> PopulationShift:
    """Compare counts over the same bins: clusters, or distances to the centre at the reference's quantiles.

    Counts get .5 each, so that an empty bin is not infinitely far. The critical value belongs to the sizes:
    a fixed .1 fires on three of four samples of 50 without any drift.

    Source:
        Yurdakul, "Statistical properties of population stability index", Western Michigan University 2018.
    """
    n, m = int(current.sum()), int(reference.sum())
    p, q = _shares(current + 0.5), _shares(reference + 0.5)
    psi = float(((p - q) * np.log(p / q)).sum())
    critical = float(chi2.ppf(1 - alpha, max(1, len(p) - 1))) * (1 / max(1, n) + 1 / max(1, m))
    return PopulationShift(psi, critical, p - q, n)


def quantile_edges(distances: NDArray[np.floating], n: int = 10) -> NDArray[np.float64]:
    """Inner edges of n bins that hold as many distances each; fewer where many are equal."""
    if not len(distances):
        return np.empty(0)
    edges = np.quantile(np.asarray(distances, dtype=np.float64), np.arange(1, n) / n)
    unique: NDArray[np.float64] = np.unique(edges)
    return unique


def count_in_bins(distances: NDArray[np.floating], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Shape (len(edges) + 1,): how many fall into each bin."""
    places = np.searchsorted(edges, distances, side="right")
    return np.bincount(places, minlength=len(edges) + 1)


def group_small_clusters(sizes: NDArray[np.floating], most: int = MOST_GROUPS) -> NDArray[np.int64]:
    """A group for each cluster: the largest stand alone, the rest share the last; at most `most` groups."""
    order = np.lexsort((np.arange(len(sizes)), -np.asarray(sizes)))
    groups = np.full(len(sizes), min(most, len(sizes)) - 1, dtype=np.int64)
    groups[order[: most - 1]] = np.arange(min(most - 1, len(sizes)))
    return groups


def select_compared_weeks(weeks: NDArray[np.float64], *, after_drift: bool) -> NDArray[np.float64]:
    """Of ten weeks the nine that `change_of` compares: the last one, and the eight before it.

    Where the week before it has drifted, the eight before that: among the weeks it is held against it would
    hide what it has shown, and raise the limit to its own size.

    Args:
        weeks: shape (n_listeners, WEEKS, n_groups), the last week at the end.
        after_drift: whether the week before has drifted, and nothing was done about it.
    """
    chosen = [*range(REFERENCE_WEEKS), WEEKS_NEEDED - 1] if after_drift else list(range(1, WEEKS_NEEDED))
    nine: NDArray[np.float64] = weeks[:, chosen]
    return nine


def measure_listening_change(weeks: NDArray[np.floating], *, seed: int) -> ListeningChange:
    """Compare the last week with those before, each listener with their own weeks.

    In every permutation each listener's "current" week is one of their own, by chance: who listens is then
    no difference, only what they listen to. (Pooled listeners hide everything; single plays, compared as if
    they were independent, cry in half of all weeks without any drift.)

    Args:
        weeks: plays, shape (n_listeners, n_weeks, n_groups); the last week is the current one.
    """
    capped = _capped(weeks)
    capped = _sampled(capped[capped[:, -1].sum(axis=1) > 0], seed)
    plays, listeners = int(weeks[:, -1].sum()), len(capped)
    random = np.random.default_rng(seed)
    if not listeners or capped.shape[1] < 2 or not capped[:, :-1].sum():
        nothing = np.zeros(weeks.shape[2])
        return ListeningChange(1.0, 0.0, LEAST_EFFECT, nothing, nothing, listeners, plays)
    last = np.full(listeners, capped.shape[1] - 1)
    current, reference = _split(capped, last[np.newaxis])
    parts = _jsd_parts(current, reference)[0]
    chance = _permuted_jsd(capped, PERMUTATIONS, random)
    seen = float(parts.sum())
    # Rounding must not make a permutation that is the same week fall short of it.
    p = (1 + int((chance >= seen - 1e-12).sum())) / (1 + PERMUTATIONS)
    limit = max(LEAST_EFFECT, _largest_reference_effect(capped[:, :-1], random))
    shares = _shares(current[0]) - _shares(reference[0])
    return ListeningChange(p, _effect(seen, chance), limit, shares, parts, listeners, plays)


def worst_shift(shifts: Sequence[PopulationShift]) -> PopulationShift:
    """The one that is farthest beyond what chance exceeds."""
    return max(shifts, key=lambda shift: shift.psi / max(shift.critical, 1e-9))


def is_alarm(change: ListeningChange | PopulationShift, *, drifted_before: bool) -> bool:
    """Whether to act: drift two weeks running, or once twice as far.

    Args:
        before: whether the week before had drifted too.
    """
    return change.is_large or (change.is_drift and drifted_before)


def change_similarity(change: ListeningChange, other: ListeningChange) -> float:
    """Whether the same groups grew and shrank, -1 to 1: the cosine of both changes; 0 where one is none."""
    lengths = float(np.linalg.norm(change.shares) * np.linalg.norm(other.shares))
    return float(change.shares @ other.shares) / lengths if lengths else 0.0


def _capped(weeks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weeks of more than 50 plays are scaled down to 50."""
    totals = weeks.sum(axis=2, keepdims=True, dtype=np.float64)
    capped: NDArray[np.float64] = weeks * np.minimum(1.0, MOST_PLAYS_PER_WEEK / np.maximum(totals, 1e-9))
    return capped


def _sampled(weeks: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    if len(weeks) <= MOST_LISTENERS:
        return weeks
    chosen = np.random.default_rng(seed).choice(len(weeks), MOST_LISTENERS, replace=False)
    return weeks[np.sort(chosen)]


def _split(
    weeks: NDArray[np.float64], chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Plays a group of the chosen weeks, and of all others; chosen (n_draws, n_listeners)."""
    current = weeks[np.arange(len(weeks)), chosen].sum(axis=1)
    return current, weeks.sum(axis=(0, 1)) - current


def _permuted_jsd(weeks: NDArray[np.float64], n: int, random: np.random.Generator) -> NDArray[np.float64]:
    """JSD of n permutations: each listener's week is one of those in which they played."""
    played = weeks.sum(axis=2) > 0
    order = np.argsort(~played, axis=1, kind="stable")  # the weeks with plays first
    number = np.maximum(played.sum(axis=1), 1)
    found = []
    step = max(1, BATCH_CELLS // max(1, weeks.shape[0] * weeks.shape[2]))
    for start in range(0, n, step):
        draws = (random.random((min(step, n - start), len(weeks))) * number).astype(np.int64)
        chosen = order[np.arange(len(weeks)), draws]
        found.append(_jsd_parts(*_split(weeks, chosen)).sum(axis=1))
    return np.concatenate(found)


def _largest_reference_effect(weeks: NDArray[np.float64], random: np.random.Generator) -> float:
    """The largest effect of a reference week against the others: so far weeks go without drift."""
    if weeks.shape[1] < 2:
        return 0.0
    effects = []
    for week in range(weeks.shape[1]):
        there = weeks[weeks[:, week].sum(axis=1) > 0]
        if len(there) < FEWEST_LISTENERS:
            continue
        seen = _jsd_parts(*_split(there, np.full((1, len(there)), week))).sum()
        effects.append(_effect(float(seen), _permuted_jsd(there, REFERENCE_PERMUTATIONS, random)))
    return max(effects, default=0.0)


def _effect(seen: float, chance: NDArray[np.float64]) -> float:
    return float(np.sqrt(max(0.0, seen - float(chance.mean()))))


def _jsd_parts(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each group adds to the Jensen-Shannon divergence; shapes (n, n_groups), natural logarithm."""
    p, q = _shares(first), _shares(second)
    middle = (p + q) / 2
    return (_kl_terms(p, middle) + _kl_terms(q, middle)) / 2


def _kl_terms(p: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.zeros_like(p)
    np.divide(p, middle, out=found, where=p > 0)
    np.log(found, out=found, where=p > 0)
    return p * found


def _shares(counts: NDArray[np.floating]) -> NDArray[np.float64]:
    total = counts.sum(axis=-1, keepdims=True, dtype=np.float64)
    shares: NDArray[np.float64] = counts / np.maximum(total, 1e-12)
    return shares
