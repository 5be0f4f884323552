"""Ranking, profile slices and play counts for all algorithms."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.item_similarity import binary_plays
from recommender.engine.data import Profiles, TrainingSet

BLOCK_CELLS = 20_000_000  # scores in memory at a time: 80 MB


def recommend_in_blocks(
    score: Callable[[Profiles], NDArray[np.float32]], profiles: Profiles, n: int, available: NDArray[np.bool_]
) -> NDArray[np.int32]:
    size = max(1, BLOCK_CELLS // max(1, len(available)))
    blocks = [slice_profiles(profiles, start, start + size) for start in range(0, profiles.n, size)]
    ranked = [top_n(score(block), exclusion_mask(block, available), n) for block in blocks]
    return np.concatenate(ranked) if ranked else np.empty((0, n), dtype=np.int32)


def top_n(scores: NDArray[np.float32], excluded: NDArray[np.bool_], n: int) -> NDArray[np.int32]:
    """Each row's n best allowed songs, best first, shape (rows, n); the lower column wins ties.

    NaN ranks last. A row ends in -1 if fewer than n songs are allowed.
    """
    rows, songs = scores.shape
    ranked = np.full((rows, n), -1, dtype=np.int32)
    # Excluded songs are known by the mask, because -inf is also a valid score.
    scores = np.where(excluded | np.isnan(scores), -np.inf, scores)
    kept = min(n, songs)
    if kept == 0:
        return ranked
    for row in range(rows):
        best = _best_of_row(scores[row], excluded[row], kept)
        ranked[row, : len(best)] = best
    return ranked


def _best_of_row(scores: NDArray[np.float32], excluded: NDArray[np.bool_], n: int) -> NDArray[np.intp]:
    n = min(n, len(scores) - int(excluded.sum()))
    if n == 0:
        return np.empty(0, dtype=np.intp)
    if n < len(scores):
        # All songs that tie with the n-th best, so that the column decides and not the partition.
        nth_best = np.partition(scores, len(scores) - n)[len(scores) - n]
        contenders = np.flatnonzero((scores >= nth_best) & ~excluded)
    else:
        contenders = np.flatnonzero(~excluded)
    order = np.lexsort((contenders, -scores[contenders]))
    return contenders[order][:n]


def exclusion_mask(profiles: Profiles, available: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mask that is True for played, excluded and unavailable songs; shape (profiles.n, n_songs)."""
    mask = np.repeat(~available[np.newaxis, :], profiles.n, axis=0)
    for matrix in (profiles.plays, profiles.excluded):
        if matrix is not None:
            rows = np.repeat(np.arange(profiles.n), np.diff(matrix.indptr))
            mask[rows, matrix.indices] = True
    return mask


def slice_profiles(profiles: Profiles, start: int, stop: int) -> Profiles:
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


def all_plays(training: TrainingSet) -> csr_array:
    plays = csr_array(training.plays, dtype=np.float32)
    return plays if training.tuning is None else csr_array(plays + training.tuning, dtype=np.float32)


def count_listeners(plays: csr_array) -> NDArray[np.float32]:
    return np.bincount(binary_plays(plays).indices, minlength=plays.shape[1]).astype(np.float32)


def log_plays(plays: csr_array) -> csr_array:
    scaled = csr_array(plays, dtype=np.float32, copy=True)
    scaled.data = np.log1p(np.maximum(scaled.data, 0))
    return scaled


def stable_order(numbers: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """As `argsort(kind="stable")`, for numbers from 0 on in a fifth of the time.

    numpy sorts whole numbers with vector instructions, but not stably: each number is sorted with its place.
    """
    bits = len(numbers).bit_length()
    if len(numbers) and numbers.min() >= 0 and int(numbers.max()) < 2 ** (63 - bits):
        both = np.sort(numbers.astype(np.int64) << bits | np.arange(len(numbers)))
        return both & (1 << bits) - 1
    return numbers.argsort(kind="stable")


def expand_ranges(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ranges of `sizes` numbers from `starts` on, joined: [5, 0] and [2, 3] give [5, 6, 0, 1, 2]."""
    ends = np.cumsum(sizes)
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)
