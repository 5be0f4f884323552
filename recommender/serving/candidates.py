"""What is put on a listener's shelf: the model's best candidates, or the charts for want of a model."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestion.models import Song
from recommender.engine.sampling import sampler
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.listener_profiles import ListenerProfile, find_columns
from recommender.registry.model_loader import ServingModel
from recommender.serving import non_personalized
from recommender.serving.list_sampler import COLD_START, FAMILIAR, NO_CLUSTER, RERECOMMENDED
from recommender.serving.options import MAX_CANDIDATES

# Some of them are heard again, if it was long ago; shown only to who asks for little that is new.
MAX_RERECOMMENDED: Final = 50
RERECOMMEND_AFTER: Final = timedelta(days=60)
# Without it a listener of three artists has a shelf of three artists, and six songs a list at two each.
MAX_PER_ARTIST: Final = 10
SCORED_CANDIDATES: Final = 3 * MAX_CANDIDATES
# A favourite genre is worth as much as all the fame there is, whose logarithm runs from 0 to 1.
FAVORITE_GENRE_BONUS: Final = 1.0
MAX_RECENT_SONGS: Final = 1_000

Columns = NDArray[np.int32]
Scores = NDArray[np.float64]


def generate_candidates(known: ListenerProfile, model: ServingModel | None, now: datetime) -> CandidateArrays:
    """One listener's candidates, best first: none that was heard (but for some, long ago) or is barred."""
    return (model_candidates(known, model, now) if model else None) or cold_start_candidates(
        known, model, now
    )


def model_candidates(known: ListenerProfile, model: ServingModel, now: datetime) -> CandidateArrays | None:
    """The candidates that the model puts first; None where it can say nothing of a listener without plays."""
    profile = known.model_profile(model.song_ids)
    found = model.scorer.candidates(profile, n=SCORED_CANDIDATES)
    if not len(found.songs) and not profile.plays.nnz:
        return None
    fit = ~_in_excluded_cluster(known, model, found.songs)
    songs, scores = found.songs[fit], found.scores[fit].astype(np.float64)
    best = np.flatnonzero(first_per_group(model.scorer.artists[songs], MAX_PER_ARTIST))[:MAX_CANDIDATES]
    return _build_candidates(known, model, songs[best], scores[best], now)


def _build_candidates(
    known: ListenerProfile, model: ServingModel, songs: Columns, scores: Scores, now: datetime
) -> CandidateArrays:
    profile = known.model_profile(model.song_ids)
    old_songs, old_scores = rerecommended_songs(known, model, now)
    low, spread = sampler.score_scale(scores)  # of what is new alone: old songs move nothing
    columns = np.concatenate([songs, old_songs])
    values = (np.concatenate([scores, old_scores]) - low) / spread
    is_old = np.arange(len(columns)) >= len(songs)
    # A model may like all alike: then what is heard again comes in between, evenly.
    places = np.concatenate([np.arange(len(songs)), np.linspace(0, len(songs), len(old_songs))])
    order = np.lexsort((places, -values))[:MAX_CANDIDATES]
    columns = columns[order]
    learnt = model.scorer
    artists = learnt.artists[columns]
    played = np.unique(learnt.artists[profile.plays.indices])
    flags = np.where(np.isin(artists, played), FAMILIAR, 0) | (RERECOMMENDED * is_old[order])
    return CandidateArrays(
        songs=model.song_ids[columns],
        values=values[order].astype(np.float32),
        clusters=model.cluster_numbers[learnt.labels[columns]],
        artists=artists,
        flags=(flags | (0 if profile.plays.nnz else COLD_START)).astype(np.uint8),
        affinities=model.cluster_affinities(profile),
    )


