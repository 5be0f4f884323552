"""The user's principle alone: clusters drawn in proportion to a listener's engagement, a song from each."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recommender.engine.affinities import affinities
from recommender.engine.baselines import everything, popularity, rows_of, unwanted
from recommender.engine.catalogue import Profiles, TooFewSongs, Training
from recommender.engine.clusters import default_n_clusters, fit_clusters
from recommender.engine.features import fit_features
from recommender.engine.genres import genre_matrix, vocabulary

BLOCK_CELLS = 20_000_000  # of a mask of listeners x songs: 20 MB


@dataclass(frozen=True)
class Classic:
    """K-means over what is known of songs; who listens to them plays no part in the clusters.

    Attributes:
        labels: shape (n_songs,), each song's cluster.
        plays: shape (n_clusters,), share of all listeners' plays; for listeners of whom nothing is known.
        words: genre words known; `genre_shares` (n_words, n_clusters) is the share of each cluster's songs.
    """

    labels: NDArray[np.int32]
    plays: NDArray[np.float64]
    words: list[str]
    genre_shares: NDArray[np.float32]
    available: NDArray[np.bool_]
    name: str = "classic"

    @classmethod
    def fit(cls, training: Training, *, n_clusters: int | None = None) -> Self:
        """Group the songs by metadata and sound.

        Raises:
            TooFewSongs: there are none.
        """
        catalogue = training.catalogue
        if not catalogue.n_songs:
            raise TooFewSongs("There are no songs to group.")
        points = fit_features(catalogue, seed=training.seed).transform(catalogue)
        wanted = n_clusters or default_n_clusters(catalogue.n_songs)
        labels = fit_clusters(points, n_clusters=wanted, seed=training.seed).labels
        number = int(labels.max()) + 1
        listeners = popularity(everything(training))
        engaged = np.bincount(labels, weights=listeners, minlength=number) + 1e-9
        words = vocabulary(catalogue.genres)
        genres = genre_matrix(catalogue.genres, words)
        shares = np.zeros((len(words), number), dtype=np.float32)
        rows = np.repeat(np.arange(catalogue.n_songs), np.diff(genres.indptr))
        np.add.at(shares, (genres.indices, labels[rows]), 1)
        sizes = np.maximum(np.bincount(labels, minlength=number), 1)
        means = (shares / sizes).astype(np.float32)
        return cls(labels, engaged / engaged.sum(), words, means, catalogue.available)

    @property
    def n_clusters(self) -> int:
        return len(self.plays)

    def affinities(self, profiles: Profiles) -> NDArray[np.float64]:
        """Shape (n, n_clusters), rows sum to 1: own engagement, else favourite genres, else everybody's."""
        base = profiles.plays if profiles.recent is None else profiles.recent
        own = affinities(base, self.labels, self.n_clusters, profiles.skips).astype(np.float64)
        silent = np.flatnonzero(np.diff(profiles.plays.indptr) == 0)
        texts = ["" if profiles.genres is None else profiles.genres[row] for row in silent]
        liked = np.asarray(genre_matrix(texts, self.words) @ self.genre_shares, dtype=np.float64)
        liked = liked.reshape(len(silent), self.n_clusters)
        sums = liked.sum(axis=1, keepdims=True)
        own[silent] = np.where(sums > 0, liked / np.where(sums > 0, sums, 1), self.plays)
        return own

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        """As promised by Model; what is drawn for a listener with a key is the same in any company."""
        keys = np.arange(profiles.n) if profiles.keys is None else profiles.keys
        size = max(1, BLOCK_CELLS // max(1, len(self.labels)))
        lists = np.full((profiles.n, n), -1, dtype=np.int32)
        for start in range(0, profiles.n, size):
            block = rows_of(profiles, start, start + size)
            refused, shares = unwanted(block, self.available), self.affinities(block)
            for row in range(block.n):
                picks = self._drawn(~refused[row], shares[row], n, _chances(seed, int(keys[start + row])))
                lists[start + row, : len(picks)] = picks
        return lists

    def _drawn(
        self, eligible: NDArray[np.bool_], shares: NDArray[np.float64], n: int, chances: np.random.Generator
    ) -> NDArray[np.int64]:
        """A cluster by its share and a song evenly from it, n times, no song twice.

        Each song gets a random rank within its cluster; a cluster's next song is its next rank. Clusters
        that the listener has no share of follow by everybody's plays, when the others are used up.
        """
        songs = np.flatnonzero(eligible)
        order = chances.permutation(songs)
        left = {
            cluster: order[self.labels[order] == cluster]
            for cluster in np.unique(self.labels[songs]).tolist()
        }
        taken = dict.fromkeys(left, 0)
        picks: list[int] = []
        while left and len(picks) < n:
            clusters = np.array(sorted(left))
            weights = shares[clusters]
            weights = weights if weights.sum() > 0 else self.plays[clusters]
            cluster = int(chances.choice(clusters, p=weights / weights.sum()))
            picks.append(int(left[cluster][taken[cluster]]))
            taken[cluster] += 1
            if taken[cluster] == len(left[cluster]):
                del left[cluster]
        return np.array(picks, dtype=np.int64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        names = ("labels", "plays", "genre_shares", "available")
        return {name: getattr(self, name) for name in names}

    def facts(self) -> dict[str, object]:
        return {"name": self.name, "words": self.words}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        labels, plays, shares, available = (
            arrays[name] for name in ("labels", "plays", "genre_shares", "available")
        )
        return cls(labels, plays, list(facts["words"]), shares, available)


def _chances(seed: int, key: int) -> np.random.Generator:
    digest = blake2b(f"classic:{seed}:{key}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
