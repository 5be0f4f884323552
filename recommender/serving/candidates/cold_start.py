"""The cold-start rule: songs for a listener without plays, or for everyone without a model."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestion.models import Song
from recommender.engine.identity.credits import ArtistCredits, artist_key
from recommender.engine.identity.genres import shared_genre
from recommender.engine.identity.recordings import recording_key
from recommender.engine.identity.text import has_text
from recommender.engine.sampling import sampler
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.engine.sampling.favourites import favourite_scores
from recommender.engine.song_identity import artist_code, recording_code
from recommender.listener_profiles import ListenerProfile
from recommender.models import sql
from recommender.registry.model_loader import ServingModel
from recommender.serving.candidates.popular_and_similar_songs import (
    PopularSong,
    most_played_then_new_songs,
)
from recommender.serving.list_limits import MAX_CANDIDATES, MAX_FAVOURITES, choose_candidates, first_per_group
from recommender.serving.list_sampler import COLD_START, FAMILIAR, HEARD, NO_CLUSTER, UNPLAYED

# The logarithm of the listeners is scaled to 0..1, so songs of a favourite genre come before all others.
FAVORITE_GENRE_BONUS: Final = 1.0
MAX_RECENT_SONGS: Final = 1_000


def cold_start_candidates(
    profile: ListenerProfile, model: ServingModel | None, now: datetime
) -> CandidateArrays:
    """Popular songs, with the listener's favourite genres first.

    Songs that the model knows have a cluster, the others have none.
    """
    closed = profile.excluded | profile.excluded_clusters.keys()
    played = profile.last_plays_of(profile.songs)
    allowed = [
        row
        for row in most_played_then_new_songs(now)
        if row.song not in closed and has_text(row.name) and has_text(row.artist)
    ]
    known = _known_songs(profile)
    split = ArtistCredits([*(row.artist for row in allowed), *(song.artist for song in known)])
    rows = _without_copies([row for row in allowed if row.song not in played], split, known)
    # Played songs come last, the one played longest ago first; only lists that would end early have them.
    heard = _without_copies(
        sorted((row for row in allowed if row.song in played), key=lambda row: (played[row.song], row.song)),
        split,
    )
    popularity = np.log1p([row.score for row in rows])
    in_favorite_genre = np.array(
        [bool(shared_genre(row.genres, profile.genres)) for row in rows],
        dtype=np.float64,
    )
    scores = popularity / max(1e-9, popularity.max(initial=0.0)) + FAVORITE_GENRE_BONUS * in_favorite_genre
    order = np.lexsort((np.arange(len(rows)), -scores))
    ranked = [rows[place] for place in order]
    places = choose_candidates(_lead_codes(ranked, split))
    best, values = [ranked[place] for place in places], sampler.scale_scores(scores[order][places])
    favourites = _favourites(profile, heard)
    room = MAX_CANDIDATES - len(best)
    heard = [row for place, row in enumerate(heard) if place < room or row.song in favourites]
    chosen = [*best, *heard]
    related = _played_by_artists(profile, known, split, chosen)
    is_heard = np.arange(len(chosen)) >= len(best)
    familiar = np.array([row.song in related for row in chosen], np.bool_)
    unplayed = np.array([row.listeners == 0 for row in chosen], np.bool_)
    flags = COLD_START | (FAMILIAR * familiar) | (HEARD * is_heard) | (UNPLAYED * unplayed)
    songs = np.array([row.song for row in chosen], dtype=np.int64)
    return CandidateArrays(
        songs=songs,
        # Equal to the last value, so that they do not change whether all values are equal.
        values=np.concatenate([values, np.full(len(heard), values[-1] if len(values) else 0.0)]).astype(
            np.float32
        ),
        clusters=model.cluster_numbers_of(songs, default=NO_CLUSTER)
        if model
        else np.full(len(songs), NO_CLUSTER),
        artists=_lead_codes(chosen, split),
        flags=flags.astype(np.uint8),
        affinities={},
        last_played_at={row.song: played[row.song] for row in heard},
        favourites=favourites,
        related=related,
        further_codes={
            row.song: tuple(map(artist_code, keys[1:]))
            for row in chosen
            if len(keys := split.keys(row.artist)) > 1
        },
    )


def _favourites(profile: ListenerProfile, heard: Sequence[PopularSong]) -> dict[int, float]:
    scores = favourite_scores(profile.habits, np.zeros(len(profile.habits)))
    by_song = dict(zip(profile.songs.tolist(), scores.tolist(), strict=True))
    best = sorted((row.song for row in heard), key=lambda song: (-by_song[song], song))[:MAX_FAVOURITES]
    return {song: by_song[song] for song in best}


class _KnownSong(NamedTuple):
    song: int
    name: str
    artist: str
    album: str
    was_played: bool  # False: only disliked or skipped


def _known_songs(profile: ListenerProfile) -> list[_KnownSong]:
    latest = profile.songs[np.argsort(-profile.last_played_at, kind="stable")][:MAX_RECENT_SONGS].tolist()
    played = set(latest)
    rows = Song.objects.filter(pk__in=sql.ids_as_one_parameter(sorted({*latest, *profile.excluded})))
    return [
        _KnownSong(*row, was_played=row[0] in played)
        for row in rows.values_list("pk", "name", "artist", "album")
    ]


def _played_by_artists(
    profile: ListenerProfile, known: Sequence[_KnownSong], split: ArtistCredits, rows: Sequence[PopularSong]
) -> dict[int, tuple[int, ...]]:
    """Map each song by a played artist to the song of that artist that the listener plays most."""
    plays = dict(zip(profile.songs.tolist(), profile.play_counts.tolist(), strict=True))
    played = sorted((song for song in known if song.was_played), key=lambda one: (-plays[one.song], one.song))
    best: dict[str, int] = {}
    for song in played:
        for key in split.keys(song.artist):
            best.setdefault(key, song.song)
    found = {row.song: [best[key] for key in split.keys(row.artist) if key in best] for row in rows}
    return {song: tuple(songs[:1]) for song, songs in found.items() if songs}


def _without_copies(
    rows: Sequence[PopularSong], split: ArtistCredits, known: Sequence[_KnownSong] = ()
) -> list[PopularSong]:
    """Drop copies of known songs, and all but the first copy of each recording."""
    closed = [_recording(song, split) for song in known]
    recordings = np.array([*closed, *(_recording(row, split) for row in rows)], dtype=np.int64)
    is_first = first_per_group(recordings, 1)[len(closed) :].tolist()
    return [row for row, first in zip(rows, is_first, strict=True) if first]


def _lead_codes(rows: Sequence[PopularSong], split: ArtistCredits) -> NDArray[np.int32]:
    keys = (next(iter(split.keys(row.artist)), f"\0{row.song}") for row in rows)
    return np.array([artist_code(key) for key in keys], dtype=np.int32)


def _recording(song: PopularSong | _KnownSong, split: ArtistCredits) -> int:
    lead = artist_key(split.lead(song.artist))
    return recording_code(recording_key(song.name, lead, song.album), song.song)
