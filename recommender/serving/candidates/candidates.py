"""Candidate generation: a listener's best songs by the model, or by popularity in a cold start."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.data import Profiles
from recommender.engine.sampling import sampler
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.engine.sampling.favourites import favourite_scores
from recommender.engine.song_columns import are_among, find_columns
from recommender.listener_profiles import ListenerProfile
from recommender.registry.model_loader import ServingModel
from recommender.serving.candidates.cold_start import cold_start_candidates
from recommender.serving.candidates.new_songs import new_songs_of, rank_new_songs
from recommender.serving.candidates.played_songs import PlayedSongs
from recommender.serving.list_limits import (
    MAX_CANDIDATES,
    MAX_FAVOURITES,
    MAX_LIST_LENGTH,
    MAX_PER_ARTIST,
    choose_candidates,
    first_per_group,
)
from recommender.serving.list_sampler import COLD_START, FAMILIAR, HEARD, LIKES, NEW_SONG, RERECOMMENDED

# Played songs that are recommended again; lists contain them only at a low discovery.
MAX_RERECOMMENDED: Final = 50
RERECOMMEND_AFTER: Final = timedelta(days=60)
# Songs for the places for new songs, of which there are at most three in twenty.
MAX_NEW_SONGS: Final = 20
# A new song among this many best candidates needs no reserved place.
RANKED_ON_THEIR_OWN: Final = 100
# Scored songs, of which the artist cap and the listener's feedback remove some.
SCORED_CANDIDATES: Final = 3 * MAX_CANDIDATES

Columns = NDArray[np.int32]
Scores = NDArray[np.float64]


def generate_candidates(
    profile: ListenerProfile, model: ServingModel | None, now: datetime
) -> CandidateArrays:
    """A listener's candidates, best first, without excluded songs.

    Played songs are candidates only if last played long ago, or, with the flag HEARD at the end, if few
    others remain.
    """
    by_model = model_candidates(profile, model, now) if model else None
    if model is None or by_model is None or not len(by_model.songs):
        return cold_start_candidates(profile, model, now)
    if np.count_nonzero(by_model.flags & HEARD == 0) >= MAX_LIST_LENGTH:
        return by_model
    return _with_unknown_songs(by_model, cold_start_candidates(profile, model, now), model)


def _with_unknown_songs(
    by_model: CandidateArrays, popular: CandidateArrays, model: ServingModel
) -> CandidateArrays:
    """Insert songs that are newer than the model before the played ones."""
    first_heard = np.count_nonzero(by_model.flags & HEARD == 0)
    # A new song that suits the listener is a candidate already.
    is_known = find_columns(model.song_ids, popular.songs)[1] | are_among(popular.songs, by_model.songs)
    added = np.flatnonzero(~is_known & (popular.flags & HEARD == 0))[: MAX_CANDIDATES - first_heard]
    new = popular.songs[added].tolist()
    last_value = by_model.values[first_heard - 1 : first_heard] if first_heard else by_model.values[:1]

    def insert(name: str, values: NDArray[Any]) -> NDArray[Any]:
        column = getattr(by_model, name)
        merged = np.concatenate([column[:first_heard], values, column[first_heard:]])[:MAX_CANDIDATES]
        return merged.astype(column.dtype)

    return replace(
        by_model,
        songs=insert("songs", popular.songs[added]),
        values=insert("values", np.repeat(last_value, len(added))),
        clusters=insert("clusters", popular.clusters[added]),
        artists=insert("artists", popular.artists[added]),
        flags=insert("flags", popular.flags[added]),
        further_codes={
            **by_model.further_codes,
            **{song: popular.further_codes[song] for song in new if song in popular.further_codes},
        },
    )


def model_candidates(profile: ListenerProfile, model: ServingModel, now: datetime) -> CandidateArrays | None:
    """Candidates by the model; None if it has no songs for a listener without plays."""
    row = profile.model_profile(model.song_ids)
    found = model.scorer.candidates(row, n=SCORED_CANDIDATES)
    if not len(found.songs) and not row.plays.nnz:
        return None
    allowed = ~_in_excluded_cluster(profile, model, found.songs)
    recordings = model.recording_numbers
    is_closed = np.zeros(len(model.song_ids), dtype=np.bool_)  # there are at most as many recordings
    is_closed[recordings[_closed_songs(profile, model)]] = True
    allowed &= ~is_closed[recordings[found.songs]]
    allowed &= first_per_group(recordings[found.songs], 1)
    songs, scores = found.songs[allowed], found.scores[allowed].astype(np.float64)
    identity = model.identity
    is_familiar = identity.share_artist(songs, row.plays.indices)
    best = choose_candidates(identity.leads(songs), is_familiar)
    known = _with_rerecommended(profile, row, model, songs[best], scores[best], now)
    return _with_new_songs(known, profile, row, model)


def _with_new_songs(
    candidates: CandidateArrays, profile: ListenerProfile, row: Profiles, model: ServingModel
) -> CandidateArrays:
    """Append the new songs that suit the listener best, unless they are among the best candidates."""
    catalogue = new_songs_of(model, profile.run_id)
    if catalogue is None:
        return candidates
    columns, there = find_columns(model.song_ids, candidates.songs)
    listed = model.identity.recordings[columns[there]]
    recordings = catalogue.identity.recordings
    closed = are_among(recordings, model.identity.recordings[_closed_songs(profile, model)])
    closed |= catalogue.has_arrived & are_among(recordings, listed)
    ranked = rank_new_songs(catalogue, row, profile, ~closed, MAX_NEW_SONGS)
    added = ~are_among(catalogue.ids[ranked.places], candidates.songs[:RANKED_ON_THEIR_OWN])
    places, values = ranked.places[added], ranked.values[added]
    songs = catalogue.ids[places]
    left = ~are_among(candidates.songs, songs)
    familiar = catalogue.identity.have_artist(places, model.identity.all_artists_of(row.plays.indices))
    new = {
        "songs": songs, "values": values, "clusters": model.cluster_numbers[catalogue.songs.labels[places]],
        "artists": catalogue.identity.leads(places),
        "flags": np.where(familiar, NEW_SONG | FAMILIAR, NEW_SONG).astype(np.uint8),
    }  # fmt: skip
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(candidates, name)[left], column]) for name, column in new.items()
    }
    codes = {song: candidates.further_codes[song] for song in candidates.songs[left].tolist()
             if song in candidates.further_codes}  # fmt: skip
    further = {
        int(catalogue.ids[place]): tuple(catalogue.identity.artists_of(place)[1:])
        for place in places.tolist()
        if len(catalogue.identity.artists_of(place)) > 1
    }
    return replace(candidates, **joined, further_codes=codes | further)


def _with_rerecommended(
    profile: ListenerProfile,
    row: Profiles,
    model: ServingModel,
    songs: Columns,
    scores: Scores,
    now: datetime,
) -> CandidateArrays:
    old_songs, old_scores = rerecommended_songs(profile, model, now)
    low, spread = sampler.score_scale(scores)  # only of the new songs, so that old songs do not change it
    columns = np.concatenate([songs, old_songs])
    values = (np.concatenate([scores, old_scores]) - low) / spread
    is_old = np.arange(len(columns)) >= len(songs)
    # If the model gives all songs the same score, the old songs are spread evenly among the new songs.
    places = np.concatenate([np.arange(len(songs)), np.linspace(0, len(songs), len(old_songs))])
    order = np.lexsort((places, -values))[:MAX_CANDIDATES]
    columns, is_old, values = columns[order], is_old[order], values[order]
    heard = _heard_songs(profile, model, columns)
    loved, love_scores = favourite_songs(profile, model)
    heard = np.concatenate([heard, loved[~are_among(loved, np.concatenate([columns, heard]))]])
    columns, is_old = (
        np.concatenate([columns, heard]),
        np.concatenate([is_old, np.zeros(len(heard), np.bool_)]),
    )
    # The played songs get the last value, so that a list of equal values stays one.
    values = np.concatenate([values, np.full(len(heard), values[-1] if len(values) else 0.0)])
    is_heard = np.arange(len(columns)) >= len(order)
    scorer, identity = model.scorer, model.identity
    is_familiar = identity.share_artist(columns, row.plays.indices)
    flags = np.where(is_familiar, FAMILIAR, 0) | (RERECOMMENDED * is_old) | (HEARD * is_heard)
    if profile.has_likes:
        flags |= LIKES
    played_songs = PlayedSongs(profile, model)
    song_ids = model.song_ids[columns]
    return CandidateArrays(
        songs=song_ids,
        values=values.astype(np.float32),
        clusters=model.cluster_numbers[scorer.labels[columns]],
        artists=identity.leads(columns),
        flags=(flags | (0 if row.plays.nnz else COLD_START)).astype(np.uint8),
        affinities=model.cluster_affinities(row),
        last_played_at=profile.last_plays_of(song_ids[is_old | is_heard]),
        further_codes=_further_codes(model, columns),
        related=played_songs.related_to(columns, is_familiar, row),
        played_in_cluster=played_songs.in_clusters(),
        favourites=dict(zip(model.song_ids[loved].tolist(), love_scores.tolist(), strict=True)),
    )


def _further_codes(model: ServingModel, columns: NDArray[np.integer]) -> dict[int, tuple[int, ...]]:
    """By song id: codes of further credited artists and, as a negative number, of a copied recording."""
    found = {}
    has_copies = model.has_copies[columns]
    # Most songs have neither.
    wanted = has_copies | model.identity.have_several_artists(columns)
    for column, copied in zip(columns[wanted].tolist(), has_copies[wanted].tolist(), strict=True):
        credited = model.identity.artists_of(column)[1:]
        recording = [-1 - int(model.identity.recordings[column])] if copied else []
        if credited or recording:
            found[int(model.song_ids[column])] = (*credited, *recording)
    return found


def _closed_songs(profile: ListenerProfile, model: ServingModel) -> NDArray[np.int64]:
    """Columns of played, disliked and skipped songs, of which no copy is a candidate."""
    columns, there = find_columns(model.song_ids, np.concatenate([profile.songs, profile.excluded_ids]))
    return columns[there]


def _heard_songs(profile: ListenerProfile, model: ServingModel, columns: Columns) -> Columns:
    """Played songs that fill up the candidates, the one played longest ago first."""
    wanted = MAX_CANDIDATES - len(columns)
    if wanted <= 0:
        return np.empty(0, dtype=np.int32)
    order = np.lexsort((profile.songs, profile.last_played_at))
    found, there = find_columns(model.song_ids, profile.songs[order])
    heard: Columns = found[there].astype(np.int32)
    unwanted = are_among(model.song_ids[heard], profile.excluded_ids) | are_among(heard, columns)
    allowed = model.scorer.available[heard] & ~unwanted & ~_in_excluded_cluster(profile, model, heard)
    heard = heard[allowed]
    return heard[first_per_group(model.recording_numbers[heard], 1)][:wanted]


def favourite_songs(profile: ListenerProfile, model: ServingModel) -> tuple[Columns, Scores]:
    """The songs most likely to be played again, best first, and their scores."""
    skipped = np.zeros(len(profile.songs))
    places, is_played = find_columns(profile.songs, profile.skipped)
    skipped[places[is_played]] = profile.skips[is_played]
    scores = favourite_scores(profile.habits, skipped)
    order = np.lexsort((profile.songs, -scores))
    order = order[profile.play_counts[order] > 0]
    found, there = find_columns(model.song_ids, profile.songs[order])
    columns, scores = found[there].astype(np.int32), scores[order][there]
    allowed = model.scorer.available[columns] & ~_in_excluded_cluster(profile, model, columns)
    allowed &= ~are_among(model.song_ids[columns], profile.excluded_ids)
    columns, scores = columns[allowed], scores[allowed]
    best = first_per_group(model.recording_numbers[columns], 1)
    best &= first_per_group(model.identity.leads(columns), MAX_PER_ARTIST)
    return columns[best][:MAX_FAVOURITES], scores[best][:MAX_FAVOURITES]


def rerecommended_songs(
    profile: ListenerProfile, model: ServingModel, now: datetime
) -> tuple[Columns, Scores]:
    """The most played of the songs not played for sixty days, and their scores.

    Skipped and excluded songs are left out; the others are scored as if never played.
    """
    is_long_ago = _last_plays_of_recordings(profile, model) < (now - RERECOMMEND_AFTER).timestamp()
    unwanted = are_among(profile.songs, np.concatenate([profile.excluded_ids, profile.skipped]))
    places = np.flatnonzero(is_long_ago & ~unwanted)
    places = places[np.lexsort((places, -profile.plays[places]))][:MAX_RERECOMMENDED]
    found, there = find_columns(model.song_ids, profile.songs[places])
    found = found[there]
    columns: Columns = np.sort(found[first_per_group(model.recording_numbers[found], 1)]).astype(np.int32)
    columns = columns[model.scorer.available[columns] & ~_in_excluded_cluster(profile, model, columns)]
    if not len(columns):
        return columns, np.empty(0)
    without = profile.without_songs(profile.songs[places]).model_profile(model.song_ids)
    return columns, model.scorer.score(without, columns).astype(np.float64)


def _last_plays_of_recordings(profile: ListenerProfile, model: ServingModel) -> NDArray[np.float64]:
    columns, there = find_columns(model.song_ids, profile.songs)
    latest = profile.last_played_at.copy()
    recordings, places = np.unique(model.recording_numbers[columns[there]], return_inverse=True)
    by_recording = np.zeros(len(recordings))
    np.maximum.at(by_recording, places, latest[there])
    latest[there] = by_recording[places]
    return latest


def _in_excluded_cluster(
    profile: ListenerProfile, model: ServingModel, columns: Columns
) -> NDArray[np.bool_]:
    excluded = np.zeros(len(columns), dtype=np.bool_)
    if profile.excluded_clusters:
        numbers = model.cluster_numbers[model.scorer.labels[columns]].tolist()
        pairs = zip(model.song_ids[columns].tolist(), numbers, strict=True)
        for place, (song, number) in enumerate(pairs):
            wrong = profile.excluded_clusters
            excluded[place] = song in wrong and wrong[song] in {None, number}
    return excluded
