"""What is shown of a song in a list."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from django.db import connection

# As SQLite holds a duration; the whole seconds of it.
MICROSECONDS: Final = "duration / 1000000"


class Card(NamedTuple):
    """Attributes: duration: whole seconds."""

    id: int
    name: str
    artist: str
    album: str
    genres: str
    duration: int
    is_available: bool | int  # SQLite knows no booleans


def cards_of(songs: Iterable[int]) -> dict[int, Card]:
    """By song id, in one query; ids of no song are left out."""
    ids = list(songs)
    if not ids:
        return {}
    # Every list asks this. Made by the ORM it takes four times as long: as much as the whole draw.
    seconds = "EXTRACT(EPOCH FROM duration)::bigint" if connection.vendor == "postgresql" else MICROSECONDS
    columns = f"id, name, artist, album, genres, {seconds}, unavailable_at IS NULL"
    places = ", ".join(["%s"] * len(ids))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM songs WHERE id IN ({places})", ids)  # noqa: S608
        return {row[0]: Card(*row) for row in cursor.fetchall()}
