"""The cold-start rule: what to recommend to a listener without plays, or to everyone without a model."""

from datetime import datetime
from typing import Final

import numpy as np

from ingestion.models import Song
from recommender.engine.sampling import sampler
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.listener_profiles import ListenerProfile
from recommender.registry.model_loader import ServingModel
from recommender.serving.list_limits import MAX_CANDIDATES, MAX_PER_ARTIST, first_per_group
from recommender.serving.list_sampler import COLD_START, FAMILIAR, NO_CLUSTER
from recommender.serving.popular_and_similar_songs import most_played_then_new_songs, shared_genre

# The logarithm of the listeners is scaled to 0..1, so songs of a favourite genre come before all others.
FAVORITE_GENRE_BONUS: Final = 1.0
MAX_RECENT_SONGS: Final = 1_000


def cold_start_candidates(
    profile: ListenerProfile, model: ServingModel | None, now: datetime
) -> CandidateArrays:
    """The cold-start rule: popular songs, with the listener's favourite genres first.

    Applies if there is no model, or if the model has no songs for a listener without plays. Songs that the
    model knows get the model's cluster; other songs have no cluster.
    """
    closed = profile.excluded | profile.excluded_clusters.keys() | set(profile.songs.tolist())
    rows = [row for row in most_played_then_new_songs(now) if row.song not in closed]
    popularity = np.log1p([row.score for row in rows])
    in_favorite_genre = np.array(
        [bool(shared_genre(row.genres, profile.genres)) for row in rows],
        dtype=np.float64,
    )
    scores = popularity / max(1e-9, popularity.max(initial=0.0)) + FAVORITE_GENRE_BONUS * in_favorite_genre
    order = np.lexsort((np.arange(len(rows)), -scores))
    codes: dict[str, int] = {}
    artists = np.array(
        [codes.setdefault(row.artist.casefold().strip() or f"\0{row.song}", len(codes)) for row in rows],
        dtype=np.int32,
    )
    best = order[first_per_group(artists[order], MAX_PER_ARTIST)][:MAX_CANDIDATES]
    played_artists = _recently_played_artists(profile)
    familiar = [rows[place].artist in played_artists for place in best]
    songs = np.array([rows[place].song for place in best], dtype=np.int64)
    no_clusters = np.full(len(songs), NO_CLUSTER, dtype=np.int32)
    return CandidateArrays(
        songs=songs,
        values=sampler.scale_scores(scores[best]).astype(np.float32),
        clusters=model.cluster_numbers_of(songs, default=NO_CLUSTER) if model else no_clusters,
        artists=artists[best],
        flags=np.where(familiar, COLD_START | FAMILIAR, COLD_START).astype(np.uint8),
        affinities={},
    )


def _recently_played_artists(profile: ListenerProfile) -> set[str]:
    latest = profile.songs[np.argsort(-profile.last_played_at, kind="stable")][:MAX_RECENT_SONGS]
    return set(Song.objects.filter(pk__in=latest.tolist()).values_list("artist", flat=True))
