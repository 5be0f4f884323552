"""Song-to-song similarities from plays: RP3beta, cosine kNN and EASE.

Entry (i, j) says how strongly a play of song i recommends song j.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_array, diags_array

from recommender.engine.data import EngineError, TooFewPlays

RP3_ALPHA = 0.7
RP3_BETA = 0.4
KNN_SHRINK = 10.0
KNN_NEAREST = 50
NEIGHBOURS_PER_SONG = 200  # measured on two data sets: 100 loses up to 1 %, 400 gains nothing
BLOCK_PRODUCTS = 4_000_000  # multiplications per block of rows: at most about 100 MB
MOST_SONGS_PER_LISTENER = 1_000  # a single listener of 100 000 songs would cost 10^10 multiplications
PARTITION_CELLS = 100_000  # values per np.partition call: fits into a core's cache
MOST_EASE_SONGS = 20_000  # the dense matrix of EASE then takes 1.6 GB
# Its time grows with the cube of the songs: 10 CPU s for these, 76 for 20 000. Weights of songs with few
# listeners are close to zero, because of the penalty.
EASE_SONGS = 10_000
EASE_PENALTY = 60.0
COUNTED_SONGS = 500  # whose common listeners with all songs are counted at a time


class TooManySongs(EngineError):
    """Too many songs for a dense song-by-song matrix."""


WeightFunction = Callable[[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]], NDArray[np.float32]]


def binary_plays(plays: csr_array) -> csr_array:
    """A copy with 1 for every song played, and with sorted columns."""
    ones = csr_array(plays, dtype=np.float32, copy=True)
    ones.sum_duplicates()
    ones.eliminate_zeros()
    ones.data[:] = 1
    return ones


def limit_songs(plays: csr_array, most: int = MOST_SONGS_PER_LISTENER) -> csr_array:
    """Keep each listener's most played songs; the lower column wins ties."""
    if not len(plays.indptr) or np.diff(plays.indptr).max(initial=0) <= most:
        return plays
    return keep_best(plays, most, by=lambda data: data)


def keep_best(
    matrix: csr_array, k: int, by: Callable[[NDArray[np.float32]], NDArray[np.float32]] = np.abs
) -> csr_array:
    """Keep the k largest entries of each row; the lower column wins ties."""
    values, starts = by(matrix.data), matrix.indptr
    thresholds = np.repeat(_kth_largest(values, starts, k), np.diff(starts))
    kept = values > thresholds
    n_above = np.diff(np.searchsorted(np.flatnonzero(kept), starts))
    # Entries that tie with their row's k-th largest fill the remaining slots in order of their columns.
    ties = np.flatnonzero(values == thresholds)
    first_ties = np.searchsorted(ties, starts)
    n_ties = np.diff(first_ties)
    place_among_ties = np.arange(len(ties)) - np.repeat(first_ties[:-1], n_ties)
    kept[ties[place_among_ties < np.repeat(k - n_above, n_ties)]] = True
    counts = np.minimum(n_above + n_ties, k)
    # In the integer width of the indices, which scipy would copy otherwise.
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(matrix.indices.dtype)
    return csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


