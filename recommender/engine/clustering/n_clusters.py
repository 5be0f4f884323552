"""Choose the number of clusters that best predicts what listeners play next."""

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

# Above this size the centers are fitted on a seeded sample: 2 to 5 s of a full training for any catalogue.
SAMPLE_SIZE: Final = 10_000
MOST_CLUSTERS: Final = 64
GRID_RATIO: Final = math.sqrt(2)
LEAST_STABILITY: Final = 0.6
# Share of all listeners' plays in a listener's cluster probabilities. Without it a single play in a cluster
# that the listener had not played would outweigh all other plays.
POPULARITY_WEIGHT: Final = 0.5
UNPLAYED_PSEUDOCOUNT: Final = 0.5  # added to each song's listeners, so that an unplayed song is possible


@dataclass(frozen=True)
class HoldoutPlays:
    """What n listeners played before the split time, and which new songs they played afterwards."""

    recent: csr_array  # shape (n, n_songs), plays before the split, weighted by recency
    played_before: csr_array  # shape (n, n_songs), songs played before the split
    played_after: csr_array  # shape (n, n_songs), songs played only after the split; at least one per row
    # Shape (n_songs,), how many of all listeners had played each song before the split.
    listeners: NDArray[np.floating]
    skips: csr_array | None = None  # shape (n, n_songs), skips and dislikes before the split; None: none


@dataclass(frozen=True)
class ClusterCountScore:
    n_clusters: int
    # Mean over listeners of their mean log-probability of the songs played after the split; None: too few
    # listeners.
    likelihood: float | None
    behind: float  # the best number's likelihood minus this one, paired by listener; 0 for the best
    error: float  # standard error of `behind` over listeners
    silhouette: float  # simplified silhouette, mean over the sample
    # Adjusted Rand index between clusterings from two halves of the songs; None: not measured.
    stability: float | None = None


@dataclass(frozen=True)
class ClusterCountChoice:
    n_clusters: int
    rule: str
    scores: tuple[ClusterCountScore, ...] = ()
    listeners: int = 0  # number of listeners who played a new song after the split
    songs: int = 0  # number of songs that the centers were fitted on

    def facts(self) -> dict[str, Any]:
        return {
            "n_clusters": self.n_clusters, "rule": self.rule, "listeners": self.listeners,
            "songs": self.songs, "scores": [_round_floats(asdict(score)) for score in self.scores],
        }  # fmt: skip


def choose_n_clusters(
    points: NDArray[np.float32], holdout: HoldoutPlays, *, default: int, seed: int
) -> ClusterCountChoice:
    """The smallest stable number of clusters within one standard error of the best likelihood.

    The likelihood is that of held-out plays. With fewer than 30 listeners the best silhouette among the
    stable numbers decides, or else `default`.

    Args:
        points: shape (n_songs, d), computed only from plays before the split time.
    """
    random = np.random.default_rng(seed)
    sample = (
        points
        if len(points) <= SAMPLE_SIZE
        else points[np.sort(random.permutation(len(points))[:SAMPLE_SIZE])]
    )
    fitted = {k: fit_clusters(sample, n_clusters=k, seed=seed) for k in n_clusters_grid(sample, default)}
    n = holdout.played_after.shape[0]
    if n >= FEWEST_LISTENERS:
        likelihoods = {
            k: log_likelihoods(clusters.predict(points), k, holdout) for k, clusters in fitted.items()
        }
        scores = _score_by_likelihood(likelihoods, sample, fitted)
        contenders = [score.n_clusters for score in _within_standard_error(scores)]
    else:
        scores = [
            ClusterCountScore(k, None, 0.0, 0.0, _silhouette(sample, clusters))
            for k, clusters in fitted.items()
        ]
        contenders = [*fitted]
    stability = {k: measure_stability(sample, k, seed) for k in contenders}
    scores = [replace(score, stability=stability.get(score.n_clusters)) for score in scores]
    number, rule = apply_selection_rule(scores, default, n)
    return ClusterCountChoice(number, rule, tuple(scores), n, len(sample))


def n_clusters_grid(points: NDArray[np.float32], default: int) -> list[int]:
    """Candidate numbers in ascending order: sqrt(2)^i up to min(64, sqrt(n / 2)), and `default`."""
    # The default is always a candidate: quality was measured with it, and on one of two real data sets every
    # number of the grid had a lower likelihood and covered fewer songs.
    distinct = len(np.unique(points, axis=0))
    most = min(MOST_CLUSTERS, int(math.sqrt(len(points) / 2)), distinct)
    steps = range(2, 2 + math.ceil(2 * math.log2(MOST_CLUSTERS)))
    numbers = {round(GRID_RATIO**step) for step in steps} | {most, min(default, distinct)}
    return sorted(number for number in numbers if 2 <= number <= most or number == min(default, distinct))


