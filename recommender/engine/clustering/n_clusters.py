"""How many groups of songs: as many as make the plays that came later likeliest."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.clustering.affinities import cluster_affinities, sum_by_cluster
from recommender.engine.clustering.kmeans import Clusters, fit_clusters, silhouettes
from recommender.engine.evaluation.metrics import FEWEST_LISTENERS

# Beyond, a seeded sample of songs finds the centres, and every song then joins its nearest one: 2 to 5 s of
# a full training, whatever the size of the catalogue (docs/decisions.md).
SAMPLE_SIZE: Final = 10_000
MOST_CLUSTERS: Final = 64
GRID_RATIO: Final = math.sqrt(2)
LEAST_STABILITY: Final = 0.6
# Half of a listener's shares are everybody's, as half of them are even in a cool draw: without it one play
# in a group that a listener has never touched would count for more than all others.
POPULARITY_WEIGHT: Final = 0.5
UNPLAYED_PSEUDOCOUNT: Final = 0.5  # listeners of a song that nobody has played: it may be played all the same


@dataclass(frozen=True)
class HoldoutPlays:
    """What some listeners had played up to a moment, and which other songs they played after it.

    Attributes:
        recent: shape (n, n_songs), plays before the moment, weighted as affinities weigh them.
        heard: shape (n, n_songs), songs played before it.
        played: shape (n, n_songs), songs played after it and not before; every row holds one or more.
        listeners: shape (n_songs,), how many of all listeners had played each song before it.
        skips: shape (n, n_songs), skips and dislikes before it; None: none.
    """

    recent: csr_array
    played_before: csr_array
    played_after: csr_array
    listeners: NDArray[np.floating]
    skips: csr_array | None = None


@dataclass(frozen=True)
class ClusterCountScore:
    """One number of groups.

    Attributes:
        likelihood: mean over listeners of the mean logarithm of the probability of what they played.
        behind: the best number's likelihood less this one, paired by listener; 0 for the best.
        error: standard error of `behind` over listeners.
        silhouette: simplified, mean over the songs of the sample.
        stability: adjusted Rand index of the groups that two halves of the songs give; None: not asked for.
    """

    n_clusters: int
    likelihood: float | None
    behind: float
    error: float
    silhouette: float
    stability: float | None = None


@dataclass(frozen=True)
class ClusterCountChoice:
    """The number of groups, which rule decided, and all that was compared.

    Attributes:
        listeners: how many had played something new afterwards.
        songs: how many found the centres.
    """

    n_clusters: int
    rule: str
    scores: tuple[ClusterCountScore, ...] = ()
    listeners: int = 0
    songs: int = 0

    def facts(self) -> dict[str, Any]:
        """JSON can hold it."""
        return {
            "n_clusters": self.n_clusters, "rule": self.rule, "listeners": self.listeners,
            "songs": self.songs, "scores": [_round_floats(asdict(one)) for one in self.scores],
        }  # fmt: skip


def choose_n_clusters(
    points: NDArray[np.float32], holdout: HoldoutPlays, *, default: int, seed: int
) -> ClusterCountChoice:
    """The smallest number of groups within one standard error of the one that makes later plays likeliest.

    Where some of these numbers are stable, one of them. With too few listeners for a likelihood to say
    anything, the stable number with the best silhouette; without one, `default`.

    Args:
        points: shape (n_songs, d), the space in which the songs will be grouped, learnt from earlier plays.
        default: is tried whatever the grid is: quality was measured with it, and on one of two real sets
            every number up to the grid's end was less likely, and reached fewer songs.
    """
    draws = np.random.default_rng(seed)
    sample = (
        points
        if len(points) <= SAMPLE_SIZE
        else points[np.sort(draws.permutation(len(points))[:SAMPLE_SIZE])]
    )
    found = {k: fit_clusters(sample, n_clusters=k, seed=seed) for k in n_clusters_grid(sample, default)}
    n = holdout.played_after.shape[0]
    if n >= FEWEST_LISTENERS:
        each = {k: log_likelihoods(one.predict(points), k, holdout) for k, one in found.items()}
        scores = _score_by_likelihood(each, sample, found)
        asked = [one.n_clusters for one in _within_standard_error(scores)]
    else:
        scores = [ClusterCountScore(k, None, 0.0, 0.0, _silhouette(sample, one)) for k, one in found.items()]
        asked = [*found]
    stable = {k: measure_stability(sample, k, seed) for k in asked}
    scores = [replace(one, stability=stable.get(one.n_clusters)) for one in scores]
    number, rule = apply_selection_rule(scores, default, n)
    return ClusterCountChoice(number, rule, tuple(scores), n, len(sample))


def n_clusters_grid(points: NDArray[np.float32], default: int) -> list[int]:
    """Numbers to try, ascending: each 1.4 times the one before, to min(64, root of n / 2), and `default`.

    None is larger than the number of different points.
    """
    distinct = len(np.unique(points, axis=0))
    most = min(MOST_CLUSTERS, int(math.sqrt(len(points) / 2)), distinct)
    steps = range(2, 2 + math.ceil(2 * math.log2(MOST_CLUSTERS)))
    numbers = {round(GRID_RATIO**step) for step in steps} | {most, min(default, distinct)}
    return sorted(number for number in numbers if 2 <= number <= most or number == min(default, distinct))


def log_likelihoods(labels: NDArray[np.int32], n_clusters: int, holdout: HoldoutPlays) -> NDArray[np.float64]:
    """Shape (n,): each listener's mean log-probability of a song played after the moment.

    A group is drawn by the listener's affinities, half of them everybody's; a song of it, among those not
    heard, by how many have played it. So more groups must tell the listeners apart better than they
    spread what is known of each too thin.
    """
    weights = np.asarray(holdout.listeners, dtype=np.float64) + UNPLAYED_PSEUDOCOUNT
    masses = np.bincount(labels, weights=weights, minlength=n_clusters)
    own = cluster_affinities(holdout.recent, labels, n_clusters, holdout.skips)
    shares = (1 - POPULARITY_WEIGHT) * own + POPULARITY_WEIGHT * masses / masses.sum()
    heard = csr_array(holdout.played_before, dtype=np.float64, copy=True)
    heard.data = weights[heard.indices]
    left = np.maximum(masses - sum_by_cluster(heard, labels, n_clusters), 0)
    # A group of which all is heard offers nothing; a rest this small is the subtraction's own error.
    shares = np.where(left > 1e-9 * masses, shares, 0)
    shares /= shares.sum(axis=1, keepdims=True)
    sizes = np.diff(holdout.played_after.indptr)
    rows, songs = np.repeat(np.arange(len(sizes)), sizes), holdout.played_after.indices
    cells = rows, labels[songs]
    logs = np.log(shares[cells]) + np.log(weights[songs]) - np.log(left[cells])
    return np.asarray(np.bincount(rows, weights=logs, minlength=len(sizes)) / np.maximum(sizes, 1))


def measure_stability(points: NDArray[np.float32], n_clusters: int, seed: int) -> float:
    """How alike two halves of the points, drawn by chance, group all of them: 1 the same, 0 as by chance."""
    order = np.random.default_rng(seed).permutation(len(points))
    half = len(points) // 2
    halves = (np.sort(order[:half]), np.sort(order[half:]))
    one, other = (fit_clusters(points[part], n_clusters=n_clusters, seed=seed) for part in halves)
    return adjusted_rand_index(one.predict(points), other.predict(points))


def adjusted_rand_index(one: NDArray[np.integer], other: NDArray[np.integer]) -> float:
    """Share of pairs on which two groupings agree, less what chance gives; 1 where they are the same.

    Source:
        Hubert and Arabie, "Comparing partitions", Journal of Classification 1985.
    """
    table = np.zeros((int(one.max(initial=0)) + 1, int(other.max(initial=0)) + 1))
    np.add.at(table, (one, other), 1)
    together, ours, theirs = (_count_pairs(sizes) for sizes in (table, table.sum(axis=1), table.sum(axis=0)))
    by_chance = ours * theirs / max(_count_pairs(np.array([len(one)])), 1)
    most = (ours + theirs) / 2
    return 1.0 if most == by_chance else (together - by_chance) / (most - by_chance)


def apply_selection_rule(
    scores: Sequence[ClusterCountScore], default: int, listeners: int
) -> tuple[int, str]:
    """The number of groups, and which rule decided, in words."""
    if listeners < FEWEST_LISTENERS:
        return _without_likelihood(scores, default, listeners)
    near = _within_standard_error(scores)
    stable = [one for one in near if _is_stable(one)]
    chosen = min(one.n_clusters for one in stable or near)
    best = min(scores, key=lambda one: one.behind).n_clusters
    if chosen == best:
        rule = f"What {listeners} listeners played afterwards is likeliest with {best}"
        rule += ", and no smaller number is within a standard error."
    else:
        rule = f"The smallest number within a standard error of {best}, with which what {listeners} "
        rule += "listeners played afterwards is likeliest."
    if stable and len(stable) < len(near):
        rule += f" Others as near are not stable (below {LEAST_STABILITY:g})."
    return chosen, rule if stable else f"{rule} None as near is stable (below {LEAST_STABILITY:g})."


def _without_likelihood(scores: Sequence[ClusterCountScore], default: int, listeners: int) -> tuple[int, str]:
    few = (
        f"Only {listeners} listeners have played something new afterwards "
        f"(at least {FEWEST_LISTENERS} are needed)"
    )
    stable = [one for one in scores if _is_stable(one)]
    if not stable:
        return default, f"{few}, and no number is stable: as many as the catalogue asks for."
    best = max(stable, key=lambda one: (one.silhouette, -one.n_clusters))
    return best.n_clusters, f"{few}: the stable number with the best silhouette."


def _within_standard_error(scores: Sequence[ClusterCountScore]) -> list[ClusterCountScore]:
    return [one for one in scores if one.behind <= one.error]


def _is_stable(one: ClusterCountScore) -> bool:
    return one.stability is not None and one.stability >= LEAST_STABILITY


def _score_by_likelihood(
    each: dict[int, NDArray[np.float64]], sample: NDArray[np.float32], found: dict[int, Clusters]
) -> list[ClusterCountScore]:
    best = max(each.values(), key=lambda values: float(values.mean()))
    scores = []
    for k, values in each.items():
        behind = best - values
        error = float(behind.std(ddof=1)) / math.sqrt(len(behind))
        likelihood, silhouette = float(values.mean()), _silhouette(sample, found[k])
        scores.append(ClusterCountScore(k, likelihood, float(behind.mean()), error, silhouette))
    return scores


def _silhouette(points: NDArray[np.float32], clusters: Clusters) -> float:
    return float(silhouettes(points, clusters).mean()) if clusters.n_clusters > 1 else 0.0


def _count_pairs(sizes: NDArray[np.float64]) -> float:
    return float((sizes * (sizes - 1) / 2).sum())


def _round_floats(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in fields.items()}
