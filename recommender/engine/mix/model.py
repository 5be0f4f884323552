"""The default model: votes of neighbours, directions of taste and shares, blended by tuned weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.base import recommend_by, rows_of
from recommender.engine.data import Candidates, Profiles
from recommender.engine.mix.components import Parts
from recommender.engine.mix.scoring import best, dense_terms, likely, terms_of, votes_of
from recommender.engine.mix.terms import NAMES, Known, blended, known_of

# Weights before any tuning: the recipe's, the terms of this blend that share a source sharing its weight.
BLOCK_CELLS = 4_000_000  # scores of a block: 16 MB, and as much for each step of a term


@dataclass(frozen=True)
class Mix:
    """See RECOMMENDER: clusters draw, this ranks.

    Attributes:
        weights: shape (n_terms,), of terms.NAMES.
        words: the genre words known.
        genre_means: shape (n_words, n_clusters), share of each cluster's songs that have the word.
    """

    parts: Parts
    weights: NDArray[np.float64]
    words: list[str]
    genre_means: NDArray[np.float32]
    name: str = "mix"

    @property
    def labels(self) -> NDArray[np.int32]:
        """Shape (n_songs,): each song's cluster."""
        return self.parts.labels

    @property
    def n_songs(self) -> int:
        return self.parts.n_songs

    def known(self, profiles: Profiles) -> Known:
        """What the model makes of listeners' rows, seen in training or not."""
        return known_of(self.parts, self.words, self.genre_means, profiles)

    def affinities(self, profiles: Profiles) -> NDArray[np.float32]:
        """Shape (n, n_clusters): shares of what each listener plays; rows sum to 1."""
        return self.known(profiles).affinities

    def scores(self, profiles: Profiles) -> NDArray[np.float32]:
        """Shape (n, n_songs), higher is better; what was heard has a score without meaning."""
        size = max(1, BLOCK_CELLS // max(1, self.n_songs))
        starts = range(0, profiles.n, size)
        blocks = [self._scores(rows_of(profiles, start, start + size)) for start in starts]
        return np.concatenate(blocks) if blocks else np.empty((0, self.n_songs), dtype=np.float32)

    def _scores(self, profiles: Profiles) -> NDArray[np.float32]:
        known = self.known(profiles)
        total = np.zeros((profiles.n, self.n_songs), dtype=np.float32)
        for index, term in dense_terms(self.parts, known, profiles, self.weights):
            total += term * np.float32(self.weights[index])
        genres = np.asarray((known.wanted @ self.parts.genres.T).toarray(), dtype=np.float32)
        return blended(self.parts, known, total, slice(None), genres)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        return recommend_by(self.scores, profiles, n, self.parts.available)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {**self.parts.arrays(), "weights": self.weights, "genre_means": self.genre_means}

    def facts(self) -> dict[str, object]:
        weights = dict(zip(NAMES, self.weights.round(4).tolist(), strict=True))
        return {"name": self.name, "weights": weights, "words": self.words}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        """Over the arrays as they are, which may be read-only memory maps: workers share their pages."""
        return cls(Parts.from_arrays(arrays), arrays["weights"], list(facts["words"]), arrays["genre_means"])


LOOKED_AT_SHARE = 0.12  # of the catalogue: measured on two sets, no loss
FEWEST, MOST = 1_000, 2_000  # songs looked at: below it saves nothing, above a request takes over 3 ms
UNKNOWN: Final = "while little is known"  # popularity among favourite genres, which stand in for plays


@dataclass(frozen=True)
class Live:
    """`Mix` as it serves."""

    mix: Mix

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        return cls(Mix.from_parts(arrays, facts))

    @property
    def labels(self) -> NDArray[np.int32]:
        return self.mix.parts.labels

    @property
    def artists(self) -> NDArray[np.int32]:
        return self.mix.parts.artists

    @property
    def available(self) -> NDArray[np.bool_]:
        return self.mix.parts.available

    def candidates(self, profile: Profiles, *, n: int) -> Candidates:
        return candidates(self.mix, profile, n=n)

    def score(self, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
        return score(self.mix, profile, songs)

    def explained(self, profile: Profiles, songs: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        return explained(self.mix, profile, songs)

    def similar(self, song: int, *, n: int) -> Candidates:
        """What is for a listener who has played nothing else."""
        once = csr_array(([np.float32(1)], ([0], [song])), shape=(1, self.mix.n_songs))
        return candidates(self.mix, Profiles(plays=once), n=n)


def candidates(mix: Mix, profile: Profiles, *, n: int = 400, budget: int | None = None) -> Candidates:
    """The n best of the songs looked at, which are the likely ones; as scored by `Mix.scores`.

    Args:
        profile: of one listener.
        budget: how many songs to look at, about; None: 12 % of the catalogue, between 1 000 and 2 000.

    Nothing heard, excluded or unavailable is among them; fewer than n are given only where fewer are left.
    """
    asked = budget or int(min(MOST, max(FEWEST, LOOKED_AT_SHARE * mix.n_songs)))
    known = mix.known(profile)
    votes = votes_of(mix.parts, known, profile)
    songs = likely(mix.parts, mix.weights, known, profile, votes, asked)
    while len(songs) < n and asked < mix.n_songs:
        asked *= 4
        songs = likely(mix.parts, mix.weights, known, profile, votes, asked)
    terms = terms_of(mix.parts, known, profile, votes, songs)
    scores = _blended(mix, known, terms, songs)
    first = best(scores, n)
    return Candidates(songs[first].astype(np.int32), scores[first])


def score(mix: Mix, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
    """Shape (len(songs),): one listener's scores of songs not heard, as `Mix.scores` has them."""
    known = mix.known(profile)
    votes = votes_of(mix.parts, known, profile)
    return _blended(mix, known, terms_of(mix.parts, known, profile, votes, songs), songs)


def explained(mix: Mix, profile: Profiles, songs: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
    """By term what it adds to the scores of songs not heard; they add up to `score`."""
    known = mix.known(profile)
    terms = terms_of(mix.parts, known, profile, votes_of(mix.parts, known, profile), songs)
    shown = terms * (mix.weights.astype(np.float32) * (1 - known.lean[0]))[:, np.newaxis]
    rest = _blended(mix, known, terms, songs) - shown.sum(axis=0)
    return {**dict(zip(NAMES, shown, strict=True)), UNKNOWN: rest}


def _blended(
    mix: Mix, known: Known, terms: NDArray[np.float32], songs: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    weighted = mix.weights.astype(np.float32) @ terms
    genres = terms[NAMES.index("genre")]
    return blended(mix.parts, known, weighted[np.newaxis], songs, genres[np.newaxis]).ravel()
