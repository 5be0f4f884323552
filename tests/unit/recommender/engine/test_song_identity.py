"""Artists that songs have in common."""

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


def test_songs_share_an_artist_with_any_of_the_other_songs_lead_or_not() -> None:
    assert IDENTITY.share_artist(columns(0, 1, 2, 3), columns(1)).tolist() == [True, True, False, False]
    assert IDENTITY.share_artist(columns(3, 2), columns(1, 0)).tolist() == [True, False]


def test_no_song_shares_an_artist_with_no_songs() -> None:
    assert IDENTITY.share_artist(columns(0, 1), columns()).tolist() == [False, False]
    assert IDENTITY.share_artist(columns(), columns(0)).tolist() == []


def test_songs_have_an_artist_by_its_code() -> None:
    assert IDENTITY.have_artist(columns(0, 1, 2), np.array([9])).tolist() == [True, True, False]
