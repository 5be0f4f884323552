"""Groups of songs: K-means, its cohesion, and numbers that stay with a group from one model to the next."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from sklearn.cluster import KMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits

from recommender.engine.data import TooFewSongs

# Up to here all songs take part in every iteration; beyond, a sample finds the centres, and all songs then
# move them a few times: as good as iterating over all, at a sixth of the time (python -m benchmarks train).
SAMPLE_SIZE: Final = 40_000
SAMPLE_PER_CLUSTER: Final = 100
# Later steps move a sample's centres by less than the steps over all songs do.
SAMPLE_STEPS: Final = 30
SEEDING_STRIDE: Final = (
    4  # k-means++ looks at every fourth point of the sample: as good, at a quarter of the time
)
MAX_ITERATIONS: Final = 300
FINAL_STEPS: Final = 3
MOST_CLUSTERS: Final = 400
FEWEST_SONGS_PER_CLUSTER: Final = 20
SAME_CLUSTER_OVERLAP: Final = 0.5  # of two groups' songs together: shared by so many, they are the same group
BLOCK_POINTS: Final = 5_000  # points x 400 distances: they fit into a core's own memory
# Measures that compare groups with one another.
MULTI_CLUSTER_MEASURES: Final = (
    "silhouette_micro",
    "silhouette_macro",
    "davies_bouldin",
    "calinski_harabasz",
)


@dataclass(frozen=True)
class Clusters:
    """Centres of groups.

    Attributes:
        centers: shape (n_clusters, n_features), float32; each is the nearest one of some song fitted on.
        inertia: sum of squared distances of the songs to their centres.
        labels: shape (n_songs,), the nearest centre of each song they were fitted on.
        distances: shape (n_songs,), how far that is.
    """

    centers: NDArray[np.float32]
    inertia: float
    labels: NDArray[np.int32]
    distances: NDArray[np.float32]

    @property
    def n_clusters(self) -> int:
        return len(self.centers)

    def predict(self, points: NDArray[np.float32]) -> NDArray[np.int32]:
        """Shape (n_points,): the nearest centre of each, the first of equally near ones."""
        return assign_nearest(points, self.centers)[0]


def default_n_clusters(n_songs: int) -> int:
    """Twice the root of the number of songs, 400 at most, and 20 songs a group on average at least.

    200 of 10 000: with 71 or 100 the draw reached fewer songs, with 400 it lost accuracy (docs/decisions.md).
    """
    return max(1, min(MOST_CLUSTERS, round(2 * math.sqrt(n_songs)), n_songs // FEWEST_SONGS_PER_CLUSTER))


def fit_clusters(
    points: NDArray[np.float32], *, n_clusters: int, seed: int, start_labels: NDArray[np.int32] | None = None
) -> Clusters:
    """Group points by k-means++ and Lloyd's iterations.

    Args:
        points: shape (n_points, n_features), float32, scaled: k-means measures Euclidean distance, so that
            an unscaled column would decide alone.
        n_clusters: how many groups; fewer are made where there are fewer distinct points.
        seed: fixes the result; the same input and seed give the same bits, in any process.
        start: shape (n_points,), groups of the same points as they lay before, numbered from 0. Beyond the
            sample, and where they are as many as wanted, they are moved on: no new ones are looked for.

    Raises:
        TooFewSongs: there are no points.

    Source:
        Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """
    if not len(points):
        raise TooFewSongs("There are no songs to group.")
    # Adding 0 turns -0 into 0: k-means takes both for the same point, and so must the count of distinct ones.
    points = np.ascontiguousarray(points, dtype=np.float32) + np.float32(0)
    # One thread: sums that several threads share come out different in the last bit from run to run.
    with threadpool_limits(1):
        centers = _fit_centers(points, n_clusters, seed, start_labels)
        labels, squares = assign_nearest(points, centers)
    used, places = np.unique(labels, return_inverse=True)
    total = float(squares.sum(dtype=np.float64))
    return Clusters(centers[used], total, places.astype(np.int32), np.sqrt(squares))


def _fit_centers(
    points: NDArray[np.float32], n_clusters: int, seed: int, start_labels: NDArray[np.int32] | None
) -> NDArray[np.float32]:
    size = max(SAMPLE_SIZE, SAMPLE_PER_CLUSTER * n_clusters)
    if len(points) <= size:
        wanted = min(n_clusters, _count_distinct(points, n_clusters))
        fitted = KMeans(wanted, n_init=1, max_iter=MAX_ITERATIONS, random_state=seed).fit(points)
        return np.ascontiguousarray(fitted.cluster_centers_, dtype=np.float32)
    if start_labels is not None and int(start_labels.max()) + 1 == n_clusters:
        centers = cluster_means(points, start_labels, n_clusters)[0].astype(np.float32)
    else:
        chosen = np.random.default_rng(seed).choice(len(points), size, replace=False)
        centers = _centers_of_sample(points[np.sort(chosen)], n_clusters, seed)
    for _ in range(FINAL_STEPS):
        centers = _lloyd_step(points, centers)
    return centers


def _centers_of_sample(sample: NDArray[np.float32], n_clusters: int, seed: int) -> NDArray[np.float32]:
    few = sample[::SEEDING_STRIDE]
    if _count_distinct(few, n_clusters) < n_clusters:
        few = sample
    wanted = min(n_clusters, _count_distinct(few, n_clusters))
    centers, _ = kmeans_plusplus(few, wanted, random_state=seed)
    for _ in range(SAMPLE_STEPS):
        centers = _lloyd_step(sample, centers)
    return np.asarray(centers)


def assign_nearest(
    points: NDArray[np.float32], centers: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The nearest centre of each point, and the squared distance to it; shape (n_points,) each."""
    labels = _nearest_labels(points, centers)
    squares = np.empty(len(points), dtype=np.float32)
    for start in range(0, len(points), BLOCK_POINTS):
        block = slice(start, start + BLOCK_POINTS)
        # Exact, for the difference of large squares loses what lies near.
        squares[block] = ((points[block] - centers[labels[block]]) ** 2).sum(axis=1)
    return labels, squares


