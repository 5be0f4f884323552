"""A block of listeners whose candidates are generated together.

The songs of all listeners are in flat arrays, those of the first listener first: a hundred numpy calls for a
block take as long as for one listener.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from recommender.engine.data import Profiles
from recommender.engine.song_columns import are_among, find_columns
from recommender.listener_profiles import ListenerProfile, build_model_profiles
from recommender.registry.model_loader import ServingModel

ANY_CLUSTER = -1


class ListenerSongs(NamedTuple):
    """Songs of several listeners; entry i of both arrays is one song of one listener."""

    listeners: NDArray[np.intp]  # places in the block, ascending
    columns: NDArray[np.integer[Any]]  # of the model

    @classmethod
    def join(cls, songs: Sequence[NDArray[np.integer[Any]]]) -> Self:
        """Join one array per listener."""
        return cls(repeat_listeners(songs), np.concatenate(songs))

    def chosen(self, which: NDArray[Any]) -> Self:
        return type(self)(self.listeners[which], self.columns[which])

    def starts(self, n_listeners: int) -> NDArray[np.intp]:
        """Where each listener's songs start, and the last one's end; shape (n_listeners + 1,)."""
        return np.searchsorted(self.listeners, np.arange(n_listeners + 1))


def repeat_listeners(arrays: Iterable[Any]) -> NDArray[np.intp]:
    """Each listener's place in the block, once for each entry of the listener's array."""
    sizes = [len(one) for one in arrays]
    return np.repeat(np.arange(len(sizes)), sizes)


def places_within(listeners: NDArray[np.intp]) -> NDArray[np.intp]:
    """Each entry's place among those of its listener, from 0."""
    return np.arange(len(listeners)) - np.searchsorted(listeners, listeners)


@dataclass(frozen=True)
class PlayedColumns:
    """The songs that the listeners have played, by listener and song id; equally long arrays."""

    listeners: NDArray[np.intp]
    columns: NDArray[np.int64]  # of the model; without meaning if not known
    is_known: NDArray[np.bool_]  # whether the model knows the song
    is_excluded: NDArray[np.bool_]  # see `ListenerProfile.excluded`
    is_skipped: NDArray[np.bool_]
    skips: NDArray[np.float64]  # 0 if not skipped
    plays: NDArray[np.float32]
    play_counts: NDArray[np.float32]
    habits: NDArray[np.float32]
    last_played_at: NDArray[np.float64]

    def songs_at(self, places: NDArray[np.intp]) -> ListenerSongs:
        """The songs at these places, which must be in the order of the listeners."""
        return ListenerSongs(self.listeners[places], self.columns[places])


