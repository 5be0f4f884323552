"""Each song's neighbours by RP3beta and by cosine similarity, from one product of the plays.

Both need the pairs of songs with a common listener, whose search takes most of the time. Blocks of songs are
independent, so any number of threads and processes gives the same bits.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.item_similarity import (
    KNN_NEAREST,
    KNN_SHRINK,
    NEIGHBOURS_PER_SONG,
    RP3_ALPHA,
    RP3_BETA,
    binary_plays,
    keep_best,
    limit_songs,
    row_costs,
    split_rows,
    stack_rows,
)

BLOCK_PRODUCTS: Final = 1_000_000  # multiplications per block of songs: at most about 50 MB


class NeighbourBlock(NamedTuple):
    """The rows of some successive songs in the two neighbour matrices."""

    rp3: csr_array
    # The nearest songs of each recommended song. Kept per played song, popular songs displace rare ones: 5 %
    # worse on a data set with many rare songs.
    knn: csr_array


class SongCounts(NamedTuple):
    """Each song's number of listeners, and the cost of its neighbours; arrays have shape (n_songs,)."""

    listeners: NDArray[np.int32]
    multiplications: NDArray[np.int64]

    def blocks(self) -> list[tuple[int, int]]:
        """Ranges of songs of about the same cost."""
        return split_rows(self.multiplications, BLOCK_PRODUCTS)


@dataclass(frozen=True)
class CoListening:
    """The plays by song and by listener, whose product is the song-by-song matrix."""

    song_starts: NDArray[np.int32]  # shape (n_songs + 1,), where each song starts in `song_listeners`
    song_listeners: NDArray[np.int32]
    listener_starts: NDArray[np.int32]  # shape (n_listeners + 1,), where each starts in `listener_songs`
    listener_songs: NDArray[np.int32]
    # 1 + w i for each entry of `listener_songs`, where w is a step of the random walk to one of the
    # listener's songs. So the product's real part counts common listeners, and the other adds up their steps.
    play_values: NDArray[np.complex64]

    @classmethod
    def from_plays(cls, plays: csr_array) -> Self:
        ones = binary_plays(limit_songs(plays))
        by_song = csr_array(ones.T)
        by_song.sort_indices()
        return cls(
            song_starts=by_song.indptr.astype(np.int32, copy=False),
            song_listeners=by_song.indices.astype(np.int32, copy=False),
            listener_starts=ones.indptr.astype(np.int32, copy=False),
            listener_songs=ones.indices.astype(np.int32, copy=False),
            play_values=_play_values(ones.indptr),
        )

    @property
    def n_songs(self) -> int:
        return len(self.song_starts) - 1

    @cached_property
    def listener_counts(self) -> NDArray[np.float32]:
        """The number of listeners of each song, shape (n_songs,)."""
        return np.diff(self.song_starts).astype(np.float32)

    @cached_property
    def _by_listener(self) -> csr_array:
        shape = (len(self.listener_starts) - 1, self.n_songs)
        return csr_array((self.play_values, self.listener_songs, self.listener_starts), shape=shape)

    def counts(self) -> SongCounts:
        costs = row_costs(self.song_starts, self.song_listeners, np.diff(self.listener_starts))
        return SongCounts(np.diff(self.song_starts), costs)

    def find_neighbours(self, start: int, stop: int) -> NeighbourBlock:
        """The nearest neighbours of songs `start` (inclusive) to `stop` (exclusive)."""
        first, last = int(self.song_starts[start]), int(self.song_starts[stop])
        by_song = csr_array(
            (
                np.ones(last - first, dtype=np.complex64),
                self.song_listeners[first:last],
                self.song_starts[start : stop + 1] - np.int32(first),
            ),
            shape=(stop - start, len(self.listener_starts) - 1),
        )
        return _nearest_songs(by_song, self._by_listener, self.listener_counts, start)


