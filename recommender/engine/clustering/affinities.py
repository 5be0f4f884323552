"""Affinities: the share of a listener's engagement in each cluster."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

HALF_LIFE_DAYS: Final = 90.0
SKIP_WEIGHT: Final = 1.0  # as many skips as plays halve a cluster's engagement
LEAST_ENGAGEMENT: Final = 1e-300  # divides 0 by something
SECONDS_PER_DAY: Final = 86_400.0


def cluster_affinities(
    plays: csr_array, labels: NDArray[np.int32], n_clusters: int, skips: csr_array | None = None
) -> NDArray[np.float32]:
    """Each listener's share of engagement in each cluster, shape (n_listeners, n_clusters).

    Rows sum to 1, and are uniform without engagement.

    Args:
        skips: skips and dislikes, weighted like `plays`. The plays of a cluster are multiplied by
            plays / (plays + SKIP_WEIGHT * skips).
    """
    engaged = sum_by_cluster(plays, labels, n_clusters)
    if skips is not None:
        # A share and not a difference: 25 disliked songs must not erase the listener's favourite genre.
        skipped = SKIP_WEIGHT * sum_by_cluster(skips, labels, n_clusters)
        engaged = engaged * engaged / np.maximum(engaged + skipped, LEAST_ENGAGEMENT)
    sums = engaged.sum(axis=1, keepdims=True)
    uniform = 1 / max(1, n_clusters)
    return np.where(sums > 0, engaged / np.where(sums > 0, sums, 1), uniform).astype(np.float32)


def recency_weights(
    played_at: NDArray[np.float64], now: float, *, half_life_days: float = HALF_LIFE_DAYS
) -> NDArray[np.float32]:
    """The weight of each play by its age: 1 at `now` or later, halved after every half-life.

    Times are seconds since 1970.
    """
    age_days = np.maximum(now - played_at, 0) / SECONDS_PER_DAY
    return np.asarray(0.5 ** (age_days / half_life_days), dtype=np.float32)


def sum_by_cluster(matrix: csr_array, labels: NDArray[np.int32], n_clusters: int) -> NDArray[np.float64]:
    n = matrix.shape[0]
    rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
    cells = rows * n_clusters + labels[matrix.indices]
    sums = np.bincount(cells, weights=matrix.data, minlength=n * n_clusters).astype(np.float64)
    return sums.reshape(n, n_clusters)


def genre_shares_by_cluster(
    genres: csr_array, labels: NDArray[np.int32], n_clusters: int
) -> NDArray[np.float32]:
    n_songs = len(labels)
    one_hot = csr_array(
        (np.ones(n_songs, np.float32), (np.arange(n_songs), labels)), shape=(n_songs, n_clusters)
    )
    sizes = np.bincount(labels, minlength=n_clusters)
    return np.asarray((genres.T @ one_hot).toarray() / np.maximum(sizes, 1), dtype=np.float32)
