"""K-means, quality measures, and cluster ids that persist across models."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans, kmeans_plusplus

from recommender.engine.clustering.nearest_centers import (
    BLOCK_POINTS,
    assign_nearest,
    cluster_means,
    nearest_labels,
)
from recommender.engine.data import TooFewSongs
from recommender.engine.native_threads import one_native_thread

# Up to this size every iteration uses all songs. Above it the centers are fitted on a sample, then refined by
# FINAL_STEPS over all songs: equally good in a sixth of the time (python -m benchmarks train).
SAMPLE_SIZE: Final = 40_000
SAMPLE_PER_CLUSTER: Final = 100
SAMPLE_STEPS: Final = 30  # later steps move the centers less than the final steps over all songs do
SEEDING_STRIDE: Final = (
    4  # k-means++ on every fourth point of the sample: equally good, a quarter of the time
)
MAX_ITERATIONS: Final = 300
FINAL_STEPS: Final = 3
MOST_CLUSTERS: Final = 400
FEWEST_SONGS_PER_CLUSTER: Final = 20
SAME_CLUSTER_OVERLAP: Final = (
    0.5  # Jaccard index of two clusters' songs, from which they are the same cluster
)
# Undefined for a single cluster.
MULTI_CLUSTER_MEASURES: Final = (
    "silhouette_micro",
    "silhouette_macro",
    "davies_bouldin",
    "calinski_harabasz",
)


@dataclass(frozen=True)
class Clusters:
    centers: NDArray[np.float32]  # shape (n_clusters, n_features)
    inertia: float  # sum of squared distances of the songs to their centers
    labels: NDArray[np.int32]  # shape (n_songs,), each song's cluster
    distances: NDArray[np.float32]  # shape (n_songs,), each song's distance to its center

    @property
    def n_clusters(self) -> int:
        return len(self.centers)

    def predict(self, points: NDArray[np.float32]) -> NDArray[np.int32]:
        return assign_nearest(points, self.centers)[0]


def default_n_clusters(n_songs: int) -> int:
    """The default number of clusters: 2 sqrt(n_songs), at most 400, with 20 or more songs on average."""
    # Measured on 10 000 songs (200 clusters): with 71 or 100 the lists cover fewer songs, with 400 they lose
    # accuracy.
    return max(1, min(MOST_CLUSTERS, round(2 * math.sqrt(n_songs)), n_songs // FEWEST_SONGS_PER_CLUSTER))


def fit_clusters(
    points: NDArray[np.float32], *, n_clusters: int, seed: int, start_labels: NDArray[np.int32] | None = None
) -> Clusters:
    """Cluster points by K-means++ and Lloyd's iterations; the same input and seed give identical bits.

    Args:
        points: shape (n_points, d); scale the columns, because the widest one dominates distances.
        n_clusters: limited to the number of distinct points.
        start_labels: clusters of an earlier model; above the sample size they replace seeding.

    Raises:
        TooFewSongs: there are no points.

    Source:
        Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """
    if not len(points):
        raise TooFewSongs("There are no songs to cluster.")
    points = np.ascontiguousarray(points, dtype=np.float32)
    if _has_negative_zeros(points):
        # Adding 0 turns -0 into 0: equal for k-means, but different bytes for _count_distinct.
        points = points + np.float32(0)
    # One thread, because sums split over threads differ in the last bit from run to run.
    with one_native_thread():
        centers = _fit_centers(points, n_clusters, seed, start_labels)
        labels, squared = assign_nearest(points, centers)
    used, used_labels = np.unique(labels, return_inverse=True)
    inertia = float(squared.sum(dtype=np.float64))
    return Clusters(centers[used], inertia, used_labels.astype(np.int32), np.sqrt(squared))


def _fit_centers(
    points: NDArray[np.float32], n_clusters: int, seed: int, start_labels: NDArray[np.int32] | None
) -> NDArray[np.float32]:
    sample_size = max(SAMPLE_SIZE, SAMPLE_PER_CLUSTER * n_clusters)
    if len(points) <= sample_size:
        distinct = min(n_clusters, _count_distinct(points, n_clusters))
        fitted = KMeans(distinct, n_init=1, max_iter=MAX_ITERATIONS, random_state=seed).fit(points)
        return np.ascontiguousarray(fitted.cluster_centers_, dtype=np.float32)
    if start_labels is not None and int(start_labels.max()) + 1 == n_clusters:
        centers = cluster_means(points, start_labels, n_clusters)[0].astype(np.float32)
    else:
        sample = np.random.default_rng(seed).choice(len(points), sample_size, replace=False)
        centers = _centers_of_sample(points[np.sort(sample)], n_clusters, seed)
    for _ in range(FINAL_STEPS):
        centers = _lloyd_step(points, centers)
    return centers


def _centers_of_sample(sample: NDArray[np.float32], n_clusters: int, seed: int) -> NDArray[np.float32]:
    seeding_points = sample[::SEEDING_STRIDE]
    if _count_distinct(seeding_points, n_clusters) < n_clusters:
        seeding_points = sample
    distinct = min(n_clusters, _count_distinct(seeding_points, n_clusters))
    centers, _ = kmeans_plusplus(seeding_points, distinct, random_state=seed)
    for _ in range(SAMPLE_STEPS):
        centers = _lloyd_step(sample, centers)
    return np.asarray(centers)


def measure_cohesion(points: NDArray[np.float32], clusters: Clusters) -> dict[str, Any]:
    """Quality measures by name; a value is None if a single cluster leaves it undefined.

    Raises:
        TooFewSongs: there are no points.

    Source:
        Hruschka et al., "Evolutionary algorithms for clustering gene-expression data", ICDM 2004
        (simplified silhouette); Davies and Bouldin 1979; Calinski and Harabasz 1974.
    """
    n, k = len(points), clusters.n_clusters
    if not n:
        raise TooFewSongs("There are no songs to measure the cohesion of.")
    total = _sum_squared_deviations(points)
    measures: dict[str, Any] = {
        "n_clusters": k,
        # `r2` is the explained share of the variance.
        "inertia_per_song": clusters.inertia / n,
        "r2": 1 - clusters.inertia / total if total > 0 else None,
        "p99_distance": float(np.quantile(clusters.distances, 0.99)),
    }
    if k < 2:
        return measures | {"worst": []} | dict.fromkeys(MULTI_CLUSTER_MEASURES)
    by_song = silhouettes(points, clusters)
    sizes = np.bincount(clusters.labels, minlength=k)
    by_cluster = np.bincount(clusters.labels, weights=by_song, minlength=k) / np.maximum(sizes, 1)
    worst = np.argsort(by_cluster, kind="stable")[:5]
    within = clusters.inertia / max(1, n - k)
    return measures | {
        # Simplified silhouette (b - a) / max(a, b), a and b the distances to the own and the next center;
        # micro: mean over songs, macro: over clusters.
        "silhouette_micro": float(by_song.mean()),
        "silhouette_macro": float(by_cluster[sizes > 0].mean()),
        "worst": [{"cluster": int(label), "silhouette": float(by_cluster[label])} for label in worst],
        # Mean over clusters of max (s_i + s_j) / d_ij.
        "davies_bouldin": _davies_bouldin(clusters, sizes),
        # Between / within variance, each over its degrees of freedom.
        "calinski_harabasz": (total - clusters.inertia) / (k - 1) / within if within > 0 else None,
    }


def match_cluster_ids(
    previous_labels: NDArray[np.int32],
    labels: NDArray[np.int32],
    previous_ids: NDArray[np.int32],
    *,
    n_clusters: int,
    next_id: int,
) -> NDArray[np.int32]:
    """Each new cluster's id: that of the previous cluster that it continues, or a new one.

    The matching is one to one, with the largest sum of the Jaccard indices of songs.

    Args:
        previous_labels, labels: clusters of the same songs; -1 for none.
        next_id: the smallest id that was never used.

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


