"""The user's principle alone: clusters drawn in proportion to a listener's engagement, any song of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from recommender.engine.algorithms.base import slice_profiles
from recommender.engine.clustering.affinities import cluster_affinities
from recommender.engine.data import Profiles, ScoredSongs
from recommender.engine.features import genre_matrix

ARRAY_NAMES: Final = (
    "labels", "artists", "available", "plays", "genre_shares", "points", "centers", "by_cluster",
    "cluster_starts",
)  # fmt: skip


@dataclass(frozen=True)
class ClassicModel:
    """K-means over what is known of songs; who listens to them plays no part in the clusters.

    Attributes:
        labels: shape (n_songs,), each song's cluster.
        artists: shape (n_songs,), equal where the artist is.
        plays: shape (n_clusters,), share of all listeners' plays; for listeners of whom nothing is known.
        words: genre words known; `genre_shares` (n_words, n_clusters) is the share of each cluster's songs.
        points: shape (n_songs, d), the songs as they were grouped; `centers` (n_clusters, d) beside them.
        by_cluster: songs sorted by cluster; cluster c's begin at `cluster_starts[c]`.
    """

    labels: NDArray[np.int32]
    artists: NDArray[np.int32]
    available: NDArray[np.bool_]
    plays: NDArray[np.float64]
    words: list[str]
    genre_shares: NDArray[np.float32]
    points: NDArray[np.float32]
    centers: NDArray[np.float32]
    by_cluster: NDArray[np.int32]
    cluster_starts: NDArray[np.int64]
    name: str = "classic"

    @property
    def n_clusters(self) -> int:
        return len(self.plays)

    def affinities(self, profiles: Profiles) -> NDArray[np.float64]:
        """Shape (n, n_clusters), rows sum to 1: own engagement, else favourite genres, else everybody's."""
        base = profiles.plays if profiles.recent is None else profiles.recent
        own = cluster_affinities(base, self.labels, self.n_clusters, profiles.skips).astype(np.float64)
        silent = np.flatnonzero(np.diff(profiles.plays.indptr) == 0)
        texts = ["" if profiles.genres is None else profiles.genres[row] for row in silent]
        liked = np.asarray(genre_matrix(texts, self.words) @ self.genre_shares, dtype=np.float64)
        liked = liked.reshape(len(silent), self.n_clusters)
        sums = liked.sum(axis=1, keepdims=True)
        own[silent] = np.where(sums > 0, liked / np.where(sums > 0, sums, 1), self.plays)
        return own

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        """As promised by Model; what is drawn for a listener with a key is the same in any company.

        Whoever has played or skipped more since is drawn other songs.
        """
        shares = self.affinities(profiles)
        lists = np.full((profiles.n, n), -1, dtype=np.int32)
        for row in range(profiles.n):
            one = slice_profiles(profiles, row, row + 1)
            picks = self._draw_songs(self._eligible(one), shares[row], n, _seeded_generator(one, seed, row))
            lists[row, : len(picks)] = picks
        return lists

    def candidates(self, profile: Profiles, *, n: int) -> ScoredSongs:
        """The songs of `recommend`, none better than another: lists are drawn anew among their clusters."""
        if not profile.plays.nnz:
            nothing = np.empty(0, dtype=np.int32)
            return ScoredSongs(nothing, nothing.astype(np.float32))
        songs = self.recommend(profile, n)[0]
        songs = songs[songs >= 0]
        return ScoredSongs(songs, np.zeros(len(songs), dtype=np.float32))

    def score(self, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
        """All 0: within a cluster chance decides alone."""
        return np.zeros(len(songs), dtype=np.float32)

    def explain_scores(self, profile: Profiles, songs: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """The share of each song's cluster, which is what it is drawn by."""
        return {"affinity": self.affinities(profile)[0][self.labels[songs]].astype(np.float32)}

    def similar(self, song: int, *, n: int) -> ScoredSongs:
        """The nearest songs of the nearest clusters, and 1 / (1 + distance): 1 for what is just alike."""
        clusters = np.argsort(((self.centers - self.points[song]) ** 2).sum(axis=1), kind="stable")
        sizes = np.cumsum(np.diff(self.cluster_starts)[clusters])
        # Some of them may be gone, and the song itself is among them.
        enough = int(np.searchsorted(sizes, 2 * n + 1)) + 1
        songs = self._members(clusters[:enough])
        songs = np.sort(songs[self.available[songs] & (songs != song)])
        distances = np.sqrt(((self.points[songs] - self.points[song]) ** 2).sum(axis=1))
        nearest = np.argsort(distances, kind="stable")[:n]
        return ScoredSongs(songs[nearest], (1 / (1 + distances[nearest])).astype(np.float32))

    def _eligible(self, profile: Profiles) -> NDArray[np.bool_]:
        """Shape (n_songs,): available, and neither heard nor excluded."""
        eligible = self.available.copy()
        for matrix in (profile.plays, profile.excluded):
            if matrix is not None:
                eligible[matrix.indices] = False
        return eligible

    def _members(self, clusters: NDArray[np.integer]) -> NDArray[np.int32]:
        """The songs of some clusters, one cluster after the other."""
        starts, sizes = self.cluster_starts[clusters], np.diff(self.cluster_starts)[clusters]
        ends = np.cumsum(sizes)
        places = np.repeat(starts - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)
        return np.asarray(self.by_cluster[places])

    def _draw_songs(
        self, eligible: NDArray[np.bool_], shares: NDArray[np.float64], n: int, random: np.random.Generator
    ) -> NDArray[np.int32]:
        """A cluster by its share and any song of it, n times, no song twice.

        Clusters that the listener has no share of follow, by everybody's plays, when the others are used up.
        """
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
        """The first n songs to arrive, where each cluster sends its songs in any order, one after the other.

        The waits between a cluster's songs are exponential, with its weight as the rate: then, whatever has
        come, the next song is of a cluster with probability weight / sum of the weights of those that have
        songs left. So one sort does what would take a draw for each song.

        Source:
            Feller, "An Introduction to Probability Theory and Its Applications" II, chapter I.3.
        """
        songs = self._members(np.flatnonzero(weights > 0))
        songs = songs[eligible[songs]]
        songs = songs[np.argsort(self.labels[songs] + random.random(len(songs)))]
        labels, starts, sizes = np.unique(self.labels[songs], return_index=True, return_counts=True)
        waits = random.exponential(size=len(songs))
        ends = np.cumsum(waits)
        since = np.repeat((ends - waits)[starts], sizes)
        return songs[_smallest((ends - since) / np.repeat(weights[labels], sizes), n)]

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ARRAY_NAMES}

    def facts(self) -> dict[str, object]:
        return {"name": self.name, "words": self.words}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        """Over the arrays as they are, which may be read-only memory maps: workers share their pages."""
        # Plain views: indexing a memory map makes a memory map each time, at ten times the cost.
        held: dict[str, Any] = {name: np.asarray(arrays[name]) for name in ARRAY_NAMES}
        return cls(words=list(facts["words"]), **held)


def _smallest(values: NDArray[np.float64], n: int) -> NDArray[np.intp]:
    """Places of the n smallest, by value; all of fewer."""
    if n < len(values):
        # A sort of all would take ten times as long.
        chosen = np.argpartition(values, n)[:n]
        return chosen[np.argsort(values[chosen], kind="stable")]
    return np.argsort(values, kind="stable")


def _seeded_generator(profile: Profiles, seed: int, row: int) -> np.random.Generator:
    key = row if profile.keys is None else int(profile.keys[0])
    events = [round(float(matrix.sum())) for matrix in (profile.plays, profile.skips) if matrix is not None]
    digest = blake2b(f"classic:{seed}:{key}:{events}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
