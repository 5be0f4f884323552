"""The default model: votes of neighbours, directions of taste and shares, blended by tuned weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recommender.engine.baselines import recommend_by, rows_of
from recommender.engine.catalogue import Profiles
from recommender.engine.dense import dense_terms
from recommender.engine.parts import Parts
from recommender.engine.terms import (
    NAMES,
    Known,
    blended,
    known_of,
)

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
