"""The cold-start rule: what to recommend to a listener without plays, or to everyone without a model."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestion.models import Song
from recommender.engine.sampling import sampler
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.listener_profiles import ListenerProfile
from recommender.registry.model_loader import ServingModel
from recommender.serving.list_limits import MAX_CANDIDATES, choose_candidates
from recommender.serving.list_sampler import COLD_START, FAMILIAR, HEARD, NO_CLUSTER
from recommender.serving.popular_and_similar_songs import (
    PopularSong,
    most_played_then_new_songs,
    shared_genre,
)

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
    closed = profile.excluded | profile.excluded_clusters.keys()
    played = profile.last_plays_of(profile.songs)
    allowed = [row for row in most_played_then_new_songs(now) if row.song not in closed]
    rows = [row for row in allowed if row.song not in played]
    # Played songs come last, the one played longest ago first; only lists that would end early have them.
    heard = sorted(
        (row for row in allowed if row.song in played), key=lambda row: (played[row.song], row.song)
    )
    popularity = np.log1p([row.score for row in rows])
    in_favorite_genre = np.array(
        [bool(shared_genre(row.genres, profile.genres)) for row in rows],
        dtype=np.float64,
    )
    scores = popularity / max(1e-9, popularity.max(initial=0.0)) + FAVORITE_GENRE_BONUS * in_favorite_genre
    order = np.lexsort((np.arange(len(rows)), -scores))
    ranked = [rows[place] for place in order]
    places = choose_candidates(_artist_codes(ranked))
    best, values = [ranked[place] for place in places], sampler.scale_scores(scores[order][places])
    heard = heard[: MAX_CANDIDATES - len(best)]
    chosen = [*best, *heard]
    played_artists = _recently_played_artists(profile)
    is_heard = np.arange(len(chosen)) >= len(best)
    familiar = np.array([row.artist in played_artists for row in chosen], dtype=np.bool_)
    songs = np.array([row.song for row in chosen], dtype=np.int64)
    no_clusters = np.full(len(songs), NO_CLUSTER, dtype=np.int32)
    return CandidateArrays(
        songs=songs,
        # Equal to the last value, so that they do not change whether all values are equal.
        values=np.concatenate([values, np.full(len(heard), values[-1] if len(values) else 0.0)]).astype(
            np.float32
        ),
        clusters=model.cluster_numbers_of(songs, default=NO_CLUSTER) if model else no_clusters,
        artists=_artist_codes(chosen),
        flags=(COLD_START | (FAMILIAR * familiar) | (HEARD * is_heard)).astype(np.uint8),
        affinities={},
        last_played_at={row.song: played[row.song] for row in heard},
    )


def _artist_codes(rows: Sequence[PopularSong]) -> NDArray[np.int32]:
    codes: dict[str, int] = {}
    names = (row.artist.casefold().strip() or f"\0{row.song}" for row in rows)
    return np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.int32)


def _recently_played_artists(profile: ListenerProfile) -> set[str]:
    latest = profile.songs[np.argsort(-profile.last_played_at, kind="stable")][:MAX_RECENT_SONGS]
    return set(Song.objects.filter(pk__in=latest.tolist()).values_list("artist", flat=True))
