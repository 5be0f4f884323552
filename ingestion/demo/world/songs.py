"""Synthetic songs: an artist has one style, an album one year."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestion.demo.source import Row, format_timestamp
from ingestion.demo.world.names import IdSequence, draw_unused_name, random_person_name, random_title
from ingestion.demo.world.names import random_artist_name as artist_name
from ingestion.demo.world.styles import FEATURE_SPREAD, FEATURES, STYLES

SONGS_PER_ARTIST: Final = 9
# Exponents of Zipf's law for an artist's fame and number of songs, by rank.
FAME_EXPONENT: Final = 0.8
OUTPUT_EXPONENT: Final = 0.3
# Standard deviations of artist, album and song around their centre, in units of FEATURE_SPREAD.
ARTIST_SPREAD, ALBUM_SPREAD, SONG_SPREAD = 0.6, 0.3, 0.6
NO_FEATURES_SHARE: Final = 0.03
ONE_FEATURE_MISSING_SHARE: Final = 0.02
LOUDNESS: Final = FEATURES.index("loudness")
TEMPO: Final = FEATURES.index("tempo")
MIN_FEATURES = np.array([0.0] * LOUDNESS + [-45.0, 50.0])
MAX_FEATURES = np.array([1.0] * LOUDNESS + [0.0, 215.0])


@dataclass
class Artist:
    """A synthetic artist; `fame` is a factor of the popularity of all the artist's songs."""

    name: str
    style: int
    fame: float
    debut: int
    centre: NDArray[np.float64]
    seconds: float
    writers: list[str]
    titles: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class TimeSpan:
    start: datetime
    span: timedelta

    @property
    def end(self) -> datetime:
        return self.start + self.span

    def draw_time(self, random: Random) -> datetime:
        return self.start + timedelta(microseconds=random.randrange(self.span // timedelta(microseconds=1)))

    def draw_timestamps(self, random: Random) -> tuple[str, str]:
        """A row's `created_at` and `updated_at`.

        In a quarter of rows the second is earlier, as in the real source.
        """
        first, second = sorted((self.draw_time(random), self.draw_time(random)))
        pair = (second, first) if random.random() < 0.25 else (first, second)
        return format_timestamp(pair[0]), format_timestamp(pair[1])


class SongCatalogue:
    """Rows of all songs, with true styles and popularity weights.

    Those of deleted songs are kept, because old sessions contain these songs.
    """

    def __init__(self, seed: int, songs: int) -> None:
        self.rows: dict[int, Row] = {}
        self.style: dict[int, int] = {}
        self.weight: dict[int, float] = {}
        self._ids = IdSequence((seed, 1), songs)
        self._artists: list[Artist] = []
        self._taken: set[str] = set()

    def fill(self, songs: int, moments: TimeSpan, rng: np.random.Generator) -> None:
        random = Random(int(rng.integers(2**63)))
        ranks = rng.permutation(max(len(STYLES), songs // SONGS_PER_ARTIST)) + 1.0
        output = ranks**-OUTPUT_EXPONENT
        # Each artist first gets one song, so that no artist has none.
        counts = (
            np.ones(len(ranks), dtype=np.int64) if songs >= len(ranks) else np.zeros(len(ranks), np.int64)
        )
        counts += rng.multinomial(songs - int(counts.sum()), output / output.sum())
        styles = self._styles(len(ranks), rng)
        for rank, style, count in zip(ranks, styles, counts, strict=True):
            artist = self._add_artist(int(style), float(rank**-FAME_EXPONENT), moments.end.year, random, rng)
            self._add_discography(artist, int(count), moments, random, rng)
        self._shuffle(random)

    def add_songs(self, songs: int, moments: TimeSpan, rng: np.random.Generator) -> None:
        """Add songs released this year, three albums in ten by new artists."""
        random = Random(int(rng.integers(2**63)))
        year = moments.end.year
        while songs > 0:
            count = min(songs, random.randint(1, 3))
            artist = random.choice(self._artists)
            if random.random() < 0.3:
                style = int(rng.choice(len(STYLES), p=[style.share for style in STYLES]))
                artist = self._add_artist(
                    style, random.paretovariate(2) / len(self._artists), year, random, rng
                )
            self._add_album(artist, count, year, moments, random, rng)
            songs -= count

    def correct_song(self, song: int, updated_at: str, random: Random) -> None:
        row = self.rows[song]
        minutes, seconds = map(int, row["duration"].split(":"))
        change = random.choice((
            {"duration": format_duration(minutes * 60 + seconds + random.choice((-2, -1, 1, 2, 3)))},
            {"album": f"{row['album'].removesuffix(' (Remastered)')} (Remastered)"},
            {"songwriters": add_name(row["songwriters"], " ".join(random_person_name(random)))},
        ))  # fmt: skip
        self.rows[song] = {**row, **change, "updated_at": updated_at}

    def delete_songs(self, songs: Iterable[int]) -> None:
        for song in songs:
            del self.rows[song]

    def playable_songs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        ids = np.fromiter(self.rows, np.int64, len(self.rows))
        styles = np.fromiter((self.style[song] for song in self.rows), np.int64, len(ids))
        weights = np.fromiter((self.weight[song] for song in self.rows), np.float64, len(ids))
        return ids, styles, weights

    def _styles(self, artists: int, rng: np.random.Generator) -> NDArray[np.int64]:
        drawn = rng.choice(len(STYLES), size=artists, p=[style.share for style in STYLES])
        drawn[: len(STYLES)] = np.arange(len(STYLES))  # every style has an artist
        return rng.permutation(drawn)

    def _add_artist(
        self, style: int, fame: float, latest: int, random: Random, rng: np.random.Generator
    ) -> Artist:
        kind = STYLES[style]
        artist = Artist(
            name=draw_unused_name(lambda: artist_name(kind, random), self._taken),
            style=style,
            fame=fame,
            debut=min(latest, round(random.gauss(kind.year, 8))),
            centre=np.array(kind.centre) + ARTIST_SPREAD * rng.normal(0, FEATURE_SPREAD),
            seconds=kind.seconds * random.lognormvariate(0, 0.1),
            writers=[" ".join(random_person_name(random)) for _ in range(random.randint(1, 4))],
        )
        self._artists.append(artist)
        return artist

    def _add_discography(
        self, artist: Artist, songs: int, moments: TimeSpan, random: Random, rng: np.random.Generator
    ) -> None:
        year = artist.debut
        while songs > 0:
            count = min(songs, random.choice((1, 4, 6, 8, 10, 12)))
            self._add_album(artist, count, min(year, moments.end.year), moments, random, rng)
            songs -= count
            year += random.randint(1, 4)

    def _add_album(
        self,
        artist: Artist,
        songs: int,
        year: int,
        moments: TimeSpan,
        random: Random,
        rng: np.random.Generator,
    ) -> None:
        style = STYLES[artist.style]
        album = random_title(style, random)
        extra = random.choice(style.genres) if random.random() < 0.3 else None
        genres = style.name if extra is None else f"{style.name}, {extra}"
        centre = artist.centre + ALBUM_SPREAD * rng.normal(0, FEATURE_SPREAD)
        features = centre + SONG_SPREAD * rng.normal(0, FEATURE_SPREAD, size=(songs, len(FEATURES)))
        for values in np.clip(features, MIN_FEATURES, MAX_FEATURES).round(3).tolist():
            song = self._ids.next_id()
            created_at, updated_at = moments.draw_timestamps(random)
            self.style[song] = artist.style
            self.weight[song] = artist.fame * random.lognormvariate(0, 1)
            self.rows[song] = {
                "id": song,
                "name": draw_unused_name(lambda: random_title(style, random), artist.titles),
                "artist": artist.name,
                "songwriters": ", ".join(random.sample(artist.writers, min(2, len(artist.writers)))),
                "duration": format_duration(round(artist.seconds * random.lognormvariate(0, 0.18))),
                "genres": genres,
                "album": album,
                "created_at": created_at,
                "updated_at": updated_at,
                "audio_features": drop_some_features(values, random),
                "release_year": year,
            }

    def _shuffle(self, random: Random) -> None:
        rows = list(self.rows.values())
        random.shuffle(rows)
        self.rows = {row["id"]: row for row in rows}


def add_name(names: str, name: str) -> str:
    return ", ".join(dict.fromkeys([*names.split(", "), name]))


def format_duration(seconds: int) -> str:
    minutes, rest = divmod(min(max(seconds, 5), 3599), 60)
    return f"{minutes:02}:{rest:02}"


def drop_some_features(values: list[float], random: Random) -> dict[str, float | None] | None:
    """The features by name; sometimes one value is missing, or all are (None)."""
    luck = random.random()
    if luck < NO_FEATURES_SHARE:
        return None
    features: dict[str, float | None] = dict(zip(FEATURES, values, strict=True))
    if luck < NO_FEATURES_SHARE + ONE_FEATURE_MISSING_SHARE:
        features[random.choice(FEATURES)] = None
    return features
