"""`classic`, the plain K-means recommender: a cluster drawn by affinity, then a random song of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from recommender.engine.algorithms.base import expand_ranges, slice_profiles
from recommender.engine.clustering.affinities import cluster_affinities
from recommender.engine.data import NearestPlays, Profiles, ScoredSongs, join_nearest_plays
from recommender.engine.features import fold_stored_words, genre_rows, word_columns

ARRAY_NAMES: Final = (
    "labels", "artists", "available", "plays", "genre_shares", "points", "centers", "by_cluster",
    "cluster_starts",
)  # fmt: skip


@dataclass(frozen=True)
class ClassicModel:
    labels: NDArray[np.int32]  # shape (n_songs,), each song's cluster
    artists: NDArray[np.int32]  # shape (n_songs,), equal for equal artists
    available: NDArray[np.bool_]
    plays: NDArray[np.float64]  # shape (n_clusters,), all listeners' shares of plays, for cold starts
    words: list[str]  # known genre words
    # Shape (n_words, n_clusters), share of each cluster's songs that have the word.
    genre_shares: NDArray[np.float32]
    points: NDArray[np.float32]  # shape (n_songs, d), the songs' features
    centers: NDArray[np.float32]  # shape (n_clusters, d)
    by_cluster: NDArray[np.int32]  # songs sorted by cluster
    cluster_starts: NDArray[np.int64]  # shape (n_clusters + 1,), where each cluster starts in `by_cluster`
    name: str = "classic"

    @property
    def n_clusters(self) -> int:
        return len(self.plays)

    @cached_property
    def _word_columns(self) -> dict[str, int]:
        return word_columns(self.words)

    def affinities(self, profiles: Profiles) -> NDArray[np.float64]:
        """Each listener's share of engagement in each cluster, shape (n, n_clusters); rows sum to 1.

        Listeners without plays get the shares of their favourite genres or, without any, of all plays.
        """
        base = profiles.plays if profiles.recent is None else profiles.recent
        shares = cluster_affinities(base, self.labels, self.n_clusters, profiles.skips).astype(np.float64)
        cold = np.flatnonzero(np.diff(profiles.plays.indptr) == 0)
        texts = ["" if profiles.genres is None else profiles.genres[row] for row in cold]
        by_genre = np.asarray(
            genre_rows(texts, self._word_columns, len(self.words)) @ self.genre_shares, dtype=np.float64
        )
        by_genre = by_genre.reshape(len(cold), self.n_clusters)
        sums = by_genre.sum(axis=1, keepdims=True)
        shares[cold] = np.where(sums > 0, by_genre / np.where(sums > 0, sums, 1), self.plays)
        return shares

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        """Draw n songs at random for each listener.

        The random numbers depend on `seed`, the listener and their plays and skips, so the lists stay the
        same until the listener plays or skips a song.
        """
        shares = self.affinities(profiles)
        lists = np.full((profiles.n, n), -1, dtype=np.int32)
        for row in range(profiles.n):
            profile = slice_profiles(profiles, row, row + 1)
            random = _seeded_generator(profile, seed, row)
            picks = self._draw_songs(self._eligible(profile), shares[row], n, random)
            lists[row, : len(picks)] = picks
        return lists

    def candidates(self, profile: Profiles, *, n: int) -> ScoredSongs:
        """See `block_candidates`."""
        return self.block_candidates(profile, n=n)[0]

    def block_candidates(self, profiles: Profiles, *, n: int) -> list[ScoredSongs]:
        """The songs from `recommend`, all with score 0; empty without plays."""
        found = []
        for row, songs in enumerate(self.recommend(profiles, n)):
            has_plays = profiles.plays.indptr[row] < profiles.plays.indptr[row + 1]
            drawn = songs[songs >= 0] if has_plays else songs[:0]
            found.append(ScoredSongs(drawn, np.zeros(len(drawn), dtype=np.float32)))
        return found

    def score(self, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
        return self.block_scores(profile, [songs])[0]

    def block_scores(
        self, profiles: Profiles, songs: Sequence[NDArray[np.int32]]
    ) -> list[NDArray[np.float32]]:
        return [np.zeros(len(one), dtype=np.float32) for one in songs]

    def explain_scores(self, profile: Profiles, songs: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        return {"affinity": self.affinities(profile)[0][self.labels[songs]].astype(np.float32)}

    def similar(self, song: int, *, n: int) -> ScoredSongs:
        """The nearest songs in the nearest clusters, with the score 1 / (1 + distance)."""
        clusters = np.argsort(((self.centers - self.points[song]) ** 2).sum(axis=1), kind="stable")
        sizes = np.cumsum(np.diff(self.cluster_starts)[clusters])
        # More than n songs, since the song itself is among them and some may be unavailable.
        enough = int(np.searchsorted(sizes, 2 * n + 1)) + 1
        songs = self._members(clusters[:enough])
        songs = np.sort(songs[self.available[songs] & (songs != song)])
        distances = np.sqrt(((self.points[songs] - self.points[song]) ** 2).sum(axis=1))
        nearest = np.argsort(distances, kind="stable")[:n]
        return ScoredSongs(songs[nearest], (1 / (1 + distances[nearest])).astype(np.float32))

    def nearest_plays(self, profiles: Profiles, songs: Sequence[NDArray[np.int32]]) -> NearestPlays:
        """The played songs of each song's cluster, by 1 / (1 + distance)."""
        found = []
        for row, asked in enumerate(songs):
            played = profiles.plays.indices[profiles.plays.indptr[row] : profiles.plays.indptr[row + 1]]
            here, there = self.points[asked], self.points[played]
            squares = (here**2).sum(axis=1)[:, np.newaxis] + (there**2).sum(axis=1) - 2 * here @ there.T
            at, by = np.nonzero(self.labels[asked][:, np.newaxis] == self.labels[played])
            nearness = 1 / (1 + np.sqrt(np.maximum(0, squares[at, by])))
            found.append(NearestPlays(np.full(len(at), row), asked[at], played[by], nearness))
        return join_nearest_plays(found)

    @property
    def new_song_ranker(self) -> None:
        """Always None, because all songs of a cluster are equally likely, played or not."""

    def _eligible(self, profile: Profiles) -> NDArray[np.bool_]:
        eligible = self.available.copy()
        for matrix in (profile.plays, profile.excluded):
            if matrix is not None:
                eligible[matrix.indices] = False
        return eligible

    def _members(self, clusters: NDArray[np.integer]) -> NDArray[np.int32]:
        starts, sizes = self.cluster_starts[clusters], np.diff(self.cluster_starts)[clusters]
        return np.asarray(self.by_cluster[expand_ranges(starts, sizes)])

    def _draw_songs(
        self, eligible: NDArray[np.bool_], shares: NDArray[np.float64], n: int, random: np.random.Generator
    ) -> NDArray[np.int32]:
        """Draw n songs without replacement; clusters with affinity 0 come last."""
        liked = self._draw_by_exponential_race(eligible, shares, n, random)
        if len(liked) == n:
            return liked
        others = np.where(shares > 0, 0, self.plays)
        return np.concatenate(
            [liked, self._draw_by_exponential_race(eligible, others, n - len(liked), random)]
        )

    def _draw_by_exponential_race(
        self, eligible: NDArray[np.bool_], weights: NDArray[np.float64], n: int, random: np.random.Generator
    ) -> NDArray[np.int32]:
        """Draw without replacement from clusters with probabilities proportional to their weights.

        Source:
            Feller, "An Introduction to Probability Theory and Its Applications" II, chapter I.3.
        """
        # Each cluster's songs arrive in random order at exponential intervals with the cluster's weight as
        # the rate. By the memoryless property the next arrival always comes from a cluster with probability
        # weight / sum of the weights of clusters with songs left: one sort replaces a draw per song.
        songs = self._members(np.flatnonzero(weights > 0))
        songs = songs[eligible[songs]]
        songs = songs[np.argsort(self.labels[songs] + random.random(len(songs)))]
        labels, starts, sizes = np.unique(self.labels[songs], return_index=True, return_counts=True)
        intervals = random.exponential(size=len(songs))
        ends = np.cumsum(intervals)
        cluster_begins = np.repeat((ends - intervals)[starts], sizes)
        arrivals = (ends - cluster_begins) / np.repeat(weights[labels], sizes)
        return songs[_smallest(arrivals, n)]

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ARRAY_NAMES}

    def facts(self) -> dict[str, object]:
        return {"name": self.name, "words": self.words}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        # Plain views: indexing a memory map makes another memory map, at ten times the cost.
        # Worker processes share the pages of read-only memory maps.
        views: dict[str, Any] = {name: np.asarray(arrays[name]) for name in ARRAY_NAMES}
        return cls(words=fold_stored_words(facts["words"]), **views)


def _smallest(values: NDArray[np.float64], n: int) -> NDArray[np.intp]:
    if n < len(values):
        # Sorting all would take ten times as long.
        chosen = np.argpartition(values, n)[:n]
        return chosen[np.argsort(values[chosen], kind="stable")]
    return np.argsort(values, kind="stable")


def _seeded_generator(profile: Profiles, seed: int, row: int) -> np.random.Generator:
    key = row if profile.keys is None else int(profile.keys[0])
    # Not the sum of the skips: they fade, and the draw must not change without an event.
    events = [round(float(profile.plays.sum()))] + ([profile.skips.nnz] if profile.skips is not None else [])
    digest = blake2b(f"classic:{seed}:{key}:{events}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
