"""The played songs that reasons name."""

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.algorithms.base import expand_ranges, stable_order
from recommender.engine.data import NearestPlays
from recommender.engine.sampling.candidate_codec import GroupedPairs
from recommender.engine.song_columns import are_among, find_columns
from recommender.serving.candidates.listener_block import ListenerBlock, ListenerSongs, places_within
from recommender.serving.list_limits import first_per_group
from recommender.serving.reasons.reasons import MAX_ARTISTS

# Only the most played songs, because a reason should name what the listener plays a lot.
MAX_NAMED_SONGS: Final = 2_000
SONGS_PER_CLUSTER: Final = 2
# A second artist is named if it is at least so near as the first.
SECOND_ARTIST: Final = 0.5


class PlayedSongs:
    """The listeners' played songs, the most played first, without songs that are only liked."""

    def __init__(self, block: ListenerBlock) -> None:
        played = block.played
        places = np.flatnonzero(played.is_known & (played.play_counts > 0))
        order = np.lexsort(
            (-played.last_played_at[places], -played.play_counts[places], played.listeners[places])
        )
        places = places[order]
        self._songs = played.songs_at(places[places_within(played.listeners[places]) < MAX_NAMED_SONGS])
        self._block = block
        self._model = block.model

    def related_to(self, songs: ListenerSongs, is_familiar: NDArray[np.bool_]) -> list[GroupedPairs]:
        """Map each listener's candidates to the played songs that their reasons name.

        Songs are the source's ids, see `CandidateArrays`.
        """
        near, near_played = self._nearest_to(songs.chosen(~is_familiar))
        familiar, by = self._by_artist_of(songs.chosen(is_familiar))
        listeners, columns = (np.concatenate(both) for both in zip(near, familiar, strict=True))
        played = np.concatenate([near_played, by])
        order = stable_order(self._block.pairs(ListenerSongs(listeners, columns)))
        ids = self._model.song_ids
        return self._group(listeners[order], ids[columns[order]], ids[played[order]])

    def _group(
        self, listeners: NDArray[np.intp], keys: NDArray[np.integer], songs: NDArray[np.int64]
    ) -> list[GroupedPairs]:
        starts = np.searchsorted(listeners, np.arange(self._block.n + 1)).tolist()
        return [GroupedPairs(keys[start:stop], songs[start:stop]) for start, stop in pairwise(starts)]

    def _by_artist_of(self, songs: ListenerSongs) -> tuple[ListenerSongs, NDArray[np.integer]]:
        """Candidates by played artists, and the column of the most played song by one of their artists."""
        identity = self._model.identity
        numbers, played = identity.artist_numbers(self._songs.columns)
        # The first of each artist's songs is the most played, the first of a candidate's artists its lead.
        pairs = self._songs.listeners[played] * identity.n_artists + numbers
        artists, first = np.unique(pairs, return_index=True)
        numbers, asked = identity.artist_numbers(songs.columns)
        places, is_known = find_columns(artists, songs.listeners[asked] * identity.n_artists + numbers)
        candidates, lead = np.unique(asked[is_known], return_index=True)
        by = self._songs.columns[played[first[places[is_known][lead]]]]
        return songs.chosen(candidates), by

    def _nearest_to(self, songs: ListenerSongs) -> tuple[ListenerSongs, NDArray[np.integer]]:
        """Candidates, and the columns of at most two played songs near each, by different lead artists."""
        pairs = self._near_pairs(songs)
        if not len(pairs.songs):
            return ListenerSongs(pairs.listeners, pairs.songs), pairs.played
        # An artist is as near as all of their played songs together. The artist is named by the song with
        # the fewest credits, of several by the nearest. Minima by group cost less than sorting by all of it.
        identity = self._model.identity
        artists = self._block.pairs(ListenerSongs(pairs.listeners, pairs.songs)) * identity.n_artists
        artists += identity.lead_numbers(pairs.played)
        order = stable_order(artists)
        artists, near, played = artists[order], pairs.nearness[order], pairs.played[order]
        is_first = np.append(True, artists[1:] != artists[:-1])
        starts, groups = np.flatnonzero(is_first), np.cumsum(is_first) - 1
        n_credits = identity.artist_starts[played + 1] - identity.artist_starts[played]
        eligible = np.where(n_credits == np.minimum.reduceat(n_credits, starts)[groups], near, -np.inf)
        named = np.flatnonzero(eligible == np.maximum.reduceat(eligible, starts)[groups])
        named = named[np.searchsorted(groups[named], np.arange(len(starts)))]
        nearness: NDArray[Any] = np.bincount(groups, near, len(starts))
        best = named[self._best_two(artists[starts] // identity.n_artists, nearness, played[named])]
        chosen = order[best]
        found = ListenerSongs(pairs.listeners[chosen], pairs.songs[chosen])
        # Songs with the same pairs have the same result.
        alike, keys = pairs.alike, self._block.pairs(found)
        others = self._block.pairs(ListenerSongs(alike.listeners, alike.others))
        starts = np.searchsorted(keys, others, side="left")
        widths = np.searchsorted(keys, others, side="right") - starts
        listeners = np.concatenate([found.listeners, np.repeat(alike.listeners, widths)])
        columns = np.concatenate([found.columns, np.repeat(alike.songs, widths)])
        played = pairs.played[np.concatenate([chosen, chosen[expand_ranges(starts, widths)]])]
        return ListenerSongs(listeners, columns), played

    def _near_pairs(self, songs: ListenerSongs) -> NearestPlays:
        """Pairs of a candidate and a played song near it."""
        block = self._block
        starts = songs.starts(block.n).tolist()
        asked = [songs.columns[start:stop].astype(np.int32) for start, stop in pairwise(starts)]
        near = self._model.scorer.nearest_plays(block.rows, asked)
        played = block.pairs(ListenerSongs(near.listeners, near.played))
        return near.chosen(are_among(played, block.pairs(self._songs)))

    def _best_two(
        self, songs: NDArray[np.int64], nearness: NDArray[np.floating], played: NDArray[np.int32]
    ) -> NDArray[np.intp]:
        """Places of each song's nearest artists, the nearest first."""
        ranked = np.lexsort((-nearness, songs))
        ranked = ranked[first_per_group(songs[ranked], MAX_ARTISTS)]
        ranked = ranked[self._model.have_artist(played[ranked])]
        # A second artist must be nearly as near as the first.
        first = np.searchsorted(songs[ranked], songs[ranked])
        return ranked[nearness[ranked] >= SECOND_ARTIST * nearness[ranked[first]]]

    def in_clusters(self) -> list[GroupedPairs]:
        """Map each cluster number to each listener's most played songs, each by another lead artist."""
        model, songs = self._model, self._songs
        songs = songs.chosen(model.have_artist(songs.columns))
        numbers = model.cluster_numbers[model.scorer.labels[songs.columns]]
        clusters = songs.listeners * (int(model.cluster_numbers.max(initial=0)) + 1) + numbers
        leads = model.identity.lead_numbers(songs.columns)
        is_first = first_per_group(clusters * model.identity.n_artists + leads, 1)
        songs, clusters, numbers = songs.chosen(is_first), clusters[is_first], numbers[is_first]
        order = np.argsort(clusters, kind="stable")
        order = order[first_per_group(clusters[order], SONGS_PER_CLUSTER)]
        ids = model.song_ids[songs.columns[order]]
        return self._group(songs.listeners[order], numbers[order], ids)