def cluster_means(
    points: NDArray[np.float32], labels: NDArray[np.int32], n_clusters: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The mean of each group's points, 0 for a group without any, and how many they are."""
    sums = np.zeros((n_clusters, points.shape[1]))
    for start in range(0, len(points), BLOCK_POINTS):
        block, groups = points[start : start + BLOCK_POINTS], labels[start : start + BLOCK_POINTS]
        # A product of sparse rows: a twentieth of the time of sorting the points by group.
        cells = (np.ones(len(block)), (groups, np.arange(len(block))))
        sums += csr_array(cells, shape=(n_clusters, len(block))) @ block.astype(np.float64)
    sizes = np.bincount(labels, minlength=n_clusters)
    return sums / np.maximum(sizes, 1)[:, np.newaxis], sizes


def measure_cohesion(points: NDArray[np.float32], clusters: Clusters) -> dict[str, Any]:
    """How well the groups hold together; JSON can hold it. None where a measure says nothing (one group).

    Inertia a song; R2 = 1 - inertia / total sum of squares; simplified silhouette: (b - a) / max(a, b), a
    the distance to the own centre and b to the next nearest one, averaged over songs (micro) and over
    groups (macro), with the five worst groups; Davies-Bouldin: the mean over groups of the largest
    (s_i + s_j) / d_ij; Calinski-Harabasz: between / within, each over its degrees of freedom; p99: the
    99th percentile of the distance, beyond which a new song is an outsider (`outside`).

    Raises:
        TooFewSongs: there are no points.

    Source:
        Hruschka et al., "Evolutionary algorithms for clustering gene-expression data", ICDM 2004
        (simplified silhouette); Davies and Bouldin 1979; Calinski and Harabasz 1974.
    """
    n, k = len(points), clusters.n_clusters
    if not n:
        raise TooFewSongs("There are no songs whose groups could hold together.")
    middle = points.mean(axis=0, dtype=np.float64)
    total = float(((points - middle) ** 2).sum(dtype=np.float64))
    found: dict[str, Any] = {
        "n_clusters": k,
        "inertia_per_song": clusters.inertia / n,
        "r2": 1 - clusters.inertia / total if total > 0 else None,
        "p99_distance": float(np.quantile(clusters.distances, 0.99)),
    }
    if k < 2:
        return found | {"worst": []} | dict.fromkeys(MULTI_CLUSTER_MEASURES)
    each = silhouettes(points, clusters)
    sizes = np.bincount(clusters.labels, minlength=k)
    by_group = np.bincount(clusters.labels, weights=each, minlength=k) / np.maximum(sizes, 1)
    worst = np.argsort(by_group, kind="stable")[:5]
    within = clusters.inertia / max(1, n - k)
    return found | {
        "silhouette_micro": float(each.mean()),
        "silhouette_macro": float(by_group[sizes > 0].mean()),
        "worst": [{"cluster": int(group), "silhouette": float(by_group[group])} for group in worst],
        "davies_bouldin": _davies_bouldin(clusters, sizes),
        "calinski_harabasz": (total - clusters.inertia) / (k - 1) / within if within > 0 else None,
    }


def share_outside(points: NDArray[np.float32], centers: NDArray[np.float32], p99_distance: float) -> float:
    """Share of the points further from their centre than 99 % of the songs learnt from; NaN without points.

    About .01 of songs like those; more where new songs are of a kind that no group holds.
    """
    if not len(points):
        return float("nan")
    return float((np.sqrt(assign_nearest(points, centers)[1]) > p99_distance).mean())


def match_cluster_ids(
    previous_labels: NDArray[np.int32],
    labels: NDArray[np.int32],
    previous_ids: NDArray[np.int32],
    *,
    n_clusters: int,
    next_id: int,
) -> NDArray[np.int32]:
    """Numbers for new groups: that of the old group they continue, else one never used before.

    Args:
        previous, labels: shape (n_songs,), of the same songs; -1 where one of them has no group.
        previous_ids: shape (n_previous,), number of each old group.
        n_clusters: how many new groups there are, some of them perhaps without a song.
        next_id: the first number never used.

    Returns:
        Shape (n_clusters,): a group keeps a number where half of both groups' songs together are shared.

    Source:
        Kuhn, "The Hungarian method for the assignment problem", 1955.
    """
    shared = np.zeros((len(previous_ids), n_clusters), dtype=np.int64)
    both = (previous_labels >= 0) & (labels >= 0)
    np.add.at(shared, (previous_labels[both], labels[both]), 1)
    old_sizes = np.bincount(previous_labels[previous_labels >= 0], minlength=len(previous_ids))[:, np.newaxis]
    new_sizes = np.bincount(labels[labels >= 0], minlength=n_clusters)[np.newaxis, :]
    overlap = shared / np.maximum(old_sizes + new_sizes - shared, 1)
    ids = np.full(n_clusters, -1, dtype=np.int32)
    for old, new in zip(*linear_sum_assignment(-overlap), strict=True):
        if overlap[old, new] >= SAME_CLUSTER_OVERLAP:
            ids[new] = previous_ids[old]
    fresh = ids < 0
    ids[fresh] = np.arange(next_id, next_id + int(fresh.sum()))
    return ids


def _count_distinct(points: NDArray[np.float32], enough: int) -> int:
    """How many different points there are, counted no further than needed."""
    seen: set[bytes] = set()
    for point in points:
        seen.add(point.tobytes())
        if len(seen) >= enough:
            break
    return len(seen)


def _lloyd_step(points: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.float32]:
    """One of Lloyd's steps over all points; a centre that has lost all of its points stays where it is."""
    means, sizes = cluster_means(points, _nearest_labels(points, centers), len(centers))
    return np.where(sizes[:, np.newaxis] > 0, means, centers).astype(np.float32)


def _nearest_labels(points: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.int32]:
    """The nearest centre of each point, the first of equally near ones."""
    labels = np.empty(len(points), dtype=np.int32)
    of_centers, doubled = (centers**2).sum(axis=1), np.float32(-2) * centers.T
    for start in range(0, len(points), BLOCK_POINTS):
        part = np.asarray(points[start : start + BLOCK_POINTS], dtype=np.float32) @ doubled
        part += of_centers
        labels[start : start + BLOCK_POINTS] = part.argmin(axis=1)
    return labels


def silhouettes(points: NDArray[np.float32], clusters: Clusters) -> NDArray[np.float64]:
    """Shape (n_points,): each point's simplified silhouette; there must be two centres or more."""
    each = np.empty(len(points))
    of_centers = (clusters.centers**2).sum(axis=1)
    for start in range(0, len(points), BLOCK_POINTS):
        block = points[start : start + BLOCK_POINTS]
        squares = (block**2).sum(axis=1)[:, np.newaxis] + of_centers - 2 * (block @ clusters.centers.T)
        own, other = np.sqrt(np.maximum(np.partition(squares, 1, axis=1)[:, :2].T, 0))
        each[start : start + BLOCK_POINTS] = (other - own) / np.maximum(other, 1e-12)
    return each


def _davies_bouldin(clusters: Clusters, sizes: NDArray[np.intp]) -> float | None:
    sums = np.bincount(clusters.labels, weights=clusters.distances, minlength=len(sizes))
    spread = sums / np.maximum(sizes, 1)
    centers = clusters.centers.astype(np.float64)
    apart = np.sqrt(np.maximum(((centers[:, None] - centers[None]) ** 2).sum(axis=2), 0))
    ratios = np.divide(spread[:, None] + spread, apart, out=np.zeros_like(apart), where=apart > 0)
    return float(ratios[sizes > 0].max(axis=1).mean())
