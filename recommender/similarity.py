"""Songs like a song: as the model has learnt it, or by what the tables say."""

from datetime import datetime
from typing import Final, NamedTuple

from ingestion.models import Song
from recommender import popularity
from recommender.champion import Group, Model

MOST: Final = 200


class Similar(NamedTuple):
    """Attributes: score: higher is more alike; to compare within one answer only."""

    song: int
    score: float
    group: Group | None


def similar(song_id: int, model: Model | None, now: datetime) -> list[Similar] | None:
    """At most `MOST` songs, the likest first; None for an unknown song."""
    column = model.column_of(song_id) if model else None
    if model is not None and column is not None:
        return _by_model(column, model)
    song = Song.objects.filter(pk=song_id).values_list("artist", "genres").first()
    return None if song is None else _by_tables(song_id, *song, now)


def _by_model(column: int, model: Model) -> list[Similar]:
    found = model.learnt.similar(column, n=MOST)
    return [
        Similar(int(model.song_ids[other]), float(score), model.groups[int(model.learnt.labels[other])])
        for other, score in zip(found.songs, found.scores, strict=True)
    ]


def _by_tables(song_id: int, artist: str, genres: str, now: datetime) -> list[Similar]:
    """By the same artist or with shared genres, the most played first."""
    words = popularity.genre_words(genres)
    rows = []
    for row in popularity.charts_and_new_songs(now):
        theirs = popularity.genre_words(row.genres)
        shared = len(words & theirs) / max(1, len(words | theirs))
        score = shared + (row.artist.casefold() == artist.casefold())
        if score and row.song != song_id:
            rows.append(Similar(row.song, score, None))
    return sorted(rows, key=lambda row: -row.score)[:MOST]
