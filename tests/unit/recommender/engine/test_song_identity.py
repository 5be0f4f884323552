"""Codes of songs' artists."""

import numpy as np

from recommender.engine.song_identity import SongIdentity

# Song 0 is by 70 and 9, song 1 by 9, song 2 by 40, song 3 by 70.
IDENTITY = SongIdentity(
    artists=np.array([70, 9, 9, 40, 70], dtype=np.int32),
    artist_starts=np.array([0, 2, 3, 4, 5]),
    recordings=np.array([11, 12, 13, 11]),
)


def columns(*songs: int) -> np.ndarray:
    return np.array(songs, dtype=np.int32)


def test_artists_are_numbered_by_their_codes() -> None:
    numbers, places = IDENTITY.artist_numbers(columns(2, 0, 3))

    assert IDENTITY.artist_codes.tolist() == [9, 40, 70]
    assert IDENTITY.artist_codes[numbers].tolist() == [40, 70, 9, 70]
    assert places.tolist() == [0, 1, 1, 2]


def test_lead_numbers_are_the_places_of_the_lead_artists_codes() -> None:
    numbers = IDENTITY.lead_numbers(columns(3, 1, 0, 2))

    assert numbers.tolist() == [2, 0, 2, 1]
    assert IDENTITY.artist_codes[numbers].tolist() == IDENTITY.leads(columns(3, 1, 0, 2)).tolist()


def test_no_songs_have_no_artists() -> None:
    numbers, places = IDENTITY.artist_numbers(columns())

    assert (numbers.tolist(), places.tolist()) == ([], [])
