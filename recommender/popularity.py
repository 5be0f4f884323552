"""What is played most, counted in the tables: charts, and what is served when no model is at hand."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.core.cache import cache
from django.db import connection

from ingestion.models import Song

# Deep enough for a listener who has heard the thousand songs that everybody knows.
DEPTH: Final = 2_000
# Counting a million plays takes about a second; a chart that is ten minutes old is as good.
KEPT_FOR: Final = 600  # seconds


class Popular(NamedTuple):
    song: int
    plays: int
    artist: str
    genres: str


def charts(now: datetime, days: int | None = None) -> list[Popular]:
    """The available songs played most, ties by id; at most `DEPTH`, songs never played left out.

    Args:
        days: only sessions of so many days up to `now` count; None: all.
    """
    key = f"recommender.charts.{days}"
    found: list[Popular] | None = cache.get(key)
    if found is None:
        found = _count(None if days is None else (now - timedelta(days=days), now))
        cache.set(key, found, KEPT_FOR)
    return found


def charts_and_new_songs(now: datetime) -> list[Popular]:
    """The charts, and behind them songs that nobody has played, newest first."""
    played = charts(now)
    if len(played) >= DEPTH:
        return played
    known = {row.song for row in played}
    unplayed = Song.objects.filter(unavailable_at=None).order_by("-created_at", "id")
    # Asks for as many more as may be known already.
    rows = unplayed.values_list("id", "artist", "genres")[: DEPTH + len(known)]
    new = [Popular(song, 0, artist, genres) for song, artist, genres in rows if song not in known]
    return [*played, *new][:DEPTH]


def genre_words(text: str) -> frozenset[str]:
    """The genres of a text that separates them by commas, case-folded."""
    return frozenset(word for part in text.split(",") if (word := part.strip().casefold()))


def shared_genre(genres: str, favorites: str) -> str:
    """The first of the favourite genres that the song has too, case-folded; '' for none."""
    words = genre_words(genres)
    liked = (part.strip().casefold() for part in favorites.split(","))
    return next((word for word in liked if word in words), "")


def _count(between: tuple[datetime, datetime] | None) -> list[Popular]:
    # Each database counts inside JSON in its own words; in Python it would take ten times as long.
    item, items = (
        ("item.value::bigint", "jsonb_array_elements_text(h.items) AS item(value)")
        if connection.vendor == "postgresql"
        else ("item.value", "json_each(h.items) AS item")
    )
    sql = f"""
        SELECT s.id, p.plays, s.artist, s.genres
        FROM (
            SELECT {item} AS song, count(*) AS plays
            FROM listening_history h CROSS JOIN {items}
            WHERE h.unavailable_at IS NULL {"AND h.created_at BETWEEN %s AND %s" if between else ""}
            GROUP BY 1
        ) p JOIN songs s ON s.id = p.song
        WHERE s.unavailable_at IS NULL
        ORDER BY p.plays DESC, s.id LIMIT {DEPTH}
    """  # noqa: S608
    parameters: Sequence[Any] = [connection.ops.adapt_datetimefield_value(at) for at in between or ()]
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [Popular(*row) for row in cursor.fetchall()]
