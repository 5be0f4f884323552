"""Compact binary format of a listener's candidate list, with a checksum.

The bytes do not depend on the machine.
"""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Format 1: lists are drawn by the first draw formula. Format 2: by the latest one. Format 3: like 2, and the
# bytes may end with the times of last plays.
CURRENT_FORMAT: Final = 3
KNOWN_FORMATS: Final = (1, 2, CURRENT_FORMAT)
# format, number of songs, number of affinities, checksum of what follows
HEADER: Final = struct.Struct("<BIII")
SONG_DTYPE: Final = np.dtype(
    [("song", "<i8"), ("value", "<f4"), ("cluster", "<i4"), ("artist", "<i4"), ("flags", "u1")]
)
AFFINITY_DTYPE: Final = np.dtype([("cluster", "<i4"), ("share", "<f4")])
LAST_PLAY_DTYPE: Final = np.dtype([("song", "<i8"), ("at", "<f8")])


class CandidateListDamaged(ValueError):
    """The bytes are not a candidate list, or have changed since they were written."""


@dataclass(frozen=True)
class CandidateArrays:
    """One listener's candidates, best first; entry i of every array describes the same song."""

    songs: NDArray[np.int64]  # the source's song ids
    values: NDArray[np.float32]  # scaled scores, see `sampler.scale_scores`
    clusters: NDArray[np.int32]  # persistent cluster numbers
    artists: NDArray[np.int32]  # artist codes; songs by the same artist have the same code
    flags: NDArray[np.uint8]  # bits that the caller defines
    # Cluster number: the listener's share of engagement in the cluster; 0 for a missing cluster.
    affinities: dict[int, float]
    # Says which draw formula lists from these candidates use, also when a list is replayed.
    format: int = CURRENT_FORMAT
    # Song id: when a re-recommended song was last played, in seconds since 1970.
    last_played_at: dict[int, float] = field(default_factory=dict)


def encode_candidates(candidates: CandidateArrays) -> bytes:
    """Encode candidates as bytes, with a header that holds the counts and a checksum.

    A song takes 21 bytes, an affinity 8, and the time of a last play 16.
    """
    songs = np.empty(len(candidates.songs), dtype=SONG_DTYPE)
    columns = (candidates.songs, candidates.values, candidates.clusters, candidates.artists, candidates.flags)
    for name, column in zip(SONG_DTYPE.names or (), columns, strict=True):
        songs[name] = column
    affinities = np.array(sorted(candidates.affinities.items()), dtype=AFFINITY_DTYPE)
    last_plays = np.array(sorted(candidates.last_played_at.items()), dtype=LAST_PLAY_DTYPE)
    body = songs.tobytes() + affinities.tobytes() + last_plays.tobytes()
    checksum = _checksum(candidates.format, len(songs), len(affinities), body)
    return HEADER.pack(candidates.format, len(songs), len(affinities), checksum) + body


def decode_candidates(encoded: bytes) -> CandidateArrays:
    """Decode the bytes from `encode_candidates`.

    Raises:
        CandidateListDamaged: bytes are missing, added or changed.
    """
    if len(encoded) < HEADER.size:
        raise CandidateListDamaged(
            f"A candidate list has at least {HEADER.size} bytes, this one has {len(encoded)}."
        )
    version, n_songs, n_affinities, checksum = HEADER.unpack_from(encoded)
    body = encoded[HEADER.size :]
    last_plays_start = n_songs * SONG_DTYPE.itemsize + n_affinities * AFFINITY_DTYPE.itemsize
    rest = len(body) - last_plays_start
    rest_fits = rest >= 0 and rest % LAST_PLAY_DTYPE.itemsize == 0 if version >= 3 else rest == 0
    if version not in KNOWN_FORMATS or not rest_fits:
        raise CandidateListDamaged(f"Not a candidate list: {len(encoded)} bytes, format {version}.")
    if _checksum(version, n_songs, n_affinities, body) != checksum:
        raise CandidateListDamaged("The candidate list's checksum does not match its bytes.")
    songs = np.frombuffer(body, dtype=SONG_DTYPE, count=n_songs)
    affinities = np.frombuffer(
        body, dtype=AFFINITY_DTYPE, count=n_affinities, offset=n_songs * SONG_DTYPE.itemsize
    )
    last_plays = np.frombuffer(body, dtype=LAST_PLAY_DTYPE, offset=last_plays_start)
    shares = zip(affinities["cluster"].tolist(), affinities["share"].tolist(), strict=True)
    return CandidateArrays(
        songs["song"], songs["value"], songs["cluster"], songs["artist"], songs["flags"], dict(shares),
        version, dict(zip(last_plays["song"].tolist(), last_plays["at"].tolist(), strict=True)),
    )  # fmt: skip


def _checksum(version: int, n_songs: int, n_affinities: int, body: bytes) -> int:
    # Before format 3 the counts alone gave the length, so a damaged count could not go unnoticed.
    counts = struct.pack("<II", n_songs, n_affinities) if version >= 3 else b""
    return zlib.crc32(counts + body)
