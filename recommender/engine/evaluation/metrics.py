"""Ranking metrics: lists against later plays. An empty position holds -1."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

LIST_LENGTH: Final = 20  # number of songs evaluated per list
FEWEST_LISTENERS: Final = 30  # with fewer listeners metrics are mostly chance


def mark_hits(lists: NDArray[np.int32], test: csr_array) -> NDArray[np.bool_]:
    """Mask that is True for positions whose song the listener played in `test`; shape of `lists`."""
    listeners, places = lists.shape
    songs = test.shape[1]
    played = np.repeat(np.arange(listeners, dtype=np.int64), np.diff(test.indptr)) * songs + test.indices
    recommended = np.arange(listeners, dtype=np.int64)[:, np.newaxis] * songs + lists
    return np.isin(recommended, played).reshape(listeners, places) & (lists >= 0)


def ndcg(lists: NDArray[np.int32], test: csr_array) -> NDArray[np.float64]:
    """Normalised discounted cumulative gain, shape (n_listeners,); NaN without a test play.

    DCG is the sum of 1 / log2(rank + 1) over hits; the ideal list starts with min(n, test songs) hits.

    Source:
        Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002.
    """
    gains = 1 / np.log2(np.arange(lists.shape[1]) + 2)
    reachable = np.minimum(np.diff(test.indptr), lists.shape[1])
    ideal = np.concatenate([[0.0], np.cumsum(gains)])[reachable]
    return _per_listener((mark_hits(lists, test) * gains).sum(axis=1), ideal)


def recall(lists: NDArray[np.int32], test: csr_array) -> NDArray[np.float64]:
    """Recall (hits / test songs) of each list, shape (n_listeners,); NaN without a test play."""
    return _per_listener(mark_hits(lists, test).sum(axis=1).astype(np.float64), np.diff(test.indptr))


def coverage(lists: NDArray[np.int32], n_songs: int) -> float:
    """Share of all songs in at least one list; 0 for an empty catalogue."""
    return len(np.unique(lists[lists >= 0])) / n_songs if n_songs else 0.0


def diversity(lists: NDArray[np.int32], groups: NDArray[np.int32]) -> float:
    """Mean share of a list's song pairs that differ in group, such as artist; NaN without such pairs."""
    # A list of n songs, m of them in a group, has the value 1 - sum over groups of m (m - 1) / (n (n - 1)):
    # the Gini-Simpson index without replacement.
    values = []
    for row in lists:
        songs = row[row >= 0]
        n = len(songs)
        if n > 1:
            members = np.unique(groups[songs], return_counts=True)[1]
            values.append(1 - float((members * (members - 1)).sum()) / (n * (n - 1)))
    return float(np.mean(values)) if values else float("nan")


def _per_listener(
    part: NDArray[np.float64], whole: NDArray[np.float64] | NDArray[np.int64]
) -> NDArray[np.float64]:
    values = np.full(len(part), np.nan)
    np.divide(part, whole, out=values, where=np.asarray(whole) > 0)
    return values
