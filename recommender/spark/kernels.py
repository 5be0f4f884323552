"""What Spark's workers run: functions of the engine, with Arrow tables in and out.

Workers need no database and no settings for these.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.neighbours import NeighbourBlock, find_neighbours_in_histories

# Entries of histories in memory at once, while each history is copied to the blocks of its songs: 16 MB.
MAX_COPIED_ENTRIES: Final = 4_000_000
HISTORIES: Final = "block int, listener int, songs array<int>"
HISTORIES_SCHEMA: Final = pa.schema(
    [("block", pa.int32()), ("listener", pa.int32()), ("songs", pa.list_(pa.int32()))]
)
NEIGHBOURS: Final = (
    "block int, rp3_starts binary, rp3_songs binary, rp3_values binary, "
    "knn_starts binary, knn_songs binary, knn_values binary"
)
NEIGHBOURS_SCHEMA: Final = pa.schema(
    [("block", pa.int32())]
    + [(f"{kind}_{part}", pa.binary()) for kind in ("rp3", "knn") for part in ("starts", "songs", "values")]
)


@dataclass(frozen=True)
class CopyToBlocks:
    """Copies each listener's history to every block of songs that has one of the listener's songs."""

    block_starts: NDArray[np.int32]  # the first song of each block, ascending

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            songs = batch.column("songs")
            widths = np.diff(songs.offsets.to_numpy()).astype(np.int64)
            # A history is copied to at most as many blocks as it has songs.
            groups = np.cumsum(widths**2) // MAX_COPIED_ENTRIES
            edges = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(widths)]
            for start, stop in pairwise(edges):
                yield self._copy(batch.slice(start, stop - start))

    def _copy(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        listeners, songs = batch.column("listener").to_numpy(), batch.column("songs")
        rows = np.repeat(np.arange(len(listeners)), np.diff(songs.offsets.to_numpy()))
        blocks = np.searchsorted(self.block_starts, songs.flatten().to_numpy(), side="right") - 1
        row, block = np.divmod(np.unique(rows * len(self.block_starts) + blocks), len(self.block_starts))
        copies = songs.take(pa.array(row))
        return pa.record_batch([block.astype(np.int32), listeners[row], copies], schema=HISTORIES_SCHEMA)


@dataclass(frozen=True)
class FindNeighbours:
    """Computes the neighbours of one block's songs from the histories of their listeners."""

    ranges: list[tuple[int, int]]  # of songs, by block
    listener_counts: NDArray[np.float32]  # the listeners of each song, shape (n_songs,)

    def __call__(self, key: tuple[pa.Scalar, ...], table: pa.Table) -> pa.Table:
        block = key[0].as_py()
        order = np.argsort(table["listener"].to_numpy())
        songs = table["songs"].combine_chunks().take(pa.array(order))
        starts = songs.offsets.to_numpy()
        histories = csr_array(
            (np.ones(int(starts[-1]), np.float32), songs.values.to_numpy(), starts),
            shape=(len(order), len(self.listener_counts)),
        )
        found = find_neighbours_in_histories(histories, self.listener_counts, *self.ranges[block])
        parts = [_to_bytes(array, kind) for one in found for array, kind in _arrays_of(one)]
        return pa.table([[block], *([part] for part in parts)], schema=NEIGHBOURS_SCHEMA)


def read_block(row: dict[str, Any], n_songs: int) -> NeighbourBlock:
    """The matrices in a row that `FindNeighbours` made."""

    def read(kind: str) -> csr_array:
        starts = np.frombuffer(row[f"{kind}_starts"], np.int32)
        songs = np.frombuffer(row[f"{kind}_songs"], np.int32)
        values = np.frombuffer(row[f"{kind}_values"], np.float32)
        return csr_array((values, songs, starts), shape=(len(starts) - 1, n_songs))

    return NeighbourBlock(read("rp3"), read("knn"))


def _arrays_of(matrix: csr_array) -> list[tuple[NDArray[Any], Any]]:
    return [(matrix.indptr, np.int32), (matrix.indices, np.int32), (matrix.data, np.float32)]


def _to_bytes(array: NDArray[Any], kind: Any) -> bytes:
    return np.ascontiguousarray(array, dtype=kind).tobytes()
