"""What a listener likes: each cluster's share of what they play, recent plays counting more."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

HALF_LIFE_DAYS: Final = 90.0  # days
SKIP_WEIGHT: Final = 1.0  # a skip takes back one play
SECONDS_PER_DAY: Final = 86_400.0  # seconds


def recency_weights(
    played_at: NDArray[np.float64], now: float, *, half_life_days: float = HALF_LIFE_DAYS
) -> NDArray[np.float32]:
    """What a play counts for: 1 now, half as much after every half-life; shape of `at`.

    Args:
        at: seconds since 1970; a play in the future counts as one now.
        half_life: days.
    """
    age = np.maximum(now - played_at, 0) / SECONDS_PER_DAY
    return np.asarray(0.5 ** (age / half_life_days), dtype=np.float32)


def cluster_affinities(
    plays: csr_array, labels: NDArray[np.int32], n_clusters: int, skips: csr_array | None = None
) -> NDArray[np.float32]:
    """Shape (n_listeners, n_clusters): shares of engagement; rows sum to 1.

    Args:
        plays: shape (n_listeners, n_songs), weighted plays.
        labels: shape (n_songs,), each song's cluster.
        skips: shape (n_listeners, n_songs), skips and dislikes: they count against the song's cluster, which
            has no share rather than a negative one.

    A listener of whom nothing is known, or who skipped all they played, likes all clusters alike.
    """
    engaged = sum_by_cluster(plays, labels, n_clusters)
    if skips is not None:
        engaged = np.maximum(engaged - SKIP_WEIGHT * sum_by_cluster(skips, labels, n_clusters), 0)
    sums = engaged.sum(axis=1, keepdims=True)
    even = 1 / max(1, n_clusters)
    return np.where(sums > 0, engaged / np.where(sums > 0, sums, 1), even).astype(np.float32)


def sum_by_cluster(matrix: csr_array, labels: NDArray[np.int32], n_clusters: int) -> NDArray[np.float64]:
    """Shape (n_listeners, n_clusters): the rows' values, added up over the songs of each cluster."""
    n = matrix.shape[0]
    rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
    cells = rows * n_clusters + labels[matrix.indices]
    sums = np.bincount(cells, weights=matrix.data, minlength=n * n_clusters).astype(np.float64)
    return sums.reshape(n, n_clusters)
