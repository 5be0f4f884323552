"""Which songs go with which, learnt from who plays what: sparse song-to-song weights.

Entry (i, j) of every matrix here says how much a listener of song i is drawn to song j, so that a listener's
row of plays times the matrix scores all songs at once.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_array, diags_array

from recommender.engine.data import EngineError, TooFewPlays
from recommender.engine.parallel import Submit, submit_inline

NEIGHBOURS_PER_SONG = 200  # measured on two sets: 100 loses up to 1 %, 400 gains nothing
BLOCK_PRODUCTS = 4_000_000  # multiplications in a block of rows: about 100 MB at its widest
MOST_SONGS_PER_LISTENER = 1_000  # one listener of 100 000 songs would alone cost 10^10 multiplications
PARTITION_CELLS = 100_000  # values whose k largest are found by one call: they fit into a core's own memory
MOST_EASE_SONGS = 20_000  # beyond, its dense matrix no longer fits: 1.6 GB at 20 000 songs


class TooManySongs(EngineError):
    """There are too many songs for a method that compares all with all."""


WeightFunction = Callable[[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]], NDArray[np.float32]]


def binary_plays(plays: csr_array) -> csr_array:
    """The plays as 1 and nothing, float32, in ascending order within each row."""
    ones = csr_array(plays, dtype=np.float32, copy=True)
    ones.sum_duplicates()
    ones.eliminate_zeros()
    ones.data[:] = 1
    return ones


def limit_songs(plays: csr_array, most: int = MOST_SONGS_PER_LISTENER) -> csr_array:
    """The plays with each listener's `most` most played songs only; ties: smaller song index first."""
    if not len(plays.indptr) or np.diff(plays.indptr).max(initial=0) <= most:
        return plays
    return keep_best(plays, most, by=lambda data: data)


def keep_best(
    matrix: csr_array, k: int, by: Callable[[NDArray[np.float32]], NDArray[np.float32]] = np.abs
) -> csr_array:
    """Each row's k entries that are largest by `by`; columns ascend, ties: smaller column first."""
    values, starts = by(matrix.data), matrix.indptr
    edges = _kth_largest(values, starts, k)
    at_edge = np.repeat(edges, np.diff(starts))
    kept = values > at_edge
    above = np.diff(np.searchsorted(np.flatnonzero(kept), starts))
    # Of those as large as the k-th, as many as there is room for.
    level = np.flatnonzero(values == at_edge)
    firsts = np.searchsorted(level, starts)
    order = np.arange(len(level)) - np.repeat(firsts[:-1], np.diff(firsts))
    kept[level[order < np.repeat(k - above, np.diff(firsts))]] = True
    counts = np.minimum(above + np.diff(firsts), k)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


