"""Candidates as bytes: the same again, or refused."""

from dataclasses import replace

import numpy as np
import pytest

from recommender.engine.sampling.candidate_codec import Shelf, ShelfDamaged, pack, unpack

SHELF = Shelf(
    songs=np.array([33100, 7]), values=np.array([1.0, -0.25], np.float32),
    clusters=np.array([3, -1], np.int32),
    artists=np.array([1, 2], np.int32), flags=np.array([1, 2], np.uint8), affinities={3: 0.5, 9: 0.25},
)  # fmt: skip


def test_what_is_packed_is_unpacked_the_same() -> None:
    again = unpack(pack(SHELF))

    for name in ("songs", "values", "clusters", "artists", "flags"):
        assert getattr(again, name).tolist() == getattr(SHELF, name).tolist()
    assert again.affinities == {3: 0.5, 9: 0.25}
    assert again.format == 2


def test_a_shelf_of_the_first_format_stays_one() -> None:
    again = unpack(pack(replace(SHELF, format=1)))

    assert again.format == 1
    assert again.songs.tolist() == [33100, 7]


def test_an_empty_shelf_is_one_too() -> None:
    songs, values, clusters, artists, flags = (np.empty(0, kind) for kind in ("i8", "f4", "i4", "i4", "u1"))
    nothing = Shelf(songs, values, clusters, artists, flags, {})

    assert unpack(pack(nothing)).songs.tolist() == []


def test_a_changed_byte_anywhere_is_damage() -> None:
    packed = pack(SHELF)

    for place in range(len(packed)):
        damaged = bytearray(packed)
        damaged[place] ^= 0x10
        with pytest.raises(ShelfDamaged):
            unpack(bytes(damaged))


@pytest.mark.parametrize("packed", [b"", b"x" * 12, pack(SHELF)[:-1], pack(SHELF) + b"x"])
def test_too_few_or_too_many_bytes_are_damage(packed: bytes) -> None:
    with pytest.raises(ShelfDamaged):
        unpack(packed)


def test_four_hundred_songs_take_ten_kilobytes_at_most() -> None:
    number = 400
    shelf = Shelf(
        np.arange(number), np.zeros(number, np.float32), np.zeros(number, np.int32),
        np.zeros(number, np.int32), np.zeros(number, np.uint8), dict.fromkeys(range(100), 0.01),
    )  # fmt: skip

    assert len(pack(shelf)) <= 10_000
