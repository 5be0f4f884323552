"""Candidate generation: a listener's best songs by the model, or by popularity in a cold start."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from recommender.engine.data import NOT_IN_MODEL
from recommender.engine.sampling import sampler
from recommender.engine.sampling.candidate_codec import CandidateArrays
from recommender.engine.sampling.favourites import favourite_scores
from recommender.engine.song_columns import are_among, find_columns
from recommender.listener_profiles import ListenerProfile, build_model_profiles
from recommender.registry.model_loader import ServingModel
from recommender.serving.candidates.cold_start import cold_start_candidates
from recommender.serving.candidates.listener_block import ListenerBlock, ListenerSongs, places_within
from recommender.serving.candidates.new_songs import (
    NewSongCatalogue,
    RankedNewSongs,
    new_songs_of,
    rank_new_songs,
)
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
# Listeners of a block share the time of several hundred numpy calls. The arrays of more of them, or of those
# with many songs, would leave the processor's cache.
BLOCK_LISTENERS: Final = 32
BLOCK_SONGS: Final = 6_000

Scores = NDArray[np.float64]


def generate_candidates(
    profile: ListenerProfile, model: ServingModel | None, now: datetime
) -> CandidateArrays:
    """One listener's candidates, see `generate_block`."""
    return generate_block([profile], model, now)[0]


def split_into_blocks(profiles: Sequence[ListenerProfile]) -> Iterator[Sequence[ListenerProfile]]:
    """Yield blocks of at most BLOCK_LISTENERS listeners and, above one listener, BLOCK_SONGS played songs."""
    start = n_songs = 0
    for place, profile in enumerate(profiles):
        n_songs += len(profile.songs)
        if place > start and (n_songs > BLOCK_SONGS or place - start == BLOCK_LISTENERS):
            yield profiles[start:place]
            start, n_songs = place, len(profile.songs)
    if start < len(profiles):
        yield profiles[start:]


def generate_block(
    profiles: Sequence[ListenerProfile], model: ServingModel | None, now: datetime
) -> list[CandidateArrays]:
    """Each listener's candidates, best first, without excluded songs.

    Played songs are candidates only if last played long ago, or, with the flag HEARD at the end, if few
    others remain. A listener's candidates do not depend on the other listeners.

    Args:
        profiles: a block, see `split_into_blocks`; read together.
    """
    if model is None or not profiles:
        return [cold_start_candidates(profile, model, now) for profile in profiles]
    found = []
    for profile, by_model in zip(profiles, model_candidates(profiles, model, now), strict=True):
        candidates = by_model
        if not len(by_model.songs):
            candidates = cold_start_candidates(profile, model, now)
        elif np.count_nonzero(by_model.flags & HEARD == 0) < MAX_LIST_LENGTH:
            candidates = _with_unknown_songs(by_model, cold_start_candidates(profile, model, now), model)
        found.append(candidates)
    return found


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


@dataclass(frozen=True)
class _KnownSongs:
    """Candidates that the model knows, by listener, best first; equally long arrays."""

    songs: ListenerSongs
    values: Scores
    is_familiar: NDArray[np.bool_]
    played: NDArray[np.intp]  # the place in `PlayedColumns`; -1 if not played
    is_heard: NDArray[np.bool_]  # False for songs recommended again

    def chosen(self, which: NDArray[Any]) -> Self:
        columns = (self.values, self.is_familiar, self.played, self.is_heard)
        return type(self)(self.songs.chosen(which), *(column[which] for column in columns))


class _NewSongs(NamedTuple):
    """New songs for the places for new songs, by listener, best first."""

    catalogue: NewSongCatalogue
    ranked: RankedNewSongs


def model_candidates(
    profiles: Sequence[ListenerProfile], model: ServingModel, now: datetime
) -> list[CandidateArrays]:
    """Each listener's candidates by the model; empty if it has no songs for a listener without plays."""
    block = ListenerBlock(profiles, model)
    loved, love_scores = favourite_songs(block)
    known = _with_heard(block, _with_rerecommended(block, now), loved)
    reasons = PlayedSongs(block)
    listed, new = _list_new_songs(block, known)
    parts = zip(
        _build_arrays(block, listed, new),
        model.block_affinities(block.rows),
        _last_plays(block, known),
        _further_codes(block, listed.songs, new),
        reasons.related_to(known.songs, known.is_familiar),
        reasons.in_clusters(),
        block.split(block.played.listeners[loved], block.song_ids(loved), love_scores),
        strict=True,
    )
    return [
        CandidateArrays(
            **arrays, affinities=affinities, last_played_at=last_plays, further_codes=codes, related=related,
            played_in_cluster=in_cluster, favourites=favourites,
        )
        for arrays, affinities, last_plays, codes, related, in_cluster, favourites in parts
    ]  # fmt: skip


