"""Candidates encoded as bytes: decoded unchanged, or rejected if damaged."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from recommender.engine.sampling.candidate_codec import (
    HEADER,
    CandidateArrays,
    CandidateListDamaged,
    decode_candidates,
    encode_candidates,
)

SHELF = CandidateArrays(
    songs=np.array([33100, 7]), values=np.array([1.0, -0.25], np.float32),
    clusters=np.array([3, -1], np.int32),
    artists=np.array([1, 2], np.int32), flags=np.array([1, 2], np.uint8), affinities={3: 0.5, 9: 0.25},
    last_played_at={7: 1_700_000_000.5}, further_codes={7: (5, -(2**40))}, related={33100: (9, 8), 7: (7,)},
    played_in_cluster={3: (9, 8), -1: (7,)},
)  # fmt: skip


def test_decoded_candidates_equal_the_encoded_ones() -> None:
    again = decode_candidates(encode_candidates(SHELF))

    for name in ("songs", "values", "clusters", "artists", "flags"):
        assert getattr(again, name).tolist() == getattr(SHELF, name).tolist()
    assert again.affinities == {3: 0.5, 9: 0.25}
    assert again.last_played_at == {7: 1_700_000_000.5}
    assert again.further_codes == {7: (5, -(2**40))}
    assert again.related == {33100: (9, 8), 7: (7,)}
    assert again.played_in_cluster == {3: (9, 8), -1: (7,)}
    assert again.format == 4


def test_a_list_of_format_3_has_last_plays_and_no_songs_for_reasons() -> None:
    again = decode_candidates(encode_candidates(replace(SHELF, format=3)))

    assert (again.format, again.last_played_at) == (3, {7: 1_700_000_000.5})
    assert (again.further_codes, again.related, again.played_in_cluster) == ({}, {}, {})


@pytest.mark.parametrize("old_format", [1, 2, 3])
def test_a_list_of_an_older_format_keeps_its_format(old_format: int) -> None:
    again = decode_candidates(encode_candidates(replace(SHELF, format=old_format, last_played_at={})))

    assert again.format == old_format
    assert again.songs.tolist() == [33100, 7]
    assert again.last_played_at == {}


def test_an_empty_candidate_list_can_be_encoded() -> None:
    songs, values, clusters, artists, flags = (np.empty(0, kind) for kind in ("i8", "f4", "i4", "i4", "u1"))
    nothing = CandidateArrays(songs, values, clusters, artists, flags, {})

    assert decode_candidates(encode_candidates(nothing)).songs.tolist() == []


def test_any_changed_byte_is_detected() -> None:
    packed = encode_candidates(SHELF)

    for place in range(len(packed)):
        damaged = bytearray(packed)
        damaged[place] ^= 0x10
        with pytest.raises(CandidateListDamaged):
            decode_candidates(bytes(damaged))


@pytest.mark.parametrize(
    "packed", [b"", b"x" * 12, encode_candidates(SHELF)[:-1], encode_candidates(SHELF) + b"x"]
)
def test_too_few_or_too_many_bytes_are_detected(packed: bytes) -> None:
    with pytest.raises(CandidateListDamaged):
        decode_candidates(packed)


def test_four_hundred_songs_take_half_their_bytes() -> None:
    """Songs of 200 000, scores, and recordings and artists by random numbers, as hashes are."""
    draws, number = np.random.default_rng(5), 400
    songs = draws.choice(200_000, number, replace=False)
    shelf = CandidateArrays(
        songs, np.sort(draws.normal(size=number)).astype(np.float32)[::-1],
        draws.integers(12, size=number).astype(np.int32),
        draws.choice(draws.integers(2**31, size=150), number).astype(np.int32),
        draws.integers(4, size=number).astype(np.uint8), dict.fromkeys(range(30), 0.01),
        related={int(song): tuple(draws.choice(songs, 2).tolist()) for song in songs},
    )  # fmt: skip

    encoded = encode_candidates(shelf)

    assert number * (21 + 2 * 16) > 2 * len(encoded)
    assert decode_candidates(encoded).related == shelf.related


def test_a_list_that_an_earlier_release_stored_uncompressed_is_read() -> None:
    code, *counts, _ = HEADER.unpack_from(packed := encode_candidates(SHELF))
    body = zlib.decompress(packed[HEADER.size :])
    checksum = zlib.crc32(struct.pack("<II", *counts) + body)

    again = decode_candidates(HEADER.pack(4, *counts, checksum) + body)

    assert code == 4 | 0x80
    assert (again.format, again.related) == (4, SHELF.related)
