"""Candidates encoded as bytes: decoded unchanged, or rejected if damaged."""

from dataclasses import replace

import numpy as np
import pytest

from recommender.engine.sampling.candidate_codec import (
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


def test_four_hundred_songs_take_ten_kilobytes_at_most() -> None:
    number = 400
    shelf = CandidateArrays(
        np.arange(number), np.zeros(number, np.float32), np.zeros(number, np.int32),
        np.zeros(number, np.int32), np.zeros(number, np.uint8), dict.fromkeys(range(100), 0.01),
    )  # fmt: skip

    assert len(encode_candidates(shelf)) <= 10_000
