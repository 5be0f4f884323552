"""What is played most, counted in the tables: charts, and what is served when no model is at hand."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from django.core.cache import cache

from ingestion.models import Song
from recommender.models import sql
from recommender.registry.model_loader import NamedCluster, ServingModel

# Deep enough for a listener who has heard the thousand songs that everybody knows.
MAX_POPULAR_SONGS: Final = 2_000
# Counting a million plays takes about a second; a chart that is ten minutes old is as good.
CACHE_SECONDS: Final = 600  # seconds


class PopularSong(NamedTuple):
    song: int
    plays: int
    artist: str
    genres: str


def most_played_songs(now: datetime, days: int | None = None) -> list[PopularSong]:
    """The available songs played most, ties by id; at most `DEPTH`, songs never played left out.

    Args:
        days: only sessions of so many days up to `now` count; None: all.
    """
    # Plain tuples: a pickled class could not be read any more once it is moved or renamed.
    key = f"recommender.popular_songs.{days}"
    rows: list[sql.Row] | None = cache.get(key)
    if rows is None:
        rows = sql.count_plays(None if days is None else (now - timedelta(days=days), now), MAX_POPULAR_SONGS)
        cache.set(key, rows, CACHE_SECONDS)
    return [PopularSong(*row) for row in rows]


def most_played_then_new_songs(now: datetime) -> list[PopularSong]:
    """The charts, and behind them songs that nobody has played, newest first."""
    played = most_played_songs(now)
    if len(played) >= MAX_POPULAR_SONGS:
        return played
    known = {row.song for row in played}
    unplayed = Song.objects.filter(unavailable_at=None).order_by("-created_at", "id")
    # Asks for as many more as may be known already.
    rows = unplayed.values_list("id", "artist", "genres")[: MAX_POPULAR_SONGS + len(known)]
    new = [PopularSong(song, 0, artist, genres) for song, artist, genres in rows if song not in known]
    return [*played, *new][:MAX_POPULAR_SONGS]


def parse_genres(text: str) -> frozenset[str]:
    """The genres of a text that separates them by commas, case-folded."""
    return frozenset(word for part in text.split(",") if (word := part.strip().casefold()))


def shared_genre(genres: str, favorites: str) -> str:
    """The first of the favourite genres that the song has too, case-folded; '' for none."""
    words = parse_genres(genres)
    liked = (part.strip().casefold() for part in favorites.split(","))
    return next((word for word in liked if word in words), "")


MAX_SIMILAR_SONGS: Final = 200


class SimilarSong(NamedTuple):
    """Attributes: score: higher is more alike; to compare within one answer only."""

    song: int
    score: float
    cluster: NamedCluster | None


def find_similar_songs(song_id: int, model: ServingModel | None, now: datetime) -> list[SimilarSong] | None:
    """At most `MOST` songs, the likest first; None for an unknown song."""
    column = model.column_of(song_id) if model else None
    if model is not None and column is not None:
        return _similar_by_model(column, model)
    song = Song.objects.filter(pk=song_id).values_list("artist", "genres").first()
    return None if song is None else _similar_by_metadata(song_id, *song, now)


def _similar_by_model(column: int, model: ServingModel) -> list[SimilarSong]:
    found = model.scorer.similar(column, n=MAX_SIMILAR_SONGS)
    return [
        SimilarSong(int(model.song_ids[other]), float(score), model.clusters[int(model.scorer.labels[other])])
        for other, score in zip(found.songs, found.scores, strict=True)
    ]


def _similar_by_metadata(song_id: int, artist: str, genres: str, now: datetime) -> list[SimilarSong]:
    """By the same artist or with shared genres, the most played first."""
    words = parse_genres(genres)
    rows = []
    for row in most_played_then_new_songs(now):
        theirs = parse_genres(row.genres)
        shared = len(words & theirs) / max(1, len(words | theirs))
        score = shared + (row.artist.casefold() == artist.casefold())
        if score and row.song != song_id:
            rows.append(SimilarSong(row.song, score, None))
    return sorted(rows, key=lambda row: -row.score)[:MAX_SIMILAR_SONGS]
