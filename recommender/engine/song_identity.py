"""Codes of artists and recordings, equal in all versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from recommender.engine.data import Catalogue
from recommender.engine.identity.recordings import recording_key

PREFIX: Final = "identity_"
ARRAY_NAMES: Final = ("artists", "artist_starts", "recordings")


@dataclass(frozen=True)
class SongIdentity:
    """Codes of artists and recordings: hashes, so that two versions and the cold start agree."""

    artists: NDArray[np.int32]  # flat: the artists of song 0, lead first, then those of song 1, ...
    artist_starts: NDArray[np.int64]  # shape (n_songs + 1,)
    recordings: NDArray[np.int64]  # shape (n_songs,), equal for the copies of a recording

    def leads(self, songs: NDArray[np.integer]) -> NDArray[np.int32]:
        return np.asarray(self.artists[self.artist_starts[songs]])

    def lead_numbers(self, songs: NDArray[np.integer]) -> NDArray[np.int32]:
        """As `leads`, but the artists' places in `artist_codes`."""
        return np.asarray(self._numbered_artists[1][self.artist_starts[songs]])

    def artists_of(self, song: int) -> list[int]:
        codes: list[int] = self.artists[self.artist_starts[song] : self.artist_starts[song + 1]].tolist()
        return codes

    def have_several_artists(self, songs: NDArray[np.integer]) -> NDArray[np.bool_]:
        return np.asarray(self.artist_starts[np.asarray(songs) + 1] - self.artist_starts[songs] > 1)

    def artist_numbers(self, songs: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
        """As `flat_artists`, but with the artists' places in `artist_codes`, for lookup tables."""
        entries, places = self._flat_entries(songs)
        return self._numbered_artists[1][entries], places

    @property
    def artist_codes(self) -> NDArray[np.int32]:
        """The codes of all artists, ascending."""
        return self._numbered_artists[0]

    @property
    def n_artists(self) -> int:
        return len(self.artist_codes)

    @cached_property
    def _numbered_artists(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The codes of all artists, and each entry of `artists` as a place in them."""
        codes, numbers = np.unique(self.artists, return_inverse=True)
        return codes, numbers.astype(np.int32)

    def select(self, songs: NDArray[np.integer]) -> Self:
        artists, places = self.flat_artists(songs)
        starts = np.concatenate([[0], np.cumsum(np.bincount(places, minlength=len(songs)))])
        return type(self)(artists, starts.astype(np.int64), np.asarray(self.recordings[songs]))

    def flat_artists(self, songs: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
        """Artist codes of song 0, lead first, then of song 1, ...; and each code's index in `songs`."""
        entries, places = self._flat_entries(songs)
        return np.asarray(self.artists[entries]), places

    def _flat_entries(self, songs: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        starts = self.artist_starts[songs]
        widths = self.artist_starts[np.asarray(songs) + 1] - starts
        places = np.repeat(np.arange(len(songs)), widths)
        within = np.arange(len(places)) - np.repeat(np.cumsum(widths) - widths, widths)
        return starts[places] + within, places

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {f"{PREFIX}{name}": getattr(self, name) for name in ARRAY_NAMES}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], lead_codes: NDArray[np.int32]) -> Self:
        """Read the codes from artifact arrays; older ones have only codes of artist texts (`lead_codes`)."""
        if f"{PREFIX}recordings" not in arrays:
            n_songs = len(lead_codes)
            return cls(np.asarray(lead_codes), np.arange(n_songs + 1), np.arange(n_songs))
        return cls(**{name: np.asarray(arrays[f"{PREFIX}{name}"]) for name in ARRAY_NAMES})


def identify_songs(catalogue: Catalogue) -> SongIdentity:
    codes, starts, recordings = [], [0], []
    titles = catalogue.titles or [""] * catalogue.n_songs
    rows = zip(catalogue.ids.tolist(), catalogue.artists, titles, catalogue.albums, strict=True)
    for song, credit, title, album in rows:
        keys = catalogue.credits.keys(credit)
        codes += [artist_code(key) for key in keys] or [code_without_artist(song)]
        starts.append(len(codes))
        recordings.append(recording_code(recording_key(title, keys[0] if keys else "", album), song))
    return SongIdentity(
        np.array(codes, dtype=np.int32),
        np.array(starts, dtype=np.int64),
        np.array(recordings, dtype=np.int64),
    )


def artist_code(key: str) -> int:
    """The code of an artist's key, not negative, 31 bits."""
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big") >> 1


def code_without_artist(song: int) -> int:
    return artist_code(f"\0{song}")


def recording_code(key: str, song: int) -> int:
    """The code of a recording's key, 63 bits; the code of the song alone if there is no key."""
    text = key or f"\0song {song}"
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def join_identities(first: SongIdentity, second: SongIdentity) -> SongIdentity:
    return SongIdentity(
        np.concatenate([first.artists, second.artists]),
        np.concatenate([first.artist_starts, second.artist_starts[1:] + first.artist_starts[-1]]),
        np.concatenate([first.recordings, second.recordings]),
    )
