"""A listener's candidates as bytes: small, checked, and the same on every machine."""

import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Formats differ in the draw that their lists are drawn by, not in their bytes.
CURRENT_FORMAT: Final = 2
KNOWN_FORMATS: Final = (1, CURRENT_FORMAT)
# format, number of songs, number of affinities, checksum of what follows
HEADER: Final = struct.Struct("<BIII")
SONG_DTYPE: Final = np.dtype(
    [("song", "<i8"), ("value", "<f4"), ("cluster", "<i4"), ("artist", "<i4"), ("flags", "u1")]
)
AFFINITY_DTYPE: Final = np.dtype([("cluster", "<i4"), ("share", "<f4")])


class CandidateListDamaged(ValueError):
    """These bytes are no shelf, or not the one that was packed."""


@dataclass(frozen=True)
class CandidateArrays:
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
    format: int = CURRENT_FORMAT


def encode_candidates(candidates: CandidateArrays) -> bytes:
    """21 bytes a song and 8 an affinity, with a checksum."""
    songs = np.empty(len(candidates.songs), dtype=SONG_DTYPE)
    columns = (candidates.songs, candidates.values, candidates.clusters, candidates.artists, candidates.flags)
    for name, column in zip(SONG_DTYPE.names or (), columns, strict=True):
        songs[name] = column
    affinities = np.array(sorted(candidates.affinities.items()), dtype=AFFINITY_DTYPE)
    body = songs.tobytes() + affinities.tobytes()
    return HEADER.pack(candidates.format, len(songs), len(affinities), zlib.crc32(body)) + body


def decode_candidates(packed: bytes) -> CandidateArrays:
    """The shelf that was packed.

    Raises:
        ShelfDamaged: bytes are missing, too many or changed.
    """
    if len(packed) < HEADER.size:
        raise CandidateListDamaged(f"A shelf has at least {HEADER.size} bytes, this one {len(packed)}.")
    of_format, n_songs, n_affinities, checksum = HEADER.unpack_from(packed)
    body = packed[HEADER.size :]
    if (
        of_format not in KNOWN_FORMATS
        or len(body) != n_songs * SONG_DTYPE.itemsize + n_affinities * AFFINITY_DTYPE.itemsize
    ):
        raise CandidateListDamaged(f"This is no shelf: {len(packed)} bytes, format {of_format}.")
    if zlib.crc32(body) != checksum:
        raise CandidateListDamaged("The shelf's checksum does not agree with its bytes.")
    songs = np.frombuffer(body, dtype=SONG_DTYPE, count=n_songs)
    affinities = np.frombuffer(body, dtype=AFFINITY_DTYPE, offset=n_songs * SONG_DTYPE.itemsize)
    shares = zip(affinities["cluster"].tolist(), affinities["share"].tolist(), strict=True)
    return CandidateArrays(
        songs["song"], songs["value"], songs["cluster"], songs["artist"], songs["flags"], dict(shares),
        of_format,
    )  # fmt: skip