@dataclass(frozen=True)
class ListenerBlock:
    """Listeners whose profiles were read together, and a model."""

    profiles: Sequence[ListenerProfile]
    model: ServingModel

    @property
    def n(self) -> int:
        return len(self.profiles)

    @cached_property
    def rows(self) -> Profiles:
        """One row per listener, by the model's columns."""
        return build_model_profiles(self.profiles, self.model.song_ids)

    @cached_property
    def played(self) -> PlayedColumns:
        profiles = self.profiles
        songs = np.concatenate([one.songs for one in profiles])
        skipped = np.concatenate([one.skipped for one in profiles])
        excluded = np.concatenate([one.excluded_ids for one in profiles])
        listeners = repeat_listeners(one.songs for one in profiles)
        # Numbered from 0, so that a pair of a listener and a song is one number.
        ids = np.unique(np.concatenate([songs, skipped, excluded]))

        def number_pairs(of: NDArray[np.intp], these: NDArray[np.int64]) -> NDArray[np.int64]:
            return of * len(ids) + np.searchsorted(ids, these)

        pairs = number_pairs(listeners, songs)
        skipped_pairs = number_pairs(repeat_listeners(one.skipped for one in profiles), skipped)
        places, is_skipped = find_columns(skipped_pairs, pairs)
        skips = np.concatenate([one.skips for one in profiles]).astype(np.float64)
        excluded_pairs = number_pairs(repeat_listeners(one.excluded_ids for one in profiles), excluded)
        columns, is_known = find_columns(self.model.song_ids, songs)
        return PlayedColumns(
            listeners=listeners, columns=columns, is_known=is_known,
            is_excluded=are_among(pairs, excluded_pairs), is_skipped=is_skipped,
            skips=np.where(is_skipped, np.append(skips, 0.0)[places], 0.0),
            plays=np.concatenate([one.plays for one in profiles]),
            play_counts=np.concatenate([one.play_counts for one in profiles]),
            habits=np.concatenate([one.habits for one in profiles]),
            last_played_at=np.concatenate([one.last_played_at for one in profiles]),
        )  # fmt: skip

    @property
    def run_id(self) -> int:
        """The newest ingestion run that finished before the profiles were read."""
        return max(one.run_id for one in self.profiles)

    @cached_property
    def has_likes(self) -> NDArray[np.bool_]:
        """Whether each listener has liked a song, shape (n,)."""
        liked = self.played.plays > self.played.play_counts
        return np.asarray(np.bincount(self.played.listeners[liked], minlength=self.n) > 0)

    def song_ids(self, played: NDArray[np.intp]) -> NDArray[np.int64]:
        """The source's ids of songs that the model knows; `played`: places in `PlayedColumns`."""
        return self.model.song_ids[self.played.columns[played]]

    def split(
        self, listeners: NDArray[np.intp], keys: NDArray[np.integer[Any]], values: NDArray[Any]
    ) -> list[dict[int, Any]]:
        """One dictionary per listener from equally long arrays, by listener."""
        starts = np.searchsorted(listeners, np.arange(self.n + 1)).tolist()
        keys_list, values_list = keys.tolist(), values.tolist()
        return [
            dict(zip(keys_list[start:stop], values_list[start:stop], strict=True))
            for start, stop in pairwise(starts)
        ]

    @cached_property
    def closed(self) -> ListenerSongs:
        """Played, disliked and skipped songs, of which no copy is a candidate."""
        both = [np.concatenate([one.songs, one.excluded_ids]) for one in self.profiles]
        columns, is_known = find_columns(self.model.song_ids, np.concatenate(both))
        return ListenerSongs(repeat_listeners(both)[is_known], columns[is_known])

    def pairs(self, songs: ListenerSongs) -> NDArray[np.int64]:
        """A number for each pair of a listener and a column."""
        return np.asarray(songs.listeners * len(self.model.song_ids) + songs.columns)

    def recordings(self, songs: ListenerSongs) -> NDArray[np.int64]:
        """A number for each pair of a listener and a recording."""
        # There are at most as many recordings as songs.
        recordings = self.model.recording_numbers[songs.columns]
        return np.asarray(songs.listeners * len(self.model.song_ids) + recordings)

    def leads(self, songs: ListenerSongs) -> NDArray[np.int64]:
        """A number for each pair of a listener and a lead artist."""
        return np.asarray(songs.listeners << 32 | self.model.identity.leads(songs.columns))

    def in_excluded_cluster(self, songs: ListenerSongs) -> NDArray[np.bool_]:
        """Whether the listener has reported the song as wrong for its cluster."""
        excluded = np.zeros(len(songs.columns), dtype=np.bool_)
        pairs, numbers = self._wrong_clusters
        if len(pairs):
            places, is_reported = find_columns(pairs, self.pairs(songs))
            wrong = numbers[places[is_reported]]
            here = self.model.cluster_numbers[self.model.scorer.labels[songs.columns[is_reported]]]
            excluded[is_reported] = (wrong == ANY_CLUSTER) | (wrong == here)
        return excluded

    @cached_property
    def _wrong_clusters(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs (see `pairs`), ascending, and the number of the cluster that the song does not suit."""
        wrong = [
            (listener, song, ANY_CLUSTER if number is None else number)
            for listener, profile in enumerate(self.profiles)
            for song, number in profile.excluded_clusters.items()
        ]
        listeners, songs, numbers = np.array(wrong, dtype=np.int64).reshape(-1, 3).T
        columns, is_known = find_columns(self.model.song_ids, songs)
        pairs = self.pairs(ListenerSongs(listeners[is_known], columns[is_known]))
        order = np.argsort(pairs)
        return pairs[order], numbers[is_known][order]

    def may_recommend(self, songs: ListenerSongs) -> NDArray[np.bool_]:
        """Whether the songs are available and not in an excluded cluster."""
        return np.asarray(self.model.scorer.available[songs.columns] & ~self.in_excluded_cluster(songs))

    def by_played_artist(self, songs: ListenerSongs) -> NDArray[np.bool_]:
        """Whether the listener has played a song by one of the song's artists."""
        numbers, places = self.model.identity.artist_numbers(songs.columns)
        return self._any_played(songs.listeners, numbers, places)

    def plays_artist(
        self, listeners: NDArray[np.intp], codes: NDArray[np.int32], places: NDArray[np.intp]
    ) -> NDArray[np.bool_]:
        """Whether each listener has played a song by any of the artists with these codes.

        Args:
            places: of the codes' listeners in `listeners`.
        """
        numbers, is_known = find_columns(self.model.identity.artist_codes, codes)
        return self._any_played(listeners, numbers[is_known], places[is_known])

    def _any_played(
        self, listeners: NDArray[np.intp], numbers: NDArray[np.integer[Any]], places: NDArray[np.intp]
    ) -> NDArray[np.bool_]:
        played = np.zeros(len(listeners), dtype=np.bool_)
        played[places[self._plays_artist[listeners[places], numbers]]] = True
        return played

    @cached_property
    def _plays_artist(self) -> NDArray[np.bool_]:
        identity, plays = self.model.identity, self.rows.plays
        numbers, places = identity.artist_numbers(plays.indices)
        listeners = np.repeat(np.arange(self.n), np.diff(plays.indptr))
        found = np.zeros((self.n, identity.n_artists), dtype=np.bool_)
        found[listeners[places], numbers] = True
        return found
