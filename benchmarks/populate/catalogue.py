"""Fill the empty tables with songs, listeners and sessions that follow tastes.

Usage: python -m benchmarks.populate.catalogue SONGS LISTENERS PLAYS.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import django
import numpy as np
import orjson

django.setup()

from ingestion.demo.world.styles import FEATURES
from ingestion.pipeline.upsert import HISTORY_TABLE, LISTENER_TABLE, SONG_TABLE, upsert
from ingestion.source.schemas import Record

SEED: Final = 7
STYLES: Final = 200
SONGS_PER_ARTIST: Final = 12
PLAYS_PER_SESSION: Final = 10
DAYS: Final = 56
ROW_TIMESTAMP: Final = "2026-01-01 00:00:00"
BLOCK_ROWS: Final = 20_000


def fill_world(songs: int, listeners: int, plays: int) -> None:
    draws = np.random.default_rng(SEED)
    styles = draws.integers(STYLES, size=songs)
    centres = draws.uniform(0.1, 0.9, (STYLES, len(FEATURES)))
    upsert(SONG_TABLE, _songs(styles, centres, draws), into_empty=True)
    upsert(LISTENER_TABLE, _listeners(listeners), into_empty=True)
    upsert(HISTORY_TABLE, _sessions(styles, listeners, plays, draws), into_empty=True)


def _songs(
    styles: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    centres: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    draws: np.random.Generator,
) -> Iterator[Record]:
    years = np.clip(1960 + styles % 6 * 11 + draws.normal(0, 5, len(styles)), 1950, 2026).astype(int)
    artists = draws.integers(max(1, len(styles) // SONGS_PER_ARTIST // STYLES), size=len(styles))
    for start in range(0, len(styles), BLOCK_ROWS):
        block = styles[start : start + BLOCK_ROWS]
        audio = np.clip(centres[block] + draws.normal(0, 0.1, (len(block), len(FEATURES))), 0, 1).round(3)
        for place, style in enumerate(block.tolist(), start):
            artist = f"Artist {style}-{artists[place]}"
            features = orjson.dumps(dict(zip(FEATURES, audio[place - start].tolist(), strict=True))).decode()
            values = {
                "id": place + 1, "name": f"Song {place}", "artist": artist, "songwriters": artist,
                "duration": (120 + place % 240) * 1_000_000, "genres": f"style {style}, family {style % 20}",
                "album": f"{artist}, {place % 3}", "audio_features": features,
                "release_year": int(years[place]), "created_at": ROW_TIMESTAMP, "updated_at": ROW_TIMESTAMP,
            }  # fmt: skip
            yield tuple(values[name] for name in SONG_TABLE.columns)


def _listeners(count: int) -> Iterator[Record]:
    for pk in range(1, count + 1):
        values = {
            "id": pk,
            "first_name": "",
            "last_name": "",
            "email": "",
            "gender": "",
            "favorite_genres": f"style {pk % STYLES}",
            "created_at": ROW_TIMESTAMP,
            "updated_at": ROW_TIMESTAMP,
        }
        yield tuple(values[name] for name in LISTENER_TABLE.columns)


def _sessions(
    styles: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    listeners: int,
    plays: int,
    draws: np.random.Generator,
) -> Iterator[Record]:
    """Each listener keeps to four styles; within a style songs are played by a power law."""
    members = [np.flatnonzero(styles == style) for style in range(STYLES)]
    each = max(1, plays // listeners // PLAYS_PER_SESSION)
    # Up to now: candidate lists are prepared for recent listeners.
    first = datetime.now(UTC) - timedelta(days=DAYS)
    for listener in range(1, listeners + 1):
        liked = [listener % STYLES, *draws.integers(STYLES, size=3).tolist()]
        shares = draws.dirichlet([1.5, 1.0, 1.0, 0.5])
        for session in range(each):
            picked = draws.choice(liked, size=PLAYS_PER_SESSION, p=shares).tolist()
            places = draws.power(0.4, PLAYS_PER_SESSION).tolist()
            items = [
                int(members[style][int(place * len(members[style]))]) + 1
                for style, place in zip(picked, places, strict=True) if len(members[style])
            ]  # fmt: skip
            at = first + timedelta(days=DAYS * (session + float(draws.random())) / each)
            stamp = at.strftime("%Y-%m-%d %H:%M:%S.%f")
            values = {
                "user_id": listener, "items": orjson.dumps(items).decode(), "occurrence": 0,
                "created_at": stamp, "updated_at": stamp,
            }  # fmt: skip
            yield tuple(values[name] for name in HISTORY_TABLE.columns)


if __name__ == "__main__":
    fill_world(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
