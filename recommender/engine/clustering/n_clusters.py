"""Choose the number of clusters whose drawn lists best predict what listeners play next."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.clustering.kmeans import Clusters, fit_clusters, silhouettes
from recommender.engine.evaluation.metrics import FEWEST_LISTENERS

# Above this size the centers are fitted on a seeded sample: 2 to 5 s of a full training for any catalogue.
SAMPLE_SIZE: Final = 10_000
FEWEST_CLUSTERS: Final = 8  # with fewer, clusters say nothing: R2 .03 with 2 clusters of 800 songs
MOST_CLUSTERS: Final = 400
GRID_RATIO: Final = math.sqrt(2)
GRID_STEPS: Final = range(-2, 3)  # from half the default to twice the default
# A number whose lists cover less than this share of the songs that the best number's lists cover is left out.
LEAST_COVERAGE: Final = 0.9


@dataclass(frozen=True)
class DrawQuality:
    ndcg: NDArray[np.float64]  # of each listener; NaN without a play in the held-out week
    coverage: float  # share of all songs that are in at least one list


# From labels, shape (n_songs,), and the number of clusters to the quality of the drawn lists.
DrawEvaluation = Callable[[NDArray[np.int32], int], DrawQuality]


@dataclass(frozen=True)
class ClusterCountScore:
    n_clusters: int
    ndcg: float | None  # NDCG@20 of drawn lists on the held-out week; None: too few listeners
    behind: float  # the best number's NDCG minus this one, paired by listener; 0 for the best
    error: float  # standard error of `behind` over listeners
    coverage: float | None  # share of all songs that the drawn lists contain; None: too few listeners
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
    points: NDArray[np.float32],
    evaluate_draw: DrawEvaluation,
    *,
    listeners: int,
    default: int,
    seed: int,
) -> ClusterCountChoice:
    """The most stable number of clusters whose drawn lists are as good as the best number's.

    As good means NDCG within one standard error, and nine tenths of the coverage. Below 30 listeners the
    default decides.

    Args:
        points: shape (n_songs, d), computed only from plays before the held-out week.
        listeners: how many the lists are evaluated on.
    """
    random = np.random.default_rng(seed)
    sample = (
        points
        if len(points) <= SAMPLE_SIZE
        else points[np.sort(random.permutation(len(points))[:SAMPLE_SIZE])]
    )
    if listeners < FEWEST_LISTENERS:
        return ClusterCountChoice(default, _too_few_listeners(listeners), (), listeners, len(sample))
    fitted = {k: fit_clusters(sample, n_clusters=k, seed=seed) for k in n_clusters_grid(sample, default)}
    drawn = {k: evaluate_draw(clusters.predict(points), k) for k, clusters in fitted.items()}
    scores = _score_by_draw(drawn, sample, fitted)
    stability = {
        score.n_clusters: measure_stability(sample, score.n_clusters, seed) for score in _as_good(scores)
    }
    scores = [replace(score, stability=stability.get(score.n_clusters)) for score in scores]
    number, rule = apply_selection_rule(scores, default, listeners)
    return ClusterCountChoice(number, rule, tuple(scores), listeners, len(sample))


def n_clusters_grid(points: NDArray[np.float32], default: int) -> list[int]:
    """The numbers to try, ascending, from half to twice the default, within `n_clusters_bounds`."""
    low, high = n_clusters_bounds(len(np.unique(points, axis=0)))
    numbers = {round(default * GRID_RATIO**step) for step in GRID_STEPS}
    return sorted({min(max(number, low), high) for number in numbers})


def n_clusters_bounds(distinct_rows: int) -> tuple[int, int]:
    high = max(FEWEST_CLUSTERS, min(MOST_CLUSTERS, distinct_rows // 5))
    return min(FEWEST_CLUSTERS, distinct_rows), min(high, distinct_rows)


def measure_stability(points: NDArray[np.float32], n_clusters: int, seed: int) -> float:
    """Adjusted Rand index between clusterings fitted on two random halves of the songs."""
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
    """The chosen number, and a sentence with the rule that decided."""
    best = min(scores, key=lambda score: score.behind)
    near = _as_good(scores)
    # Stability to the nearest tenth: its own standard error is about that much.
    chosen = min(
        near,
        key=lambda score: (
            -round(score.stability or 0.0, 1), abs(math.log(score.n_clusters / default)), score.n_clusters
        ),
    )  # fmt: skip
    basis = f"lists drawn for what {listeners} listeners played next (NDCG@20 {best.ndcg:.4f})"
    if len(near) == 1:
        return chosen.n_clusters, f"{chosen.n_clusters} clusters give the best {basis}."
    others = ", ".join(str(score.n_clusters) for score in near)
    return chosen.n_clusters, (
        f"{others} clusters give equally good {basis}: {chosen.n_clusters} is the most stable of them, or "
        f"the nearest to the default of {default}."
    )


def _too_few_listeners(listeners: int) -> str:
    return (
        f"Only {listeners} listeners played a new song next (at least {FEWEST_LISTENERS} are needed): the "
        "default for the size of the catalogue."
    )


def _as_good(scores: Sequence[ClusterCountScore]) -> list[ClusterCountScore]:
    widest = max(score.coverage or 0.0 for score in scores)
    return [
        score
        for score in scores
        if score.behind == 0
        or (score.behind <= score.error and (score.coverage or 0.0) >= LEAST_COVERAGE * widest)
    ]


def _score_by_draw(
    drawn: Mapping[int, DrawQuality], sample: NDArray[np.float32], fitted: Mapping[int, Clusters]
) -> list[ClusterCountScore]:
    counted = {k: one.ndcg[np.isfinite(one.ndcg)] for k, one in drawn.items()}
    best = max(counted.values(), key=lambda values: float(values.mean()))
    scores = []
    for k, values in counted.items():
        behind = best - values
        error = float(behind.std(ddof=1)) / math.sqrt(len(behind))
        silhouette = _silhouette(sample, fitted[k])
        scores.append(
            ClusterCountScore(
                k, float(values.mean()), max(0.0, float(behind.mean())), error, drawn[k].coverage, silhouette
            )
        )
    return scores


def _silhouette(points: NDArray[np.float32], clusters: Clusters) -> float:
    return float(silhouettes(points, clusters).mean()) if clusters.n_clusters > 1 else 0.0


def _count_pairs(sizes: NDArray[np.float64]) -> float:
    return float((sizes * (sizes - 1) / 2).sum())


def _round_floats(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in fields.items()}
