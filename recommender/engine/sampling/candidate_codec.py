"""A listener's candidates as bytes: small, checked, and the same on every machine."""

import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Formats differ in the draw that their lists are drawn by, not in their bytes.
FORMAT: Final = 2
FORMATS: Final = (1, FORMAT)
# format, number of songs, number of affinities, checksum of what follows
HEADER: Final = struct.Struct("<BIII")
SONG: Final = np.dtype(
    [("song", "<i8"), ("value", "<f4"), ("cluster", "<i4"), ("artist", "<i4"), ("flags", "u1")]
)
AFFINITY: Final = np.dtype([("cluster", "<i4"), ("share", "<f4")])


class ShelfDamaged(ValueError):
    """These bytes are no shelf, or not the one that was packed."""


@dataclass(frozen=True)
class Shelf:
    """What one listener's lists are drawn from; entry i of every array is one song, the best first.

    Attributes:
        songs: ids at the source.
        values: as `sampling.values`, float32.
        clusters: the clusters' persistent numbers.
        artists: equal where the artist is.
        flags: bits of the caller's, uint8.
        affinities: the listener's share of engagement by cluster number; clusters left out have none.
        format: which draw its lists are drawn by, now and again.
    """

    songs: NDArray[np.int64]
    values: NDArray[np.float32]
    clusters: NDArray[np.int32]
    artists: NDArray[np.int32]
    flags: NDArray[np.uint8]
    affinities: dict[int, float]
    format: int = FORMAT


def pack(shelf: Shelf) -> bytes:
    """21 bytes a song and 8 an affinity, with a checksum."""
    songs = np.empty(len(shelf.songs), dtype=SONG)
    columns = (shelf.songs, shelf.values, shelf.clusters, shelf.artists, shelf.flags)
    for name, column in zip(SONG.names or (), columns, strict=True):
        songs[name] = column
    affinities = np.array(sorted(shelf.affinities.items()), dtype=AFFINITY)
    body = songs.tobytes() + affinities.tobytes()
    return HEADER.pack(shelf.format, len(songs), len(affinities), zlib.crc32(body)) + body


def unpack(packed: bytes) -> Shelf:
    """The shelf that was packed.

    Raises:
        ShelfDamaged: bytes are missing, too many or changed.
    """
    if len(packed) < HEADER.size:
        raise ShelfDamaged(f"A shelf has at least {HEADER.size} bytes, this one {len(packed)}.")
    of_format, n_songs, n_affinities, checksum = HEADER.unpack_from(packed)
    body = packed[HEADER.size :]
    if of_format not in FORMATS or len(body) != n_songs * SONG.itemsize + n_affinities * AFFINITY.itemsize:
        raise ShelfDamaged(f"This is no shelf: {len(packed)} bytes, format {of_format}.")
    if zlib.crc32(body) != checksum:
        raise ShelfDamaged("The shelf's checksum does not agree with its bytes.")
    songs = np.frombuffer(body, dtype=SONG, count=n_songs)
    affinities = np.frombuffer(body, dtype=AFFINITY, offset=n_songs * SONG.itemsize)
    shares = zip(affinities["cluster"].tolist(), affinities["share"].tolist(), strict=True)
    return Shelf(
        songs["song"], songs["value"], songs["cluster"], songs["artist"], songs["flags"], dict(shares),
        of_format,
    )  # fmt: skip