def rerecommended_songs(known: ListenerProfile, model: ServingModel, now: datetime) -> tuple[Columns, Scores]:
    """Songs to be heard again, and the model's scores: those played most, of those not heard for sixty days.

    None was skipped or is barred. They are scored as if they had never been heard, by all else that was.
    """
    is_long_ago = known.heard_at < (now - RERECOMMEND_AFTER).timestamp()
    unwanted = np.isin(known.songs, [*known.excluded, *known.skipped.tolist()])
    places = np.flatnonzero(is_long_ago & ~unwanted)
    places = places[np.lexsort((places, -known.plays[places]))][:MAX_RERECOMMENDED]
    found, there = find_columns(model.song_ids, known.songs[places])
    columns: Columns = np.sort(found[there]).astype(np.int32)
    columns = columns[model.scorer.available[columns] & ~_in_excluded_cluster(known, model, columns)]
    if not len(columns):
        return columns, np.empty(0)
    scores = model.scorer.score(
        known.without_songs(known.songs[places]).model_profile(model.song_ids), columns
    )
    return columns, scores.astype(np.float64)


def cold_start_candidates(
    known: ListenerProfile, model: ServingModel | None, now: datetime
) -> CandidateArrays:
    """What is played most, favourite genres first; in the model's clusters, where there is one."""
    closed = known.excluded | known.excluded_clusters.keys() | set(known.songs.tolist())
    rows = [row for row in non_personalized.most_played_then_new_songs(now) if row.song not in closed]
    fame = np.log1p([row.plays for row in rows])
    liked = [bool(non_personalized.shared_genre(row.genres, known.genres)) for row in rows]
    scores = fame / max(1e-9, fame.max(initial=0.0)) + FAVORITE_GENRE_BONUS * np.array(
        liked, dtype=np.float64
    )
    order = np.lexsort((np.arange(len(rows)), -scores))
    codes: dict[str, int] = {}
    artists = np.array(
        [codes.setdefault(row.artist.casefold().strip() or f"\0{row.song}", len(codes)) for row in rows],
        dtype=np.int32,
    )
    best = order[first_per_group(artists[order], MAX_PER_ARTIST)][:MAX_CANDIDATES]
    played = _artists_played(known)
    familiar = [rows[place].artist in played for place in best]
    songs = np.array([rows[place].song for place in best], dtype=np.int64)
    nowhere = np.full(len(songs), NO_CLUSTER, dtype=np.int32)
    return CandidateArrays(
        songs=songs,
        values=sampler.scale_scores(scores[best]).astype(np.float32),
        clusters=model.cluster_numbers_of(songs, default=NO_CLUSTER) if model else nowhere,
        artists=artists[best],
        flags=np.where(familiar, COLD_START | FAMILIAR, COLD_START).astype(np.uint8),
        affinities={},
    )


def _artists_played(known: ListenerProfile) -> set[str]:
    """Artists of the songs that were heard last."""
    latest = known.songs[np.argsort(-known.heard_at, kind="stable")][:MAX_RECENT_SONGS]
    return set(Song.objects.filter(pk__in=latest.tolist()).values_list("artist", flat=True))


def first_per_group(groups: NDArray[np.integer], limit: int) -> NDArray[np.bool_]:
    """Shape of `groups`: True for the first `most` entries of each group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(groups) else order
    sizes = np.diff(np.r_[starts, len(groups)])
    within = np.empty(len(groups), dtype=np.bool_)
    within[order] = np.arange(len(groups)) - np.repeat(starts, sizes) < limit
    return within


def _in_excluded_cluster(known: ListenerProfile, model: ServingModel, columns: Columns) -> NDArray[np.bool_]:
    """Which songs were said not to belong where the model has them."""
    refused = np.zeros(len(columns), dtype=np.bool_)
    if known.excluded_clusters:
        numbers = model.cluster_numbers[model.scorer.labels[columns]].tolist()
        pairs = zip(model.song_ids[columns].tolist(), numbers, strict=True)
        for place, (song, number) in enumerate(pairs):
            refused[place] = song in known.excluded_clusters and known.excluded_clusters[song] in {
                None,
                number,
            }
    return refused
