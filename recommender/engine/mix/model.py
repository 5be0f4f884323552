"""The default model: votes of neighbours, directions of taste and shares, blended by tuned weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.base import recommend_in_blocks, slice_profiles
from recommender.engine.data import Profiles, ScoredSongs
from recommender.engine.mix.components import MixComponents
from recommender.engine.mix.scoring import (
    batch_terms,
    online_terms,
    preselect_songs,
    sum_neighbour_votes,
    top_places,
)
from recommender.engine.mix.terms import TERM_NAMES, ListenerFeatures, blend_scores, build_listener_features

# Weights before any tuning: the recipe's, the terms of this blend that share a source sharing its weight.
BATCH_SCORE_CELLS = 4_000_000  # scores of a block: 16 MB, and as much for each step of a term


@dataclass(frozen=True)
class MixModel:
    """See RECOMMENDER: clusters draw, this ranks.

    Attributes:
        weights: shape (n_terms,), of terms.NAMES.
        words: the genre words known.
        genre_means: shape (n_words, n_clusters), share of each cluster's songs that have the word.
    """

    components: MixComponents
    weights: NDArray[np.float64]
    words: list[str]
    genre_means: NDArray[np.float32]
    name: str = "mix"

    @property
    def labels(self) -> NDArray[np.int32]:
        """Shape (n_songs,): each song's cluster."""
        return self.components.labels

    @property
    def n_songs(self) -> int:
        return self.components.n_songs

    def listener_features(self, profiles: Profiles) -> ListenerFeatures:
        """What the model makes of listeners' rows, seen in training or not."""
        return build_listener_features(self.components, self.words, self.genre_means, profiles)

    def affinities(self, profiles: Profiles) -> NDArray[np.float32]:
        """Shape (n, n_clusters): shares of what each listener plays; rows sum to 1."""
        return self.listener_features(profiles).affinities

    def scores(self, profiles: Profiles) -> NDArray[np.float32]:
        """Shape (n, n_songs), higher is better; what was heard has a score without meaning."""
        size = max(1, BATCH_SCORE_CELLS // max(1, self.n_songs))
        starts = range(0, profiles.n, size)
        blocks = [self._scores(slice_profiles(profiles, start, start + size)) for start in starts]
        return np.concatenate(blocks) if blocks else np.empty((0, self.n_songs), dtype=np.float32)

    def _scores(self, profiles: Profiles) -> NDArray[np.float32]:
        known = self.listener_features(profiles)
        total = np.zeros((profiles.n, self.n_songs), dtype=np.float32)
        for index, term in batch_terms(self.components, known, profiles, self.weights):
            total += term * np.float32(self.weights[index])
        genres = np.asarray((known.favourite_genres @ self.components.genres.T).toarray(), dtype=np.float32)
        return blend_scores(self.components, known, total, slice(None), genres)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        return recommend_in_blocks(self.scores, profiles, n, self.components.available)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {**self.components.arrays(), "weights": self.weights, "genre_means": self.genre_means}

    def facts(self) -> dict[str, object]:
        weights = dict(zip(TERM_NAMES, self.weights.round(4).tolist(), strict=True))
        return {"name": self.name, "weights": weights, "words": self.words}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        """Over the arrays as they are, which may be read-only memory maps: workers share their pages."""
        return cls(
            MixComponents.from_arrays(arrays), arrays["weights"], list(facts["words"]), arrays["genre_means"]
        )


PRESELECTED_SHARE = 0.12  # of the catalogue: measured on two sets, no loss
FEWEST_PRESELECTED, MOST_PRESELECTED = (
    1_000,
    2_000,
)  # songs looked at: below it saves nothing, above a request takes over 3 ms
COLD_START_TERM: Final = (
    "while little is known"  # popularity among favourite genres, which stand in for plays
)


@dataclass(frozen=True)
class OnlineMixModel:
    """`Mix` as it serves."""

    mix: MixModel

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        return cls(MixModel.from_parts(arrays, facts))

    @property
    def labels(self) -> NDArray[np.int32]:
        return self.mix.components.labels

    @property
    def artists(self) -> NDArray[np.int32]:
        return self.mix.components.artists

    @property
    def available(self) -> NDArray[np.bool_]:
        return self.mix.components.available

    def candidates(self, profile: Profiles, *, n: int) -> ScoredSongs:
        return find_candidates(self.mix, profile, n=n)

    def score(self, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
        return score_songs(self.mix, profile, songs)

    def explain_scores(self, profile: Profiles, songs: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        return explain_scores(self.mix, profile, songs)

    def similar(self, song: int, *, n: int) -> ScoredSongs:
        """What is for a listener who has played nothing else."""
        once = csr_array(([np.float32(1)], ([0], [song])), shape=(1, self.mix.n_songs))
        return find_candidates(self.mix, Profiles(plays=once), n=n)


def find_candidates(mix: MixModel, profile: Profiles, *, n: int, budget: int | None = None) -> ScoredSongs:
    """The n best of the songs looked at, which are the likely ones; as scored by `Mix.scores`.

    Args:
        profile: of one listener.
        budget: how many songs to look at, about; None: 12 % of the catalogue, between 1 000 and 2 000.

    Nothing heard, excluded or unavailable is among them; fewer than n are given only where fewer are left.
    """
    asked = budget or int(min(MOST_PRESELECTED, max(FEWEST_PRESELECTED, PRESELECTED_SHARE * mix.n_songs)))
    known = mix.listener_features(profile)
    votes = sum_neighbour_votes(mix.components, known, profile)
    songs = preselect_songs(mix.components, mix.weights, known, profile, votes, asked)
    while len(songs) < n and asked < mix.n_songs:
        asked *= 4
        songs = preselect_songs(mix.components, mix.weights, known, profile, votes, asked)
    terms = online_terms(mix.components, known, profile, votes, songs)
    scores = _blend_online(mix, known, terms, songs)
    first = top_places(scores, n)
    return ScoredSongs(songs[first].astype(np.int32), scores[first])


def score_songs(mix: MixModel, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
    """Shape (len(songs),): one listener's scores of songs not heard, as `Mix.scores` has them."""
    known = mix.listener_features(profile)
    votes = sum_neighbour_votes(mix.components, known, profile)
    return _blend_online(mix, known, online_terms(mix.components, known, profile, votes, songs), songs)


def explain_scores(
    mix: MixModel, profile: Profiles, songs: NDArray[np.int32]
) -> dict[str, NDArray[np.float32]]:
    """By term what it adds to the scores of songs not heard; they add up to `score`."""
    known = mix.listener_features(profile)
    terms = online_terms(
        mix.components, known, profile, sum_neighbour_votes(mix.components, known, profile), songs
    )
    shown = terms * (mix.weights.astype(np.float32) * (1 - known.cold_start_weight[0]))[:, np.newaxis]
    rest = _blend_online(mix, known, terms, songs) - shown.sum(axis=0)
    return {**dict(zip(TERM_NAMES, shown, strict=True)), COLD_START_TERM: rest}


def _blend_online(
    mix: MixModel, features: ListenerFeatures, terms: NDArray[np.float32], songs: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    weighted = mix.weights.astype(np.float32) @ terms
    genres = terms[TERM_NAMES.index("genre")]
    return blend_scores(mix.components, features, weighted[np.newaxis], songs, genres[np.newaxis]).ravel()
