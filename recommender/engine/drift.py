"""Drift tests: do new songs, or a week's listening, differ from the training data?

New songs: population stability index over bins. Listening: permutation test on the Jensen-Shannon
divergence (JSD) between shares of plays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

ALPHA: Final = 0.01
LEAST_EFFECT: Final = 0.1  # sqrt(JSD above chance); a smaller change makes no list noticeably worse
FEWEST_PLAYS: Final = 200
FEWEST_LISTENERS: Final = 20
FEWEST_SONGS: Final = 100
REFERENCE_WEEKS: Final = 8
WEEKS_NEEDED: Final = REFERENCE_WEEKS + 2  # the last week, and one more in case the week before it drifted
MOST_PLAYS_PER_WEEK: Final = 50.0  # per listener, so that one who plays all day does not dominate
PERMUTATIONS: Final = 1_999
REFERENCE_PERMUTATIONS: Final = 199  # for reference weeks only the mean is needed
MOST_LISTENERS: Final = 2_000  # from more listeners a seeded sample is tested, which is precise enough
MOST_GROUPS: Final = 20
BATCH_CELLS: Final = 4_000_000  # array elements in memory at once


@dataclass(frozen=True)
class PopulationShift:
    psi: float  # population stability index, sum of (p - q) ln(p / q)
    critical: float  # the psi that chance exceeds with probability `alpha`
    shares: NDArray[np.float64]  # shape (n_bins,), current share minus reference share
    n: int  # number of new songs

    @property
    def has_enough_data(self) -> bool:
        return self.n >= FEWEST_SONGS

    @property
    def is_drift(self) -> bool:
        return self.has_enough_data and self.psi > self.critical

    @property
    def is_large(self) -> bool:
        return self.is_drift and self.psi >= 2 * self.critical


@dataclass(frozen=True)
class ListeningChange:
    p: float  # p-value: share of permutations whose JSD is at least as large
    effect: float  # sqrt(max(0, JSD - mean JSD of the permutations)), natural logarithm
    limit: float  # the effect that counts as drift: .1, or the largest effect among the reference weeks
    shares: NDArray[np.float64]  # shape (n_groups,), current share minus reference share
    parts: NDArray[np.float64]  # shape (n_groups,), each group's part of the JSD; the parts add up to the JSD
    listeners: int  # number in the current week, like `plays`
    plays: int

    @property
    def has_enough_data(self) -> bool:
        return self.plays >= FEWEST_PLAYS and self.listeners >= FEWEST_LISTENERS

    @property
    def is_drift(self) -> bool:
        return self.has_enough_data and self.p <= ALPHA and self.effect >= self.limit

    @property
    def is_large(self) -> bool:
        """Whether the change is a reason to act without a second week."""
        return self.is_drift and self.effect >= 2 * self.limit


def measure_population_shift(
    reference: NDArray[np.integer], current: NDArray[np.integer], *, alpha: float = ALPHA
) -> PopulationShift:
    """Compare two histograms over the same bins: clusters, or quantiles of the distance to the center.

    Source:
        Yurdakul, "Statistical properties of population stability index", Western Michigan University 2018.
    """
    # Each count is increased by .5, because an empty bin would make the index infinite. The critical value
    # depends on the sample sizes: a fixed .1 reports drift in three of four samples of 50 songs that have
    # none.
    n, m = int(current.sum()), int(reference.sum())
    p, q = _shares(current + 0.5), _shares(reference + 0.5)
    psi = float(((p - q) * np.log(p / q)).sum())
    critical = float(chdtri(max(1, len(p) - 1), alpha)) * (1 / max(1, n) + 1 / max(1, m))
    return PopulationShift(psi, critical, p - q, n)


def quantile_edges(distances: NDArray[np.floating], n: int = 10) -> NDArray[np.float64]:
    """Inner edges of n equally filled bins; fewer if many distances are equal."""
    if not len(distances):
        return np.empty(0)
    edges = np.quantile(np.asarray(distances, dtype=np.float64), np.arange(1, n) / n)
    unique: NDArray[np.float64] = np.unique(edges)
    return unique


def count_in_bins(distances: NDArray[np.floating], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    bins = np.searchsorted(edges, distances, side="right")
    return np.bincount(bins, minlength=len(edges) + 1)


def group_small_clusters(sizes: NDArray[np.floating], most: int = MOST_GROUPS) -> NDArray[np.int64]:
    """Each cluster's group: the largest clusters are a group each, all others share the last."""
    by_size = np.lexsort((np.arange(len(sizes)), -np.asarray(sizes)))
    groups = np.full(len(sizes), min(most, len(sizes)) - 1, dtype=np.int64)
    groups[by_size[: most - 1]] = np.arange(min(most - 1, len(sizes)))
    return groups


