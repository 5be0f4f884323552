"""The most played songs, and songs similar to a given song."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from django.core.cache import cache

from ingestion.models import Song
from recommender.engine.data import ScoredSongs
from recommender.engine.identity.credits import artist_key
from recommender.engine.identity.genres import genre_keys
from recommender.models import sql
from recommender.models.naming import read_genre_names
from recommender.registry.model_loader import NamedCluster, ServingModel
from recommender.serving.candidates.charts import CHART_HALF_LIFE, MAX_POPULAR_SONGS, ChartRow, read_chart
from recommender.serving.candidates.new_songs import new_songs_of
from recommender.serving.list_limits import first_per_group

MAX_SIMILAR_SONGS: Final = 200
# Charts change with an import, and the texts of songs seldom.
CACHE_SECONDS: Final = 600


class PopularSong(NamedTuple):
    song: int
    score: float  # number of listeners, weighted by the age of their last play
    listeners: int
    plays: int
    artist: str
    genres: str
    name: str
    album: str


GENRES_COLUMN: Final = 5


class SimilarSong(NamedTuple):
    song: int
    score: float  # higher is more similar; only scores for the same song can be compared
    cluster: NamedCluster | None


def most_played_songs(now: datetime, days: int | None = None) -> list[PopularSong]:
    """The songs with the most listeners, at most MAX_POPULAR_SONGS, cached.

    Without charts since the newest import, plays are counted now.

    Args:
        days: the last `days` days, above `MAX_EXACT_DAYS` rounded up to years; None: all, and a listener
            counts less the older their last play is.
    """
    # Plain tuples, because a pickled class can't be read after it is moved or renamed.
    key = f"recommender.charts_with_names.{days}"
    rows: list[sql.Row] | None = cache.get(key)
    if rows is None:
        stored = read_chart(days, now)
        rows = _with_normalised_genres(_count_now(now, days) if stored is None else _with_texts(stored))
        cache.set(key, rows, CACHE_SECONDS)
    return [PopularSong(*row) for row in rows]


def _count_now(now: datetime, days: int | None) -> list[sql.Row]:
    # A million plays take about a second.
    between, half_life = (
        (None, CHART_HALF_LIFE) if days is None else ((now - timedelta(days=days), now), None)
    )
    return sql.count_listeners(now, between, half_life, MAX_POPULAR_SONGS)


def _with_texts(rows: Sequence[ChartRow]) -> list[sql.Row]:
    """Add the songs' texts, and drop songs that have become unavailable."""
    texts = sql.song_texts([song for song, *_ in rows])
    return [(*row, *texts[row[0]]) for row in rows if row[0] in texts]


def most_played_then_new_songs(now: datetime) -> list[PopularSong]:
    played = most_played_songs(now)
    if len(played) >= MAX_POPULAR_SONGS:
        return played
    played_ids = {row.song for row in played}
    newest_first = Song.objects.filter(unavailable_at=None).exclude(name="").exclude(artist="")
    newest_first = newest_first.order_by("-created_at", "id")
    # Some of the new songs may be among the played ones.
    limit = MAX_POPULAR_SONGS + len(played_ids)
    rows = newest_first.values_list("id", "artist", "genres", "name", "album")[:limit]
    new = [(song, 0.0, 0, 0, *texts) for song, *texts in rows if song not in played_ids]
    return [*played, *(PopularSong(*row) for row in _with_normalised_genres(new))][:MAX_POPULAR_SONGS]


def _with_normalised_genres(rows: Sequence[sql.Row]) -> list[sql.Row]:
    genres = read_genre_names().normalise_all(row[GENRES_COLUMN] for row in rows)
    return [
        (*row[:GENRES_COLUMN], text, *row[GENRES_COLUMN + 1 :])
        for row, text in zip(rows, genres, strict=True)
    ]


def find_similar_songs(song_id: int, model: ServingModel | None, now: datetime) -> list[SimilarSong] | None:
    """At most MAX_SIMILAR_SONGS songs, most similar first; None for an unknown song.

    A song that came after the training is compared by content, else by artist and genres.
    """
    column = model.column_of(song_id) if model else None
    if model is not None and column is not None:
        return _similar_by_model(column, model)
    if model is not None and (similar := _similar_by_content(song_id, model)):
        return similar
    song = Song.objects.filter(pk=song_id).values_list("artist", "genres").first()
    return None if song is None else _similar_by_metadata(song_id, *song, now)


def _similar_by_model(column: int, model: ServingModel) -> list[SimilarSong]:
    """Songs similar by the model, with new songs of similar content among them."""
    found = model.scorer.similar(column, n=MAX_SIMILAR_SONGS)
    recordings = model.identity.recordings
    # The song itself comes first, so that its copies are left out.
    is_first = first_per_group(recordings[np.r_[column, found.songs]], 1)[1:]
    songs = _as_similar_songs(ScoredSongs(found.songs[is_first], found.scores[is_first]), model)
    new = new_songs_of(model, sql.newest_finished_run())
    if new is None:
        return songs
    values = new.ranker.similarities(column, new.songs)
    values[np.isin(new.identity.recordings, recordings[np.r_[column, found.songs]])] = -np.inf
    songs += [
        SimilarSong(int(new.ids[place]), float(values[place]), model.clusters[int(new.songs.labels[place])])
        for place in np.flatnonzero(np.isfinite(values))
    ]
    return sorted(songs, key=lambda song: -song.score)[:MAX_SIMILAR_SONGS]


def _similar_by_content(song_id: int, model: ServingModel) -> list[SimilarSong]:
    """Songs with content similar to a song that came after the training; [] for any other song."""
    new = new_songs_of(model, sql.newest_finished_run())
    places = [] if new is None else np.flatnonzero(new.ids == song_id).tolist()
    if new is None or not len(places):
        return []
    found = new.ranker.similar_to(new.songs.content[places[0]], n=MAX_SIMILAR_SONGS)
    own = new.identity.recordings[places[:1]]
    is_first = first_per_group(np.r_[own, model.identity.recordings[found.songs]], 1)[1:]
    return _as_similar_songs(ScoredSongs(found.songs[is_first], found.scores[is_first]), model)


def _as_similar_songs(found: ScoredSongs, model: ServingModel) -> list[SimilarSong]:
    return [
        SimilarSong(int(model.song_ids[other]), float(score), model.clusters[int(model.scorer.labels[other])])
        for other, score in zip(found.songs, found.scores, strict=True)
    ]


def _similar_by_metadata(song_id: int, artist: str, genres: str, now: datetime) -> list[SimilarSong]:
    own_genres, own_artist = set(genre_keys(read_genre_names().normalise(genres))), artist_key(artist)
    rows = []
    for row in most_played_then_new_songs(now):
        other_genres = set(genre_keys(row.genres))
        shared = len(own_genres & other_genres) / max(1, len(own_genres | other_genres))
        score = shared + (artist_key(row.artist) == own_artist)
        if score and row.song != song_id:
            rows.append(SimilarSong(row.song, score, None))
    return sorted(rows, key=lambda row: -row.score)[:MAX_SIMILAR_SONGS]
