"""The played songs that reasons name."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recommender.listener_profiles import ListenerProfile, find_columns
from recommender.registry.model_loader import ServingModel

# Only the most played songs, because a reason should name what the listener plays a lot.
MAX_NAMED_SONGS: Final = 2_000
SONGS_PER_CLUSTER: Final = 2


class PlayedSongs:
    """A listener's played songs, the most played first, without songs that are only liked."""

    def __init__(self, profile: ListenerProfile, model: ServingModel) -> None:
        columns, there = find_columns(model.song_ids, profile.songs)
        played = np.flatnonzero(there & (profile.play_counts > 0))
        order = np.lexsort((-profile.last_played_at[played], -profile.play_counts[played]))[:MAX_NAMED_SONGS]
        self._columns = columns[played[order]]
        self._model = model

    def by_artist_of(self, columns: NDArray[np.integer]) -> dict[int, int]:
        """Map each familiar candidate's song id to the most played song by one of its artists."""
        identity, song_ids = self._model.identity, self._model.song_ids
        best: dict[int, int] = {}
        for column in self._columns.tolist():
            for code in identity.artists_of(column):
                best.setdefault(code, int(song_ids[column]))
        found = {}
        for column in columns.tolist():
            known = [best[code] for code in identity.artists_of(column) if code in best]
            if known:
                found[int(song_ids[column])] = known[0]
        return found

    def in_clusters(self) -> dict[int, tuple[int, ...]]:
        """Map each cluster number to its most played songs, each by another lead artist."""
        model, found = self._model, dict[int, list[int]]()
        named: set[tuple[int, int]] = set()
        numbers = model.cluster_numbers[model.scorer.labels[self._columns]].tolist()
        leads = model.identity.leads(self._columns).tolist()
        for column, number, lead in zip(self._columns.tolist(), numbers, leads, strict=True):
            songs = found.setdefault(number, [])
            if len(songs) < SONGS_PER_CLUSTER and (number, lead) not in named:
                songs.append(int(model.song_ids[column]))
                named.add((number, lead))
        return {number: tuple(songs) for number, songs in found.items()}