def find_neighbours_in_histories(
    histories: csr_array, listener_counts: NDArray[np.float32], start: int, stop: int
) -> NeighbourBlock:
    """The nearest neighbours of songs `start` (inclusive) to `stop` (exclusive), from a part of the plays.

    Args:
        histories: shape (n, n_songs), all songs, without values, of every listener of one of these songs, in
            the order of all listeners; other listeners change nothing.
        listener_counts: the number of all listeners of each song, shape (n_songs,).
    """
    ones = csr_array(
        (np.ones(histories.nnz, np.float32), histories.indices, histories.indptr), histories.shape
    )
    by_song = csr_array(csr_array(ones[:, start:stop].T), dtype=np.complex64)
    by_song.sort_indices()
    values = _play_values(histories.indptr)
    by_listener = csr_array((values, histories.indices, histories.indptr), shape=histories.shape)
    return _nearest_songs(by_song, by_listener, listener_counts, start)


def _play_values(listener_starts: NDArray[np.integer[Any]]) -> NDArray[np.complex64]:
    widths = np.diff(listener_starts)
    values = np.ones(int(listener_starts[-1]), dtype=np.complex64)
    values.imag = np.repeat((1 / np.maximum(widths, 1)).astype(np.float32) ** np.float32(RP3_ALPHA), widths)
    return values


def _nearest_songs(
    by_song: csr_array, by_listener: csr_array, listener_counts: NDArray[np.float32], start: int
) -> NeighbourBlock:
    product = csr_array(by_song @ by_listener)
    product.sort_indices()
    stop, n_songs = start + by_song.shape[0], by_listener.shape[1]
    rows = np.repeat(np.arange(start, stop, dtype=np.int32), np.diff(product.indptr))
    others = rows != product.indices
    # A song that anyone has played is its own neighbour once.
    widths = np.diff(product.indptr) - (listener_counts[start:stop] > 0)
    starts = np.concatenate([[0], np.cumsum(widths)])
    rows, columns, sums = rows[others], product.indices[others], product.data[others]
    shape = (stop - start, n_songs)
    shares = (1 / np.maximum(listener_counts, 1)).astype(np.float32) ** np.float32(RP3_ALPHA)
    damping = np.maximum(listener_counts, 1) ** np.float32(-RP3_BETA)
    walks = sums.imag * shares[rows] * damping[columns]
    norms = np.sqrt(listener_counts)
    cosines = sums.real / (norms[rows] * norms[columns] + np.float32(KNN_SHRINK))
    return NeighbourBlock(
        _keep_largest(walks, columns, starts, shape, NEIGHBOURS_PER_SONG),
        _keep_largest(cosines, columns, starts, shape, KNN_NEAREST),
    )


def _keep_largest(
    values: NDArray[np.float32],
    columns: NDArray[np.int32],
    starts: NDArray[np.int64],
    shape: tuple[int, int],
    k: int,
) -> csr_array:
    return keep_best(csr_array((values, columns, starts), shape=shape), k, by=lambda positive: positive)


class NeighbourTask:
    """The blocks of one product, which any number of threads compute together."""

    def __init__(self, product: CoListening, ranges: list[tuple[int, int]]) -> None:
        self.product = product
        self._waiting = deque(enumerate(ranges))
        self._found: list[NeighbourBlock | None] = [None] * len(ranges)

    def compute_blocks(self, find_neighbours: Callable[[int, int], NeighbourBlock] | None = None) -> None:
        """Compute blocks until none waits. A block whose computation fails waits again.

        Args:
            find_neighbours: computes a block; None: this thread does.
        """
        find = find_neighbours or self.product.find_neighbours
        while True:
            try:
                place, (start, stop) = self._waiting.popleft()
            except IndexError:
                return
            try:
                self._found[place] = find(start, stop)
            except BaseException:
                self._waiting.appendleft((place, (start, stop)))
                raise

    def take_result(self) -> NeighbourBlock:
        """The two neighbour matrices; may be called once, because it frees the blocks."""
        found = [block for block in self._found if block is not None]
        self._found = []
        rp3, knn = [block.rp3 for block in found], [block.knn for block in found]
        found.clear()
        n_songs = self.product.n_songs
        return NeighbourBlock(stack_rows(rp3, n_songs), stack_rows(knn, n_songs))