def log_likelihoods(labels: NDArray[np.int32], n_clusters: int, holdout: HoldoutPlays) -> NDArray[np.float64]:
    """Each listener's mean log-probability of the songs played after the split time, shape (n,)."""
    # A song's probability is that of its cluster (half the listener's affinity, half all listeners' plays)
    # times the song's share of listeners among the cluster's songs that the listener had not played. More
    # clusters pay off only if they separate listeners better than they dilute each listener's history.
    weights = np.asarray(holdout.listeners, dtype=np.float64) + UNPLAYED_PSEUDOCOUNT
    masses = np.bincount(labels, weights=weights, minlength=n_clusters)
    own = cluster_affinities(holdout.recent, labels, n_clusters, holdout.skips)
    shares = (1 - POPULARITY_WEIGHT) * own + POPULARITY_WEIGHT * masses / masses.sum()
    played = csr_array(holdout.played_before, dtype=np.float64, copy=True)
    played.data = weights[played.indices]
    left = np.maximum(masses - sum_by_cluster(played, labels, n_clusters), 0)
    # If the listener played the whole cluster, nothing is left; a tiny rest is a rounding error.
    shares = np.where(left > 1e-9 * masses, shares, 0)
    shares /= shares.sum(axis=1, keepdims=True)
    sizes = np.diff(holdout.played_after.indptr)
    rows, songs = np.repeat(np.arange(len(sizes)), sizes), holdout.played_after.indices
    cells = rows, labels[songs]
    logs = np.log(shares[cells]) + np.log(weights[songs]) - np.log(left[cells])
    return np.asarray(np.bincount(rows, weights=logs, minlength=len(sizes)) / np.maximum(sizes, 1))


def measure_stability(points: NDArray[np.float32], n_clusters: int, seed: int) -> float:
    """Adjusted Rand index between two clusterings, each fitted on a random half of the songs."""
    order = np.random.default_rng(seed).permutation(len(points))
    half = len(points) // 2
    halves = (np.sort(order[:half]), np.sort(order[half:]))
    first, second = (fit_clusters(points[rows], n_clusters=n_clusters, seed=seed) for rows in halves)
    return adjusted_rand_index(first.predict(points), second.predict(points))


def adjusted_rand_index(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Agreement of two clusterings: 1 if they are identical, 0 on average for random ones.

    Source:
        Hubert and Arabie, "Comparing partitions", Journal of Classification 1985.
    """
    table = np.zeros((int(first.max(initial=0)) + 1, int(second.max(initial=0)) + 1))
    np.add.at(table, (first, second), 1)
    in_both, in_first, in_second = (
        _count_pairs(sizes) for sizes in (table, table.sum(axis=1), table.sum(axis=0))
    )
    expected = in_first * in_second / max(_count_pairs(np.array([len(first)])), 1)
    most = (in_first + in_second) / 2
    return 1.0 if most == expected else (in_both - expected) / (most - expected)


def apply_selection_rule(
    scores: Sequence[ClusterCountScore], default: int, listeners: int
) -> tuple[int, str]:
    """The chosen number of clusters, and a sentence that states the deciding rule."""
    if listeners < FEWEST_LISTENERS:
        return _choose_without_likelihood(scores, default, listeners)
    near = _within_standard_error(scores)
    stable = [score for score in near if _is_stable(score)]
    chosen = min(score.n_clusters for score in stable or near)
    best = min(scores, key=lambda score: score.behind).n_clusters
    some_are_unstable = 0 < len(stable) < len(near)
    if chosen == best:
        smaller = "smaller stable number" if some_are_unstable else "smaller number"
        rule = f"{best} clusters have the highest likelihood of what {listeners} listeners played next"
        rule += f", and no {smaller} is within one standard error."
    else:
        rule = f"The smallest number within one standard error of {best}, which has the highest likelihood "
        rule += f"of what {listeners} listeners played next."
    if some_are_unstable:
        rule += f" Unstable numbers (stability below {LEAST_STABILITY:g}) were left out."
    return chosen, rule if stable else (
        f"{rule} No number within one standard error is stable (stability below {LEAST_STABILITY:g})."
    )


def _choose_without_likelihood(
    scores: Sequence[ClusterCountScore], default: int, listeners: int
) -> tuple[int, str]:
    few = f"Only {listeners} listeners played a new song next (at least {FEWEST_LISTENERS} are needed)"
    stable = [score for score in scores if _is_stable(score)]
    if not stable:
        return default, f"{few} and no number is stable: the default for the size of the catalogue."
    best = max(stable, key=lambda score: (score.silhouette, -score.n_clusters))
    return best.n_clusters, f"{few}: the stable number with the best silhouette."


def _within_standard_error(scores: Sequence[ClusterCountScore]) -> list[ClusterCountScore]:
    return [score for score in scores if score.behind <= score.error]


def _is_stable(score: ClusterCountScore) -> bool:
    return score.stability is not None and score.stability >= LEAST_STABILITY


def _score_by_likelihood(
    likelihoods: dict[int, NDArray[np.float64]], sample: NDArray[np.float32], fitted: dict[int, Clusters]
) -> list[ClusterCountScore]:
    best = max(likelihoods.values(), key=lambda values: float(values.mean()))
    scores = []
    for k, values in likelihoods.items():
        behind = best - values
        error = float(behind.std(ddof=1)) / math.sqrt(len(behind))
        likelihood, silhouette = float(values.mean()), _silhouette(sample, fitted[k])
        scores.append(ClusterCountScore(k, likelihood, float(behind.mean()), error, silhouette))
    return scores


def _silhouette(points: NDArray[np.float32], clusters: Clusters) -> float:
    return float(silhouettes(points, clusters).mean()) if clusters.n_clusters > 1 else 0.0


def _count_pairs(sizes: NDArray[np.float64]) -> float:
    return float((sizes * (sizes - 1) / 2).sum())


def _round_floats(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in fields.items()}