def select_compared_weeks(weeks: NDArray[np.float64], *, after_drift: bool) -> NDArray[np.float64]:
    """Eight reference weeks and the last week, for `measure_listening_change`.

    Args:
        weeks: shape (n_listeners, WEEKS_NEEDED, n_groups), the last week at the end.
        after_drift: the week before the last has drifted without a reaction.
    """
    # A drifted week before the last is left out, and the eight weeks before it are the reference. As a
    # reference week it would hide the same drift in the last week.
    chosen = [*range(REFERENCE_WEEKS), WEEKS_NEEDED - 1] if after_drift else list(range(1, WEEKS_NEEDED))
    compared: NDArray[np.float64] = weeks[:, chosen]
    return compared


def stronger_change(recent: ListeningChange, standing: ListeningChange | None) -> ListeningChange:
    """The change against the recent weeks, or against a standing reference if only that drifted.

    Recent weeks move along with a slow drift and hide it.
    """
    return standing if standing is not None and standing.is_drift and not recent.is_drift else recent


def measure_listening_change(weeks: NDArray[np.floating], *, seed: int) -> ListeningChange:
    """Compare the last week with the weeks before by a permutation test within listeners.

    Args:
        weeks: plays, shape (n_listeners, n_weeks, n_groups).
    """
    # In each permutation every listener's "current" week is a random one of the listener's weeks. So the
    # test finds changes in what people listen to, and ignores changes in who listens. (A test on pooled
    # listeners finds nothing; a test that takes plays as independent reports drift in half of all weeks
    # without drift.)
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
    observed = float(parts.sum())
    # The tolerance counts permutations that equal the observed week except for rounding.
    p = (1 + int((chance >= observed - 1e-12).sum())) / (1 + PERMUTATIONS)
    limit = max(LEAST_EFFECT, _largest_reference_effect(capped[:, :-1], random))
    shares = _shares(current[0]) - _shares(reference[0])
    return ListeningChange(p, _effect(observed, chance), limit, shares, parts, listeners, plays)


def worst_shift(shifts: Sequence[PopulationShift]) -> PopulationShift:
    return max(shifts, key=lambda shift: shift.psi / max(shift.critical, 1e-9))


def is_alarm(change: ListeningChange | PopulationShift, *, drifted_before: bool) -> bool:
    return change.is_large or (change.is_drift and drifted_before)


def change_similarity(change: ListeningChange, other: ListeningChange) -> float:
    """Cosine similarity of two changes, from -1 (opposite) to 1; 0 if one change is 0."""
    lengths = float(np.linalg.norm(change.shares) * np.linalg.norm(other.shares))
    return float(change.shares @ other.shares) / lengths if lengths else 0.0


def _capped(weeks: NDArray[np.floating]) -> NDArray[np.float64]:
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
    """Plays by group in each listener's chosen week, and in all other weeks.

    `chosen` has shape (n_draws, n_listeners).
    """
    current = weeks[np.arange(len(weeks)), chosen].sum(axis=1)
    return current, weeks.sum(axis=(0, 1)) - current


def _permuted_jsd(weeks: NDArray[np.float64], n: int, random: np.random.Generator) -> NDArray[np.float64]:
    played = weeks.sum(axis=2) > 0
    played_first = np.argsort(~played, axis=1, kind="stable")
    n_played = np.maximum(played.sum(axis=1), 1)
    divergences = []
    step = max(1, BATCH_CELLS // max(1, weeks.shape[0] * weeks.shape[2]))
    for start in range(0, n, step):
        draws = (random.random((min(step, n - start), len(weeks))) * n_played).astype(np.int64)
        chosen = played_first[np.arange(len(weeks)), draws]
        divergences.append(_jsd_parts(*_split(weeks, chosen)).sum(axis=1))
    return np.concatenate(divergences)


def _largest_reference_effect(weeks: NDArray[np.float64], random: np.random.Generator) -> float:
    """The largest effect of one reference week against the others."""
    if weeks.shape[1] < 2:
        return 0.0
    effects = []
    for week in range(weeks.shape[1]):
        active = weeks[weeks[:, week].sum(axis=1) > 0]
        if len(active) < FEWEST_LISTENERS:
            continue
        observed = _jsd_parts(*_split(active, np.full((1, len(active)), week))).sum()
        effects.append(_effect(float(observed), _permuted_jsd(active, REFERENCE_PERMUTATIONS, random)))
    return max(effects, default=0.0)


def _effect(observed: float, chance: NDArray[np.float64]) -> float:
    return float(np.sqrt(max(0.0, observed - float(chance.mean()))))


def _jsd_parts(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    p, q = _shares(first), _shares(second)
    middle = (p + q) / 2
    return (_kl_terms(p, middle) + _kl_terms(q, middle)) / 2


def _kl_terms(p: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    log_ratio: NDArray[np.float64] = np.zeros_like(p)
    np.divide(p, middle, out=log_ratio, where=p > 0)
    np.log(log_ratio, out=log_ratio, where=p > 0)
    return p * log_ratio


def _shares(counts: NDArray[np.floating]) -> NDArray[np.float64]:
    total = counts.sum(axis=-1, keepdims=True, dtype=np.float64)
    shares: NDArray[np.float64] = counts / np.maximum(total, 1e-12)
    return shares