def _blocks(points: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    return (points[start : start + BLOCK_POINTS] for start in range(0, len(points), BLOCK_POINTS))


def _has_negative_zeros(points: NDArray[np.float32]) -> bool:
    return any((np.signbit(block) & (block == 0)).any() for block in _blocks(points))


def _sum_squared_deviations(points: NDArray[np.float32]) -> float:
    """Sum over the points of the squared distance to their mean."""
    mean = points.mean(axis=0, dtype=np.float64)
    # In blocks: the deviations of a million songs take 1.1 GB in double precision.
    return math.fsum(float(np.square(block - mean).sum()) for block in _blocks(points))


def _count_distinct(points: NDArray[np.float32], enough: int) -> int:
    seen: set[bytes] = set()
    for point in points:
        seen.add(point.tobytes())
        if len(seen) >= enough:
            break
    return len(seen)


def _lloyd_step(points: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.float32]:
    means, sizes = cluster_means(points, nearest_labels(points, centers), len(centers))
    return np.where(sizes[:, np.newaxis] > 0, means, centers).astype(np.float32)


def silhouettes(points: NDArray[np.float32], clusters: Clusters) -> NDArray[np.float64]:
    result = np.empty(len(points))
    center_norms = (clusters.centers**2).sum(axis=1)
    for start in range(0, len(points), BLOCK_POINTS):
        block = points[start : start + BLOCK_POINTS]
        squared = (block**2).sum(axis=1)[:, np.newaxis] + center_norms - 2 * (block @ clusters.centers.T)
        own, other = np.sqrt(np.maximum(np.partition(squared, 1, axis=1)[:, :2].T, 0))
        result[start : start + BLOCK_POINTS] = (other - own) / np.maximum(other, 1e-12)
    return result


def _davies_bouldin(clusters: Clusters, sizes: NDArray[np.intp]) -> float | None:
    sums = np.bincount(clusters.labels, weights=clusters.distances, minlength=len(sizes))
    mean_distances = sums / np.maximum(sizes, 1)
    centers = clusters.centers.astype(np.float64)
    between = np.sqrt(np.maximum(((centers[:, None] - centers[None]) ** 2).sum(axis=2), 0))
    pair_sums = mean_distances[:, None] + mean_distances
    ratios = np.divide(pair_sums, between, out=np.zeros_like(between), where=between > 0)
    return float(ratios[sizes > 0].max(axis=1).mean())