def _kth_largest(
    values: NDArray[np.float32], indptr: NDArray[np.integer[Any]], k: int
) -> NDArray[np.float32]:
    """Each row's k-th largest value; -inf where a row has no more than k."""
    widths = np.diff(indptr)
    edges = np.full(len(widths), -np.inf, dtype=np.float32)
    wide = np.flatnonzero(widths > k)
    # Rows of like width together: padded to the widest of them, many are parted by one call.
    wide = wide[np.argsort(widths[wide], kind="stable")]
    for batch in np.split(wide, np.flatnonzero(np.diff(np.cumsum(widths[wide]) // PARTITION_CELLS)) + 1):
        if not len(batch):
            continue
        width = int(widths[batch[-1]])
        places = np.arange(width) + indptr[batch][:, np.newaxis]
        beyond = np.arange(width) >= widths[batch][:, np.newaxis]
        rows = np.where(beyond, np.float32(-np.inf), values[np.minimum(places, len(values) - 1)])
        edges[batch] = np.partition(rows, width - k, axis=1)[:, width - k]
    return edges


def _largest_places(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    if len(values) <= k:
        return np.arange(len(values))
    edge = np.partition(values, len(values) - k)[len(values) - k]
    above = np.flatnonzero(values > edge)
    level = np.flatnonzero(values == edge)[: k - len(above)]
    return np.sort(np.concatenate([above, level]))


def rp3_weights(
    plays: csr_array, *, alpha: float = 0.7, beta: float = 0.4, k: int = NEIGHBOURS_PER_SONG
) -> csr_array:
    """Three steps at random, song to listener to song, with popular ends held back.

    Source:
        Paudel, Christoffel, Newell and Bernstein, "Updatable, accurate, diverse, and scalable recommendations
        for interactive applications", ACM TiiS 7(1), 2017 (RP3beta).
    """
    return submit_rp3_weights(plays, submit_inline, alpha=alpha, beta=beta, k=k)()


def submit_rp3_weights(
    plays: csr_array, submit: Submit, *, alpha: float = 0.7, beta: float = 0.4, k: int = NEIGHBOURS_PER_SONG
) -> Callable[[], csr_array]:
    """`rp3_weights`, begun: a function that brings them."""
    ones = binary_plays(limit_songs(plays))
    songs = np.bincount(ones.indices, minlength=ones.shape[1]).astype(np.float32)
    forth = _scaled_rows(csr_array(ones.T), alpha)
    back = _scaled_rows(ones, alpha)
    penalty = np.maximum(songs, 1) ** np.float32(-beta)
    return _best_products(forth, back, k, lambda rows, columns, values: values * penalty[columns], submit)


def knn_weights(plays: csr_array, *, shrink: float = 10.0, k: int = 50) -> csr_array:
    """Cosine between songs, shrunk where few listeners have both; each song keeps the k nearest to it.

    The k are chosen for each recommended song (column): chosen for each heard song (row) they lose 5 % on a
    set of many rare songs, because popular songs then push the rare ones out.

    Args:
        plays: taken as they are: give 1 and nothing, or logarithms of counts.
    """
    return submit_knn_weights(plays, submit_inline, shrink=shrink, k=k)()


def submit_knn_weights(
    plays: csr_array, submit: Submit, *, shrink: float = 10.0, k: int = 50
) -> Callable[[], csr_array]:
    """`knn_weights`, begun: a function that brings them."""
    kept = csr_array(limit_songs(plays), dtype=np.float32)
    squares = np.bincount(kept.indices, weights=kept.data.astype(np.float64) ** 2, minlength=kept.shape[1])
    norms = np.sqrt(squares).astype(np.float32)

    def shrunk(
        rows: NDArray[np.int32], columns: NDArray[np.int32], values: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return np.asarray(values / (norms[rows] * norms[columns] + np.float32(shrink)))

    nearest = _best_products(csr_array(kept.T), kept, k, shrunk, submit)
    return lambda: csr_array(nearest().T)


def ease_weights(plays: csr_array, *, penalty: float = 60.0) -> NDArray[np.float32]:
    """Dense (n_songs, n_songs): the best linear map from what was heard to what was heard, zero diagonal.

    Raises:
        TooManySongs: more than 20 000, whose matrix would be too large.
        TooFewPlays: nobody has heard anything.

    Source:
        Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019.
    """
    ones = binary_plays(plays)
    if ones.shape[1] > MOST_EASE_SONGS:
        raise TooManySongs(f"EASE takes at most {MOST_EASE_SONGS} songs, not {ones.shape[1]}")
    if ones.nnz == 0:
        raise TooFewPlays("EASE needs at least one play")
    gram = np.asarray((ones.T @ ones).toarray(order="F"), dtype=np.float32, order="F")
    gram[np.diag_indices_from(gram)] += np.float32(penalty)
    inverse = _invert_in_place(gram)
    inverse /= -np.diag(inverse).copy()
    np.fill_diagonal(inverse, 0)
    return inverse


def _invert_in_place(gram: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of a positive definite matrix, made in its own place: a second copy would not fit."""
    factor, failed = lapack.spotrf(gram, lower=1, clean=0, overwrite_a=1)
    inverse, singular = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed or singular:
        raise TooFewPlays("the songs' common plays cannot be inverted")
    for start in range(0, len(inverse), 1024):
        stop = start + 1024
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        corner = inverse[start:stop, start:stop]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
    return np.asarray(inverse)


def sparse_weights(dense: NDArray[np.float32], k: int) -> csr_array:
    """Each row's k largest entries by absolute value, as a sparse matrix."""
    blocks, indptr, width = [], [0], 0
    for row in np.ascontiguousarray(dense):
        columns = _largest_places(np.abs(row), k)
        columns = columns[row[columns] != 0]
        blocks.append((row[columns], columns.astype(np.int32)))
        width += len(columns)
        indptr.append(width)
    data = np.concatenate([values for values, _ in blocks]) if blocks else np.empty(0, dtype=np.float32)
    indices = np.concatenate([columns for _, columns in blocks]) if blocks else np.empty(0, dtype=np.int32)
    return csr_array((data, indices, np.array(indptr)), shape=dense.shape)


def _scaled_rows(matrix: csr_array, power: float) -> csr_array:
    """Rows that sum to 1, then each entry to the power given."""
    sums = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1e-12)
    scaled = csr_array(diags_array((1 / sums).astype(np.float32)) @ matrix)
    scaled.data **= np.float32(power)
    return scaled


def _best_products(
    left: csr_array, right: csr_array, k: int, weigh: WeightFunction, submit: Submit
) -> Callable[[], csr_array]:
    """The k largest of each row of `left @ right`, weighed and without the diagonal; a piece a block."""

    def piece(start: int, stop: int) -> csr_array:
        block = csr_array(left[start:stop] @ right)
        block.sort_indices()
        rows = np.repeat(np.arange(start, stop, dtype=np.int32), np.diff(block.indptr))
        weighed = weigh(rows, block.indices, block.data)
        weighed[rows == block.indices] = 0
        block.data = weighed.astype(np.float32, copy=False)
        block.eliminate_zeros()
        return keep_best(block, k)

    found = submit([partial(piece, start, stop) for start, stop in _blocks(left, right)])
    return lambda: _stack_rows(found(), (left.shape[0], right.shape[1]))


def _stack_rows(blocks: list[csr_array], shape: tuple[int, int]) -> csr_array:
    """The rows of the blocks, one block under the other."""
    data = np.concatenate([block.data for block in blocks])
    indices = np.concatenate([block.indices.astype(np.int32, copy=False) for block in blocks])
    widths = np.concatenate([np.diff(block.indptr) for block in blocks])
    # Of the same width as the indices, which would be copied otherwise.
    indptr = np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)
    return csr_array((data, indices, indptr), shape=shape)


def _blocks(left: csr_array, right: csr_array) -> Iterator[tuple[int, int]]:
    """First and last row of blocks that cost a few hundred MB at most."""
    reach = np.diff(right.indptr)
    costs = np.add.reduceat(np.append(reach[left.indices], 0), np.minimum(left.indptr[:-1], left.nnz))
    costs[np.diff(left.indptr) == 0] = 0
    chunk = np.cumsum(costs, dtype=np.int64) // BLOCK_PRODUCTS
    edges = np.flatnonzero(np.diff(chunk)) + 1
    yield from zip([0, *edges.tolist()], [*edges.tolist(), left.shape[0]], strict=True)
