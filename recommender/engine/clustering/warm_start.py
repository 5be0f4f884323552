"""Warm start of K-means from the clusters of an earlier model."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.clustering.kmeans import Clusters
from recommender.engine.clustering.nearest_centers import assign_nearest, squared_distances
from recommender.engine.native_threads import one_native_thread

WARM_START_STEPS: Final = (
    3  # good clusters move little: more steps carry songs back and forth between neighbours
)
# A song moves only if another center's squared distance is smaller by this share. Co-listening is noisy:
# without the margin 21 % of the demo's songs change clusters every week; with it 3 %, for 4 % more inertia.
STAY_MARGIN: Final = 0.2
UNASSIGNED: Final = -1  # label of a song that the earlier model did not have


def warm_start_clusters(
    points: NDArray[np.float32], labels: NDArray[np.integer], n_clusters: int
) -> Clusters:
    """Run K-means from earlier labels; a song moves only if another center is clearly nearer.

    A cluster without songs keeps its number.

    Raises:
        ValueError: every song is UNASSIGNED.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    current = labels.astype(np.int32)
    if not (current != UNASSIGNED).any():
        raise ValueError("A warm start needs at least one song that the earlier model has clustered.")
    # One thread, because sums split over threads differ in the last bit from run to run.
    with one_native_thread():
        for _ in range(WARM_START_STEPS):
            # From the labels, because the axes of the feature space change with every training.
            centers, non_empty = _cluster_centers(points, current, n_clusters)
            current = _reassign(points, centers, non_empty, current)
        centers, _ = _cluster_centers(points, current, n_clusters)
    squared = squared_distances(points, centers, current)
    return Clusters(centers, float(squared.sum(dtype=np.float64)), current, np.sqrt(squared))


def _cluster_centers(
    points: NDArray[np.float32], labels: NDArray[np.int32], n_clusters: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    assigned = labels != UNASSIGNED
    # Not `cluster_means`, whose sums differ in the last bit; stored models must stay reproducible.
    sums = np.zeros((n_clusters, points.shape[1]), dtype=np.float64)
    np.add.at(sums, labels[assigned], points[assigned])
    sizes = np.bincount(labels[assigned], minlength=n_clusters)
    return (sums / np.maximum(sizes, 1)[:, np.newaxis]).astype(np.float32), np.flatnonzero(sizes)


def _reassign(
    points: NDArray[np.float32],
    centers: NDArray[np.float32],
    non_empty: NDArray[np.int64],
    labels: NDArray[np.int32],
) -> NDArray[np.int32]:
    nearest, nearest_squared = assign_nearest(points, np.ascontiguousarray(centers[non_empty]))
    best = non_empty[nearest].astype(np.int32)
    assigned = labels != UNASSIGNED
    own_squared = squared_distances(points, centers, np.where(assigned, labels, best))
    stays = assigned & (nearest_squared > (1 - STAY_MARGIN) * own_squared)
    return np.where(stays, labels, best).astype(np.int32)
