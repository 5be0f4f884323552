"""From scores to the best n songs: exactly n, in a decided order."""

import numpy as np
from numpy.typing import NDArray


def top_n(scores: NDArray[np.float32], unwanted: NDArray[np.bool_], n: int) -> NDArray[np.int32]:
    """The best n songs of each row.

    Args:
        scores: shape (rows, n_songs); NaN counts as the least.
        unwanted: shape (rows, n_songs), songs that may not be ranked.

    Returns:
        Shape (rows, n): songs by falling score, equal ones by their number; a row ends in -1 only where
        fewer than n songs are wanted.
    """
    rows, songs = scores.shape
    ranked = np.full((rows, n), -1, dtype=np.int32)
    # -inf is a score that a model may give; what is unwanted is told apart by a mask.
    allowed = np.where(unwanted | np.isnan(scores), -np.inf, scores)
    kept = min(n, songs)
    if kept == 0:
        return ranked
    for row in range(rows):
        best = _best(allowed[row], unwanted[row], kept)
        ranked[row, : len(best)] = best
    return ranked


def _best(scores: NDArray[np.float32], unwanted: NDArray[np.bool_], n: int) -> NDArray[np.intp]:
    wanted = len(scores) - int(unwanted.sum())
    n = min(n, wanted)
    if n == 0:
        return np.empty(0, dtype=np.intp)
    if n < len(scores):
        least = np.partition(scores, len(scores) - n)[len(scores) - n]
        pool = np.flatnonzero((scores >= least) & ~unwanted)
    else:
        pool = np.flatnonzero(~unwanted)
    # Every song at the edge is in the pool, so that ties are decided by number, not by the partition's whim.
    order = np.lexsort((pool, -scores[pool]))
    return pool[order][:n]
