"""The played songs that reasons name."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.data import Profiles
from recommender.engine.song_columns import are_among, find_columns
from recommender.engine.song_identity import code_without_artist
from recommender.listener_profiles import ListenerProfile
from recommender.registry.model_loader import ServingModel
from recommender.serving.list_limits import first_per_group
from recommender.serving.reasons.reasons import MAX_ARTISTS

# Only the most played songs, because a reason should name what the listener plays a lot.
MAX_NAMED_SONGS: Final = 2_000
SONGS_PER_CLUSTER: Final = 2
# A second artist is named if it is at least so near as the first.
SECOND_ARTIST: Final = 0.5


class PlayedSongs:
    """A listener's played songs, the most played first, without songs that are only liked."""

    def __init__(self, profile: ListenerProfile, model: ServingModel) -> None:
        columns, there = find_columns(model.song_ids, profile.songs)
        played = np.flatnonzero(there & (profile.play_counts > 0))
        order = np.lexsort((-profile.last_played_at[played], -profile.play_counts[played]))[:MAX_NAMED_SONGS]
        self._columns = columns[played[order]]
        self._model = model
        self._have_artist: dict[int, bool] = {}

    def related_to(
        self, columns: NDArray[np.int32], is_familiar: NDArray[np.bool_], row: Profiles
    ) -> dict[int, tuple[int, ...]]:
        """Map candidates' song ids to the played songs that their reasons name, see `CandidateArrays`."""
        familiar = self._by_artist_of(columns[is_familiar])
        return self._nearest_to(columns[~is_familiar], row) | {song: (by,) for song, by in familiar.items()}

    def _by_artist_of(self, columns: NDArray[np.integer]) -> dict[int, int]:
        """Map each familiar candidate's song id to the most played song by one of its artists."""
        identity, song_ids = self._model.identity, self._model.song_ids
        played_codes, played = identity.flat_artists(self._columns)
        if not len(played_codes):
            return {}
        # The first of each artist's songs is the most played, the first of a candidate's artists its lead.
        codes, first = np.unique(played_codes.astype(np.int64), return_index=True)
        asked_codes, asked = identity.flat_artists(columns)
        places, is_known = find_columns(codes, asked_codes.astype(np.int64))
        candidates, lead = np.unique(asked[is_known], return_index=True)
        songs = self._columns[played[first[places[is_known][lead]]]]
        return dict(zip(song_ids[columns[candidates]].tolist(), song_ids[songs].tolist(), strict=True))

    def _nearest_to(self, columns: NDArray[np.int32], row: Profiles) -> dict[int, tuple[int, ...]]:
        """Map candidates' song ids to at most two played songs near them, each by another lead artist."""
        identity, song_ids = self._model.identity, self._model.song_ids
        near = self._model.scorer.nearest_plays(row, columns)
        kept = are_among(near.played, self._columns)
        songs, played, nearness = near.songs[kept], near.played[kept], near.nearness[kept]
        # An artist is as near as all of their played songs together. The artist is named by the song with
        # the fewest credits.
        pairs = songs.astype(np.int64) << 32 | identity.leads(played)
        n_credits = identity.artist_starts[played + 1] - identity.artist_starts[played]
        order = np.lexsort((-nearness, n_credits, pairs))
        ordered = pairs[order]
        is_first = np.ones(len(pairs), dtype=np.bool_)
        is_first[1:] = ordered[1:] != ordered[:-1]
        groups, named = ordered[is_first], played[order[is_first]]
        group_of = np.empty(len(pairs), dtype=np.intp)
        group_of[order] = np.cumsum(is_first) - 1
        sums = np.bincount(group_of, nearness, len(groups))
        ranked = np.lexsort((-sums, groups >> 32))
        ranked = ranked[first_per_group(groups[ranked] >> 32, MAX_ARTISTS)]
        best = (song_ids[groups[ranked] >> 32], named[ranked], sums[ranked])
        found: dict[int, list[tuple[int, float]]] = {}
        for song, column, total in zip(*(one.tolist() for one in best), strict=True):
            artists = found.setdefault(song, [])
            if self._has_artist(column) and (not artists or total >= SECOND_ARTIST * artists[0][1]):
                artists.append((int(song_ids[column]), total))
        return {song: tuple(by for by, _ in artists) for song, artists in found.items() if artists}

    def _has_artist(self, column: int) -> bool:
        if column not in self._have_artist:
            codes = self._model.identity.artists_of(column)
            without = [code_without_artist(int(self._model.song_ids[column]))]
            self._have_artist[column] = codes != without
        return self._have_artist[column]

    def in_clusters(self) -> dict[int, tuple[int, ...]]:
        """Map each cluster number to its most played songs, each by another lead artist."""
        model, found = self._model, dict[int, list[int]]()
        named: set[tuple[int, int]] = set()
        numbers = model.cluster_numbers[model.scorer.labels[self._columns]].tolist()
        leads = model.identity.leads(self._columns).tolist()
        for column, number, lead in zip(self._columns.tolist(), numbers, leads, strict=True):
            songs = found.setdefault(number, [])
            if len(songs) >= SONGS_PER_CLUSTER or (number, lead) in named:
                continue
            if self._has_artist(column):
                songs.append(int(model.song_ids[column]))
                named.add((number, lead))
        return {number: tuple(songs) for number, songs in found.items()}