def _best_songs(block: ListenerBlock) -> _KnownSongs:
    """The unplayed songs with the highest scores, which are the values."""
    model = block.model
    found = model.scorer.block_candidates(block.rows, n=SCORED_CANDIDATES)
    songs = ListenerSongs.join([one.songs for one in found])
    scores = np.concatenate([one.scores for one in found]).astype(np.float64)
    allowed = ~block.in_excluded_cluster(songs)
    copied = np.flatnonzero(model.has_copies[songs.columns])
    recordings = block.recordings(songs.chosen(copied))
    allowed[copied] &= first_per_group(recordings, 1)
    allowed[copied] &= ~are_among(recordings, block.recordings(block.closed))
    songs, scores = songs.chosen(allowed), scores[allowed]
    leads, is_familiar = model.identity.leads(songs.columns), block.by_played_artist(songs)
    best = np.concatenate([
        start + choose_candidates(leads[start:stop], is_familiar[start:stop])
        for start, stop in pairwise(songs.starts(block.n).tolist())
    ])  # fmt: skip
    unplayed = np.full(len(best), -1)
    return _KnownSongs(songs.chosen(best), scores[best], is_familiar[best], unplayed, unplayed > 0)


def _with_rerecommended(block: ListenerBlock, now: datetime) -> _KnownSongs:
    """The best songs, and songs to recommend again among them; the values are scaled scores."""
    best, (old, old_scores) = _best_songs(block), rerecommended_songs(block, now)
    starts, old_starts = best.songs.starts(block.n), block.played.songs_at(old).starts(block.n)
    # Only of the new songs, so that old songs do not change the scale.
    scales = [sampler.score_scale(best.values[start:stop]) for start, stop in pairwise(starts.tolist())]
    low, spread = np.array(scales).T
    joined = _append(block, best, old, old_scores, is_heard=False)
    values = (joined.values - low[joined.songs.listeners]) / spread[joined.songs.listeners]
    joined = replace(joined, values=values)
    if not len(old):
        return joined
    order = []
    for row, start in enumerate((starts + old_starts).tolist()[:-1]):
        n, n_old = starts[row + 1] - starts[row], old_starts[row + 1] - old_starts[row]
        # If the model gives all songs the same score, the old songs are spread evenly among the new songs.
        places = np.concatenate([np.arange(n), np.linspace(0, n, n_old)])
        own = values[start : start + n + n_old]
        order.append(start + np.lexsort((places, -own))[:MAX_CANDIDATES])
    return joined.chosen(np.concatenate(order))


def _append(
    block: ListenerBlock, known: _KnownSongs, played: NDArray[np.intp], values: Scores, *, is_heard: bool
) -> _KnownSongs:
    """Add played songs after each listener's others.

    Args:
        played: places in `PlayedColumns`, by listener.
    """
    if not len(played):
        return known
    added = block.played.songs_at(played)
    order = np.argsort(np.concatenate([known.songs.listeners, added.listeners]), kind="stable")
    songs = ListenerSongs(*(np.concatenate(both)[order] for both in zip(known.songs, added, strict=True)))
    # A played song is by a played artist.
    columns = (
        (known.values, values), (known.is_familiar, np.ones(len(played), dtype=np.bool_)),
        (known.played, played), (known.is_heard, np.full(len(played), is_heard)),
    )  # fmt: skip
    return _KnownSongs(songs, *(np.concatenate(both)[order] for both in columns))