def _kth_largest(
    values: NDArray[np.float32], indptr: NDArray[np.integer[Any]], k: int
) -> NDArray[np.float32]:
    """The k-th largest value of each row; -inf for a row with at most k entries."""
    widths = np.diff(indptr)
    thresholds = np.full(len(widths), -np.inf, dtype=np.float32)
    wide = np.flatnonzero(widths > k)
    # Rows of similar width, padded to the widest of them, are partitioned by one call.
    wide = wide[np.argsort(widths[wide], kind="stable")]
    for batch in np.split(wide, np.flatnonzero(np.diff(np.cumsum(widths[wide]) // PARTITION_CELLS)) + 1):
        if not len(batch):
            continue
        width = int(widths[batch[-1]])
        places = np.arange(width) + indptr[batch][:, np.newaxis]
        beyond = np.arange(width) >= widths[batch][:, np.newaxis]
        rows = np.where(beyond, np.float32(-np.inf), values[np.minimum(places, len(values) - 1)])
        thresholds[batch] = np.partition(rows, width - k, axis=1)[:, width - k]
    return thresholds


def rp3_weights(
    plays: csr_array, *, alpha: float = RP3_ALPHA, beta: float = RP3_BETA, k: int = NEIGHBOURS_PER_SONG
) -> csr_array:
    """Probabilities of the random walk song - listener - song, reduced for popular songs.

    Source:
        Paudel et al., "Updatable, accurate, diverse, and scalable recommendations for interactive
        applications", ACM TiiS 7(1), 2017 (RP3beta).
    """
    ones = binary_plays(limit_songs(plays))
    listeners = np.bincount(ones.indices, minlength=ones.shape[1]).astype(np.float32)
    song_to_listener = _scaled_rows(csr_array(ones.T), alpha)
    listener_to_song = _scaled_rows(ones, alpha)
    damping = np.maximum(listeners, 1) ** np.float32(-beta)
    return _best_products(
        song_to_listener, listener_to_song, k, lambda rows, columns, values: values * damping[columns]
    )


def knn_weights(plays: csr_array, *, shrink: float = KNN_SHRINK, k: int = KNN_NEAREST) -> csr_array:
    """Cosines with each song's k nearest songs, shrunk for pairs with few common listeners."""
    kept = csr_array(limit_songs(plays), dtype=np.float32)
    squares = np.bincount(kept.indices, weights=kept.data.astype(np.float64) ** 2, minlength=kept.shape[1])
    norms = np.sqrt(squares).astype(np.float32)

    def shrunk(
        rows: NDArray[np.int32], columns: NDArray[np.int32], values: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return np.asarray(values / (norms[rows] * norms[columns] + np.float32(shrink)))

    # Keep the nearest songs per recommended song (column). Kept per played song (row), popular songs displace
    # rare ones: 5 % worse on a data set with many rare songs.
    return csr_array(_best_products(csr_array(kept.T), kept, k, shrunk).T)


def ease_weights(plays: csr_array, *, penalty: float = EASE_PENALTY) -> NDArray[np.float32]:
    """Ridge regression of each song's plays on all other songs' plays, as a dense matrix.

    Raises:
        TooManySongs: there are more than 20 000 songs.
        TooFewPlays: there are no plays, or the matrix is singular.

    Source:
        Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019.
    """
    inverse = _invert_common_listeners(plays, penalty)
    inverse /= -np.diag(inverse).copy()
    np.fill_diagonal(inverse, 0)
    return inverse


def _invert_common_listeners(plays: csr_array, penalty: float) -> NDArray[np.float32]:
    """The inverse of the counts of common listeners plus the penalty, symmetric to the last bit."""
    ones = binary_plays(plays)
    if ones.shape[1] > MOST_EASE_SONGS:
        raise TooManySongs(f"EASE takes at most {MOST_EASE_SONGS} songs, not {ones.shape[1]}.")
    if ones.nnz == 0:
        raise TooFewPlays("EASE needs at least one play.")
    gram = _count_common_listeners(ones)
    gram[np.diag_indices_from(gram)] += np.float32(penalty)
    return _invert_in_place(gram)


def _count_common_listeners(ones: csr_array) -> NDArray[np.float32]:
    """The number of common listeners of each two songs, as a dense matrix by columns."""
    n_songs = ones.shape[1]
    by_song = csr_array(ones.T)
    counts = np.zeros((n_songs, n_songs), dtype=np.float32, order="F")
    # By blocks of songs, because popular songs have a listener in common with nearly all others, and a sparse
    # matrix of all pairs would take twice as much as the dense one.
    for start in range(0, n_songs, COUNTED_SONGS):
        # The counts are symmetric, so rows of the product are columns here.
        block = csr_array(by_song[start : start + COUNTED_SONGS] @ ones)
        counts[:, start : start + COUNTED_SONGS] = block.toarray().T
    return counts


def ease_weights_of_most_played(plays: csr_array, k: int, most: int = EASE_SONGS) -> csr_array:
    """EASE weights between the `most` songs with the most listeners; each song keeps its k largest.

    Other rows and columns are empty, so neither time nor quality jumps when a catalogue outgrows `most`.
    """
    n_songs = plays.shape[1]
    if n_songs <= most:
        return _largest_ease_weights(plays, k)
    listeners = np.bincount(binary_plays(plays).indices, minlength=n_songs)
    chosen = np.sort(np.lexsort((np.arange(n_songs), -listeners))[:most])
    part = _largest_ease_weights(csr_array(plays[:, chosen]), k)
    widths = np.zeros(n_songs, dtype=np.int64)
    widths[chosen] = np.diff(part.indptr)
    indptr = np.concatenate([[0], np.cumsum(widths)])
    columns = chosen[part.indices].astype(np.int32)
    return csr_array((part.data, columns, indptr), shape=(n_songs, n_songs))


def _invert_in_place(gram: NDArray[np.float32]) -> NDArray[np.float32]:
    factor, failed = lapack.spotrf(gram, lower=1, clean=0, overwrite_a=1)
    inverse, singular = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed or singular:
        raise TooFewPlays("EASE cannot invert the matrix of common plays.")
    for start in range(0, len(inverse), 1024):
        stop = start + 1024
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        corner = inverse[start:stop, start:stop]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
    return np.asarray(inverse)


def _largest_ease_weights(plays: csr_array, k: int) -> csr_array:
    """`ease_weights`, of which each song keeps the k largest."""
    inverse = _invert_common_listeners(plays, EASE_PENALTY)
    divisors = -np.diag(inverse)
    rows, indptr, n_entries = [], [0], 0
    for song in range(len(inverse)):
        # A column is a row, because the inverse is symmetric, and its values are neighbours in memory.
        row = inverse[:, song] / divisors
        row[song] = 0
        columns = _largest_columns(np.abs(row), k)
        columns = columns[row[columns] != 0]
        rows.append((row[columns], columns.astype(np.int32)))
        n_entries += len(columns)
        indptr.append(n_entries)
    data, indices = (np.concatenate([pair[part] for pair in rows]) for part in (0, 1))
    return csr_array((data, indices, np.array(indptr)), shape=inverse.shape)


def _largest_columns(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The columns of the k largest values, ascending; the lower column wins ties."""
    if len(values) <= k:
        return np.arange(len(values))
    threshold = np.partition(values, len(values) - k)[len(values) - k]
    kept = np.flatnonzero(values >= threshold)
    if len(kept) > k:
        ties = np.flatnonzero(values[kept] == threshold)
        kept = np.delete(kept, ties[k - len(kept) :])
    return kept


def _scaled_rows(matrix: csr_array, power: float) -> csr_array:
    sums = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1e-12)
    scaled = csr_array(diags_array((1 / sums).astype(np.float32)) @ matrix)
    scaled.data **= np.float32(power)
    return scaled


def _best_products(left: csr_array, right: csr_array, k: int, weigh: WeightFunction) -> csr_array:
    def multiply_block(start: int, stop: int) -> csr_array:
        block = csr_array(left[start:stop] @ right)
        block.sort_indices()
        rows = np.repeat(np.arange(start, stop, dtype=np.int32), np.diff(block.indptr))
        weighed = weigh(rows, block.indices, block.data)
        weighed[rows == block.indices] = 0
        block.data = weighed.astype(np.float32, copy=False)
        block.eliminate_zeros()
        return keep_best(block, k)

    ranges = row_blocks(left.indptr, left.indices, np.diff(right.indptr), BLOCK_PRODUCTS)
    return stack_rows([multiply_block(start, stop) for start, stop in ranges], right.shape[1])


def stack_rows(blocks: list[csr_array], n_columns: int) -> csr_array:
    """The rows of all blocks; empties the list, so that no block is in memory twice."""
    indptr = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(block.indptr) for block in blocks]))])
    data, indices = np.empty(indptr[-1], dtype=np.float32), np.empty(indptr[-1], dtype=np.int32)
    blocks.reverse()
    end = 0
    while blocks:
        block = blocks.pop()
        start, end = end, end + block.nnz
        data[start:end], indices[start:end] = block.data, block.indices
    # Use the integer width of the indices, which scipy would copy otherwise.
    return csr_array((data, indices, indptr.astype(np.int32)), shape=(len(indptr) - 1, n_columns))


def row_blocks(
    left_starts: NDArray[np.int32],
    left_columns: NDArray[np.int32],
    right_widths: NDArray[np.int32],
    most: int,
) -> list[tuple[int, int]]:
    """Row ranges of a matrix product with about `most` multiplications each."""
    return split_rows(row_costs(left_starts, left_columns, right_widths), most)


def row_costs(
    left_starts: NDArray[np.int32], left_columns: NDArray[np.int32], right_widths: NDArray[np.int32]
) -> NDArray[np.int64]:
    """The multiplications that each row of a matrix product takes."""
    widths = np.append(right_widths[left_columns], 0)
    costs = np.add.reduceat(widths, np.minimum(left_starts[:-1], len(left_columns)), dtype=np.int64)
    costs[np.diff(left_starts) == 0] = 0
    return costs


def split_rows(costs: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Ranges of rows with a cost of about `most` each."""
    edges = np.flatnonzero(np.diff(np.cumsum(costs) // most)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), len(costs)], strict=True))
