"""Which songs go with which, learnt from who plays what: sparse song-to-song weights.

Entry (i, j) of every matrix here says how much a listener of song i is drawn to song j, so that a listener's
row of plays times the matrix scores all songs at once.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_array, diags_array

from recommender.engine.catalogue import EngineError, TooFewPlays

NEIGHBOURS = 200  # measured on two sets: 100 loses up to 1 %, 400 gains nothing
BLOCK_PRODUCTS = 8_000_000  # multiplications in a block of rows: about 100 MB at its widest
MOST_SONGS = 1_000  # one listener of 100 000 songs would alone cost 10^10 multiplications
EASE_SONGS = 20_000  # beyond, its dense matrix no longer fits: 1.6 GB at 20 000 songs


class TooManySongs(EngineError):
    """There are too many songs for a method that compares all with all."""


Weigh = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]], NDArray[np.float32]]


def heard(plays: csr_array) -> csr_array:
    """The plays as 1 and nothing, float32, in ascending order within each row."""
    ones = csr_array(plays, dtype=np.float32, copy=True)
    ones.sum_duplicates()
    ones.eliminate_zeros()
    ones.data[:] = 1
    return ones


def bounded(plays: csr_array, most: int = MOST_SONGS) -> csr_array:
    """The plays with each listener's `most` most played songs only; ties: smaller song index first."""
    if not len(plays.indptr) or np.diff(plays.indptr).max(initial=0) <= most:
        return plays
    return keep_best(plays, most, by=lambda data: data)


def keep_best(
    matrix: csr_array, k: int, by: Callable[[NDArray[np.float32]], NDArray[np.float32]] = np.abs
) -> csr_array:
    """Each row's k entries that are largest by `by`; columns ascend, ties: smaller column first."""
    widths = np.diff(matrix.indptr)
    chosen = [
        _best(by(matrix.data[start:stop]), k) + start
        for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    ]
    picked = np.concatenate(chosen) if chosen else np.empty(0, dtype=np.int64)
    indptr = np.concatenate([[0], np.cumsum(np.minimum(widths, k))])
    return csr_array((matrix.data[picked], matrix.indices[picked], indptr), shape=matrix.shape)


def _best(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    if len(values) <= k:
        return np.arange(len(values))
    edge = np.partition(values, len(values) - k)[len(values) - k]
    above = np.flatnonzero(values > edge)
    level = np.flatnonzero(values == edge)[: k - len(above)]
    return np.sort(np.concatenate([above, level]))


def rp3_weights(plays: csr_array, *, alpha: float = 0.7, beta: float = 0.4, k: int = NEIGHBOURS) -> csr_array:
    """Three steps at random, song to listener to song, with popular ends held back.

    Source:
        Paudel, Christoffel, Newell and Bernstein, "Updatable, accurate, diverse, and scalable recommendations
        for interactive applications", ACM TiiS 7(1), 2017 (RP3beta).
    """
    ones = heard(bounded(plays))
    songs = np.bincount(ones.indices, minlength=ones.shape[1]).astype(np.float32)
    forth = _scaled_rows(csr_array(ones.T), alpha)
    back = _scaled_rows(ones, alpha)
    penalty = np.maximum(songs, 1) ** np.float32(-beta)
    return _best_products(forth, back, k, lambda rows, columns, values: values * penalty[columns])


def knn_weights(plays: csr_array, *, shrink: float = 10.0, k: int = 50) -> csr_array:
    """Cosine between songs, shrunk where few listeners have both; each song keeps the k nearest to it.

    The k are chosen for each recommended song (column): chosen for each heard song (row) they lose 5 % on a
    set of many rare songs, because popular songs then push the rare ones out.

    Args:
        plays: taken as they are: give 1 and nothing, or logarithms of counts.
    """
    kept = csr_array(bounded(plays), dtype=np.float32)
    squares = np.bincount(kept.indices, weights=kept.data.astype(np.float64) ** 2, minlength=kept.shape[1])
    norms = np.sqrt(squares).astype(np.float32)
    nearest = _best_products(
        csr_array(kept.T),
        kept,
        k,
        lambda rows, columns, values: values / (norms[rows] * norms[columns] + np.float32(shrink)),
    )
    return csr_array(nearest.T)


def ease_weights(plays: csr_array, *, penalty: float = 60.0) -> NDArray[np.float32]:
    """Dense (n_songs, n_songs): the best linear map from what was heard to what was heard, zero diagonal.

    Raises:
        TooManySongs: more than 20 000, whose matrix would be too large.
        TooFewPlays: nobody has heard anything.

    Source:
        Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019.
    """
    ones = heard(plays)
    if ones.shape[1] > EASE_SONGS:
        raise TooManySongs(f"EASE takes at most {EASE_SONGS} songs, not {ones.shape[1]}")
    if ones.nnz == 0:
        raise TooFewPlays("EASE needs at least one play")
    gram = np.asarray((ones.T @ ones).toarray(order="F"), dtype=np.float32, order="F")
    gram[np.diag_indices_from(gram)] += np.float32(penalty)
    inverse = _inverted(gram)
    inverse /= -np.diag(inverse).copy()
    np.fill_diagonal(inverse, 0)
    return inverse


def _inverted(gram: NDArray[np.float32]) -> NDArray[np.float32]:
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
        columns = _best(np.abs(row), k)
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


def _best_products(left: csr_array, right: csr_array, k: int, weigh: Weigh) -> csr_array:
    """The k largest of each row of `left @ right`, weighed and without the diagonal, a block at a time."""
    data, indices, widths = [], [], []
    for start, block in _product_blocks(left, right):
        rows = np.repeat(np.arange(start, start + block.shape[0]), np.diff(block.indptr))
        weighed = weigh(rows, block.indices, block.data)
        weighed[rows == block.indices] = 0
        block.data = weighed.astype(np.float32)
        block.eliminate_zeros()
        best = keep_best(block, k)
        data.append(best.data)
        indices.append(best.indices.astype(np.int32))
        widths.append(np.diff(best.indptr))
    shape = (left.shape[0], right.shape[1])
    if not data:
        return csr_array(shape, dtype=np.float32)
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(widths))])
    return csr_array((np.concatenate(data), np.concatenate(indices), indptr), shape=shape)


def _product_blocks(left: csr_array, right: csr_array) -> Iterator[tuple[int, csr_array]]:
    """First row and product of each block of rows, a block being as many as a few hundred MB allow."""
    reach = np.diff(right.indptr)
    costs = np.add.reduceat(np.append(reach[left.indices], 0), np.minimum(left.indptr[:-1], left.nnz))
    costs[np.diff(left.indptr) == 0] = 0
    chunk = np.cumsum(costs, dtype=np.int64) // BLOCK_PRODUCTS
    edges = np.flatnonzero(np.diff(chunk)) + 1
    for start, stop in zip([0, *edges], [*edges, left.shape[0]], strict=True):
        block = csr_array(left[start:stop] @ right)
        block.sort_indices()
        yield int(start), block