def _with_heard(block: ListenerBlock, listed: _KnownSongs, loved: NDArray[np.intp]) -> _KnownSongs:
    """The songs, then played songs that fill up the candidates, then further favourites."""
    pairs = block.pairs(listed.songs)
    heard = _heard_songs(block, listed.songs)
    taken = np.concatenate([pairs, block.pairs(block.played.songs_at(heard))])
    further = loved[~are_among(block.pairs(block.played.songs_at(loved)), taken)]
    ends = listed.songs.starts(block.n)
    # The played songs get the last value, so that a list of equal values stays one.
    last = np.append(listed.values, 0.0)[np.where(np.diff(ends) > 0, ends[1:] - 1, len(listed.values))]
    for played in (heard, further):
        values = last[block.played.listeners[played]]
        listed = _append(block, listed, played, values, is_heard=True)
    return listed


def _heard_songs(block: ListenerBlock, listed: ListenerSongs) -> NDArray[np.intp]:
    """Places of played songs that fill up the candidates, the song played longest ago first."""
    played = block.played
    wanted = MAX_CANDIDATES - np.diff(listed.starts(block.n))
    places = np.flatnonzero(played.is_known & ~played.is_excluded & (wanted > 0)[played.listeners])
    songs = played.songs_at(places)
    allowed = block.may_recommend(songs) & ~are_among(block.pairs(songs), block.pairs(listed))
    places = places[allowed]
    places = places[np.lexsort((played.last_played_at[places], played.listeners[places]))]
    places = places[first_per_group(block.recordings(played.songs_at(places)), 1)]
    listeners = played.listeners[places]
    return places[places_within(listeners) < wanted[listeners]]


def favourite_songs(block: ListenerBlock) -> tuple[NDArray[np.intp], Scores]:
    """The songs most likely to be played again, best first: places in `PlayedColumns`, and scores."""
    played = block.played
    places = np.flatnonzero(played.is_known & ~played.is_excluded & (played.play_counts > 0))
    places = places[block.may_recommend(played.songs_at(places))]
    scores = favourite_scores(played.habits[places], played.skips[places])
    order = np.lexsort((-scores, played.listeners[places]))
    places, scores = places[order], scores[order]
    songs = played.songs_at(places)
    best = first_per_group(block.recordings(songs), 1) & first_per_group(block.leads(songs), MAX_PER_ARTIST)
    places, scores = places[best], scores[best]
    best = places_within(played.listeners[places]) < MAX_FAVOURITES
    return places[best], scores[best]


def rerecommended_songs(block: ListenerBlock, now: datetime) -> tuple[NDArray[np.intp], Scores]:
    """The most played of the songs not played for sixty days: places in `PlayedColumns`, and scores.

    Skipped and excluded songs are left out; the others are scored as if never played.
    """
    played = block.played
    is_long_ago = _last_plays_of_recordings(block) < (now - RERECOMMEND_AFTER).timestamp()
    places = np.flatnonzero(is_long_ago & ~played.is_excluded & ~played.is_skipped)
    places = places[np.lexsort((-played.plays[places], played.listeners[places]))]
    places = places[places_within(played.listeners[places]) < MAX_RERECOMMENDED]
    found = places[played.is_known[places]]
    found = np.sort(found[first_per_group(block.recordings(played.songs_at(found)), 1)])
    found = found[block.may_recommend(played.songs_at(found))]
    rows = np.unique(played.listeners[found]).tolist()
    if not rows:
        return found, np.empty(0)
    first = np.searchsorted(played.listeners, np.arange(block.n))
    without, columns = [], []
    for row in rows:
        profile, left_out = block.profiles[row], places[played.listeners[places] == row] - first[row]
        without.append(profile.without_songs(profile.songs[left_out]))
        columns.append(played.columns[found[played.listeners[found] == row]].astype(np.int32))
    rest = build_model_profiles(without, block.model.song_ids)
    scores = block.model.scorer.block_scores(rest, columns)
    return found, np.concatenate(scores).astype(np.float64)


def _last_plays_of_recordings(block: ListenerBlock) -> NDArray[np.float64]:
    """When each played song, or a copy of it, was last played."""
    played = block.played
    latest = played.last_played_at.copy()
    known = np.flatnonzero(played.is_known)
    copied = known[block.model.has_copies[played.columns[known]]]
    recordings, places = np.unique(block.recordings(played.songs_at(copied)), return_inverse=True)
    by_recording = np.zeros(len(recordings))
    np.maximum.at(by_recording, places, latest[copied])
    latest[copied] = by_recording[places]
    return latest


