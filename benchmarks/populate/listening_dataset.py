"""Fill the empty tables with a data set of real listening, or with the demo's world."""

import csv
import gzip
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from ingestion.demo.world.world import World
from ingestion.models import Listener, ListeningHistory, Song
from ingestion.pipeline.upsert import TABLES, upsert
from ingestion.source.schemas import SCHEMAS, RowValidator

SEED: Final = 7
DAYS: Final = 90  # the data sets have no times: their plays are spread over this many days
MAX_PLAYS: Final = 20  # of one song by one listener: counts reach thousands
PLAYS_PER_SESSION: Final = 10


def fill_demo(songs: int, listeners: int, days: int) -> datetime:
    """Fill in the demo's world; returns the morning after its last day."""
    last = date(2026, 10, 31)
    world = World.ending_on(last, songs=songs, listeners=listeners, days=days)
    for schema in SCHEMAS:
        rows = world.rows(schema.path.removeprefix("/"))
        upsert(TABLES[schema.resource], RowValidator(schema).validate_rows(rows), into_empty=True)
    return datetime(last.year, last.month, last.day, 8, tzinfo=UTC) + timedelta(days=1)


def fill_dataset(folder: Path, max_listeners: int) -> datetime:
    """Fill in the songs of a folder as `quality` reads it, and the train and valid plays of listeners."""
    now = datetime(2026, 11, 1, 8, tzinfo=UTC)
    begin = now - timedelta(days=DAYS)
    with gzip.open(folder / "songs.csv.gz", "rt", encoding="utf-8", newline="") as file:
        songs = [_read_song(row, begin) for row in csv.DictReader(file)]
    Song.objects.bulk_create(songs, batch_size=2_000)
    plays: dict[int, dict[int, int]] = {}
    for part in ("train", "valid"):
        with gzip.open(folder / f"{part}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                counts = plays.setdefault(int(row["user"]) + 1, {})
                counts[int(row["song"]) + 1] = min(MAX_PLAYS, round(float(row["count"])))
    chosen = sorted(plays)[:max_listeners]
    Listener.objects.bulk_create(Listener(id=pk, created_at=begin, updated_at=begin) for pk in chosen)
    draws = np.random.default_rng(SEED)
    sessions = [session for pk in chosen for session in _sessions(pk, plays[pk], begin, draws)]
    ListeningHistory.objects.bulk_create(sessions, batch_size=2_000)
    return now


def _read_song(row: dict[str, str], at: datetime) -> Song:
    year, seconds = row["release_year"], float(row["duration"] or 0)
    return Song(
        id=int(row["song"]) + 1, name=row["name"], artist=row["artist"], album=row["album"],
        genres=row["genres"], release_year=int(float(year)) if year else None,
        duration=timedelta(seconds=seconds), created_at=at, updated_at=at,
    )  # fmt: skip


def _sessions(
    listener: int, counts: dict[int, int], begin: datetime, draws: np.random.Generator
) -> Iterator[ListeningHistory]:
    items = np.repeat(list(counts), np.maximum(1, list(counts.values())))
    items = draws.permutation(items)
    for start in range(0, len(items), PLAYS_PER_SESSION):
        at = begin + timedelta(days=DAYS * float(draws.random()))
        yield ListeningHistory(
            user_id=listener, items=items[start : start + PLAYS_PER_SESSION].tolist(), created_at=at,
            updated_at=at,
        )  # fmt: skip
