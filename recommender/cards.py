"""What is shown of a song in a list."""

from collections.abc import Iterable
from typing import NamedTuple

from ingestion.models import Song


class Card(NamedTuple):
    """Attributes: duration: whole seconds."""

    id: int
    name: str
    artist: str
    album: str
    genres: str
    duration: int
    is_available: bool


def cards_of(songs: Iterable[int]) -> dict[int, Card]:
    """By song id, in one query; ids of no song are left out."""
    # Not as objects: twenty of those cost as much as the whole draw.
    rows = Song.objects.filter(pk__in=list(songs)).order_by()
    columns = rows.values_list("id", "name", "artist", "album", "genres", "duration", "unavailable_at")
    return {
        song: Card(song, name, artist, album, genres, int(duration.total_seconds()), gone is None)
        for song, name, artist, album, genres, duration, gone in columns
    }
