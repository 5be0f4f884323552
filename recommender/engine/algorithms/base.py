"""From scores to the best n songs: exactly n, in a decided order."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.item_similarity import binary_plays
from recommender.engine.data import Profiles, TrainingSet


def top_n(scores: NDArray[np.float32], excluded: NDArray[np.bool_], n: int) -> NDArray[np.int32]:
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
    allowed = np.where(excluded | np.isnan(scores), -np.inf, scores)
    kept = min(n, songs)
    if kept == 0:
        return ranked
    for row in range(rows):
        best = _best_of_row(allowed[row], excluded[row], kept)
        ranked[row, : len(best)] = best
    return ranked


def _best_of_row(scores: NDArray[np.float32], excluded: NDArray[np.bool_], n: int) -> NDArray[np.intp]:
    wanted = len(scores) - int(excluded.sum())
    n = min(n, wanted)
    if n == 0:
        return np.empty(0, dtype=np.intp)
    if n < len(scores):
        least = np.partition(scores, len(scores) - n)[len(scores) - n]
        pool = np.flatnonzero((scores >= least) & ~excluded)
    else:
        pool = np.flatnonzero(~excluded)
    # Every song at the edge is in the pool, so that ties are decided by number, not by the partition's whim.
    order = np.lexsort((pool, -scores[pool]))
    return pool[order][:n]


BLOCK_CELLS = 20_000_000  # scores held at once: 80 MB


def all_plays(training: TrainingSet) -> csr_array:
    """Shape (n_listeners, n_songs): all plays known, those held out for tuning too."""
    plays = csr_array(training.plays, dtype=np.float32)
    return plays if training.tuning is None else csr_array(plays + training.tuning, dtype=np.float32)


def recommend_in_blocks(
    score: Callable[[Profiles], NDArray[np.float32]], profiles: Profiles, n: int, available: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Shape (profiles.n, n): the best by `score`, which is asked for a block of listeners at a time."""
    size = max(1, BLOCK_CELLS // max(1, len(available)))
    blocks = [slice_profiles(profiles, start, start + size) for start in range(0, profiles.n, size)]
    ranked = [top_n(score(block), exclusion_mask(block, available), n) for block in blocks]
    return np.concatenate(ranked) if ranked else np.empty((0, n), dtype=np.int32)


def slice_profiles(profiles: Profiles, start: int, stop: int) -> Profiles:
    """The listeners from `start` up to but without `stop`."""

    def cut(matrix: csr_array | None) -> csr_array | None:
        return None if matrix is None else matrix[start:stop]

    return Profiles(
        profiles.plays[start:stop],
        cut(profiles.recent),
        cut(profiles.skips),
        None if profiles.genres is None else profiles.genres[start:stop],
        None if profiles.keys is None else profiles.keys[start:stop],
        cut(profiles.excluded),
    )


def exclusion_mask(profiles: Profiles, available: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Shape (profiles.n, n_songs): heard, excluded or unavailable."""
    mask = np.repeat(~available[np.newaxis, :], profiles.n, axis=0)
    for matrix in (profiles.plays, profiles.excluded):
        if matrix is not None:
            rows = np.repeat(np.arange(profiles.n), np.diff(matrix.indptr))
            mask[rows, matrix.indices] = True
    return mask


def count_listeners(plays: csr_array) -> NDArray[np.float32]:
    """Shape (n_songs,): how many listeners have played each song."""
    return np.bincount(binary_plays(plays).indices, minlength=plays.shape[1]).astype(np.float32)


def log_plays(plays: csr_array) -> csr_array:
    """The plays with log(1 + count) in place of each count."""
    scaled = csr_array(plays, dtype=np.float32, copy=True)
    scaled.data = np.log1p(np.maximum(scaled.data, 0))
    return scaled


def _as_bool(array: NDArray[np.generic]) -> NDArray[np.bool_]:
    return array.astype(np.bool_, copy=False)
