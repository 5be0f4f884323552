"""The `cluster` and `genre` filters of the songs endpoint (setting SONG_LIST_FILTERS)."""

from hashlib import blake2b
from typing import Final

from django.core.cache import cache
from django.db.models import QuerySet

from ingestion.api.http_cache import catalogue_validator
from ingestion.api.query_params import QueryParameter, integer_type, text_type
from ingestion.api.song_filters import SongFilter
from ingestion.models import Song
from recommender.engine.identity.genres import genre_keys
from recommender.models import GenreAlias, sql
from recommender.models.naming import read_genre_names
from recommender.services import current_model, serving_label

# Cached, because reading the genre texts of a million songs takes a second for each page of a list.
CACHE_SECONDS: Final = 600


def songs_in_cluster(songs: QuerySet[Song], number: int) -> QuerySet[Song]:
    model = current_model().model
    ids = model.songs_of(number) if model else []
    return songs.filter(pk__in=sql.ids_as_one_parameter(ids)) if ids else songs.none()


def songs_of_genre(songs: QuerySet[Song], genre: str) -> QuerySet[Song]:
    """Songs of a genre, in any spelling and under any of its names."""
    return songs.filter(genres__in=sql.texts_as_one_parameter(_texts_with_genre(genre))) if genre else songs


def _texts_with_genre(genre: str) -> list[str]:
    edition = catalogue_validator()
    wanted = read_genre_names().spellings(genre)
    key = f"recommender.genre_texts.{edition.etag_source if edition else ''}.{sorted(wanted)}"
    digest = f"recommender.genre_texts.{blake2b(key.encode(), digest_size=16).hexdigest()}"
    texts: list[str] | None = cache.get(digest) if edition else None
    if texts is None:
        all_texts = Song.objects.order_by().values_list("genres", flat=True).distinct()
        texts = [text for text in all_texts.iterator() if not wanted.isdisjoint(genre_keys(text))]
        cache.set(digest, texts, CACHE_SECONDS)
    return texts


def _alias_state() -> str:
    return repr(list(GenreAlias.objects.order_by("key").values_list("key", "genre")))


CLUSTER_FILTER: Final = SongFilter(
    QueryParameter("cluster", integer_type(), "The id of a cluster of the serving model."),
    apply=songs_in_cluster,
    state=lambda: serving_label() or "",
)
GENRE_FILTER: Final = SongFilter(
    QueryParameter("genre", text_type(), "One of the song's genres: the whole name, in any spelling."),
    apply=songs_of_genre,
    state=_alias_state,
)