def _list_new_songs(block: ListenerBlock, known: _KnownSongs) -> tuple[_KnownSongs, _NewSongs | None]:
    """The new songs that suit each listener best, unless they are among the best candidates.

    The other candidates are without them.
    """
    catalogue = new_songs_of(block.model, block.run_id)
    if catalogue is None:
        return known, None
    ranked = rank_new_songs(catalogue, block, known.songs, MAX_NEW_SONGS)
    columns = catalogue.songs.columns[ranked.places]
    pairs = block.pairs(ListenerSongs(ranked.listeners, columns))
    best = known.songs.chosen(places_within(known.songs.listeners) < RANKED_ON_THEIR_OWN)
    in_model = columns != NOT_IN_MODEL
    added = ~(in_model & are_among(pairs, block.pairs(best)))
    left = ~are_among(block.pairs(known.songs), pairs[added & in_model])
    return known.chosen(left), _NewSongs(catalogue, RankedNewSongs(*(one[added] for one in ranked)))


def _build_arrays(
    block: ListenerBlock, known: _KnownSongs, new: _NewSongs | None
) -> list[dict[str, NDArray[Any]]]:
    """The arrays of each listener's `CandidateArrays`."""
    model, listeners = block.model, known.songs.listeners
    no_plays = np.diff(block.rows.plays.indptr) == 0
    flags = (FAMILIAR * known.is_familiar) | (HEARD * known.is_heard)
    flags |= RERECOMMENDED * ((known.played >= 0) & ~known.is_heard)
    flags |= (LIKES * block.has_likes | COLD_START * no_plays)[listeners]
    columns = {
        "songs": model.song_ids[known.songs.columns],
        "values": known.values.astype(np.float32),
        "clusters": model.cluster_numbers[model.scorer.labels[known.songs.columns]],
        "artists": model.identity.leads(known.songs.columns),
        "flags": flags.astype(np.uint8),
    }
    if new is not None:
        catalogue, ranked = new
        familiar = block.plays_artist(ranked.listeners, *catalogue.identity.flat_artists(ranked.places))
        further = {
            "songs": catalogue.ids[ranked.places], "values": ranked.values,
            "clusters": model.cluster_numbers[catalogue.songs.labels[ranked.places]],
            "artists": catalogue.identity.leads(ranked.places),
            "flags": np.where(familiar, NEW_SONG | FAMILIAR, NEW_SONG).astype(np.uint8),
        }  # fmt: skip
        listeners = np.concatenate([listeners, ranked.listeners])
        order = np.argsort(listeners, kind="stable")
        listeners = listeners[order]
        columns = {name: np.concatenate([one, further[name]])[order] for name, one in columns.items()}
    starts = np.searchsorted(listeners, np.arange(block.n + 1)).tolist()
    return [{name: one[start:stop] for name, one in columns.items()} for start, stop in pairwise(starts)]


def _last_plays(block: ListenerBlock, known: _KnownSongs) -> list[dict[int, float]]:
    """When each played candidate was last played, by song id, in seconds since 1970."""
    is_played = known.played >= 0
    places = known.played[is_played]
    return block.split(
        known.songs.listeners[is_played], block.song_ids(places), block.played.last_played_at[places]
    )


def _further_codes(
    block: ListenerBlock, songs: ListenerSongs, new: _NewSongs | None
) -> list[dict[int, tuple[int, ...]]]:
    """By song id: codes of further credited artists and, as a negative number, of a copied recording."""
    model, identity = block.model, block.model.identity
    found: list[dict[int, tuple[int, ...]]] = [{} for _ in range(block.n)]
    has_copies = model.has_copies[songs.columns]
    # Most songs have neither.
    wanted = has_copies | identity.have_several_artists(songs.columns)
    rows = zip(*(one[wanted].tolist() for one in (*songs, has_copies)), strict=True)
    for listener, column, copied in rows:
        credited = identity.artists_of(column)[1:]
        recording = [-1 - int(identity.recordings[column])] if copied else []
        found[listener][int(model.song_ids[column])] = (*credited, *recording)
    if new is not None:
        catalogue, ranked = new
        several = catalogue.identity.have_several_artists(ranked.places)
        pairs = zip(ranked.listeners[several].tolist(), ranked.places[several].tolist(), strict=True)
        for listener, place in pairs:
            found[listener][int(catalogue.ids[place])] = tuple(catalogue.identity.artists_of(place)[1:])
    return found
