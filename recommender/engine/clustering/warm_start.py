"""Last week's groups carried on: from where they were, with this week's songs."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recommender.engine.clustering.kmeans import BLOCK_POINTS, Clusters, assign_nearest

# Groups that were found well move little: more steps carry songs back and forth between neighbours.
WARM_START_STEPS: Final = 3
# A song moves where another middle is nearer by this share of the squared distance. Co-listening is noisy:
# without it 21 % of the demo's songs change groups every week; with it 3 %, for 4 % more inertia.
STAY_MARGIN: Final = 0.2
UNASSIGNED: Final = -1  # label of a song that last week's model did not know


def warm_start_clusters(
    points: NDArray[np.float32], labels: NDArray[np.integer], n_clusters: int
) -> Clusters:
    """K-means from the middles of the groups as they were, in this week's space; songs stay unless sure.

    The middles are computed anew, for an axis of co-listening may point elsewhere every week: what stays is
    who was together. A group of which no song is left stays empty, and keeps its number.

    Args:
        points: shape (n_songs, d).
        labels: shape (n_songs,), the group of each song so far; NEW for one that had none.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    now = labels.astype(np.int32)
    if not (now != UNASSIGNED).any():
        raise ValueError("No song of these groups is left to carry them on.")
    # One thread: sums that several threads share come out different in the last bit from run to run.
    with threadpool_limits(1):
        for _ in range(WARM_START_STEPS):
            centers, filled = _cluster_centers(points, now, n_clusters)
            now = _reassign(points, centers, filled, now)
        centers, _ = _cluster_centers(points, now, n_clusters)
    squares = _squared_distances(points, centers, now)
    return Clusters(centers, float(squares.sum(dtype=np.float64)), now, np.sqrt(squares))


def _cluster_centers(
    points: NDArray[np.float32], labels: NDArray[np.int32], n_clusters: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Each group's middle, 0 for an empty one, and the groups that are not empty."""
    known = labels != UNASSIGNED
    sums = np.zeros((n_clusters, points.shape[1]), dtype=np.float64)
    np.add.at(sums, labels[known], points[known])
    sizes = np.bincount(labels[known], minlength=n_clusters)
    return (sums / np.maximum(sizes, 1)[:, np.newaxis]).astype(np.float32), np.flatnonzero(sizes)


def _reassign(
    points: NDArray[np.float32],
    centers: NDArray[np.float32],
    filled: NDArray[np.int64],
    labels: NDArray[np.int32],
) -> NDArray[np.int32]:
    found, squares = assign_nearest(points, np.ascontiguousarray(centers[filled]))
    best = filled[found].astype(np.int32)
    known = labels != UNASSIGNED
    own = _squared_distances(points, centers, np.where(known, labels, best))
    stays = known & (squares > (1 - STAY_MARGIN) * own)
    return np.where(stays, labels, best).astype(np.int32)


def _squared_distances(
    points: NDArray[np.float32], centers: NDArray[np.float32], labels: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Squared distance of each point to the middle of its group, a block at a time."""
    blocks = [
        ((points[start : start + BLOCK_POINTS] - centers[labels[start : start + BLOCK_POINTS]]) ** 2).sum(
            axis=1
        )
        for start in range(0, len(points), BLOCK_POINTS)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.float32)
