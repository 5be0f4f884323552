"""`mix`, the default model: a weighted sum of terms.

`MixModel` scores all songs for batches of listeners, `OnlineMixModel` a preselection for one request.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from recommender.engine.algorithms.base import recommend_in_blocks, slice_profiles
from recommender.engine.data import NearestPlays, Profiles, ScoredSongs
from recommender.engine.features import SPACE_PREFIX, fold_stored_words, word_columns
from recommender.engine.mix.components import MixComponents
from recommender.engine.mix.nearest_plays import find_nearest_plays
from recommender.engine.mix.new_songs import MixNewSongRanker
from recommender.engine.mix.scoring import (
    NeighbourVotes,
    batch_terms,
    direction_moments,
    online_terms,
    preselect_songs,
    sum_neighbour_votes,
    top_places,
)
from recommender.engine.mix.terms import (
    TERM_NAMES,
    ListenerFeatures,
    TermMoments,
    blend_scores,
    build_listener_features,
    one_song_profile,
)

BATCH_SCORE_CELLS = 4_000_000  # scores per block: 16 MB, and as much for each step of a term
PRESELECTED_SHARE = 0.12  # share of the catalogue; measured on two data sets: no loss
FEWEST_PRESELECTED = 1_000  # preselecting fewer saves no time
MOST_PRESELECTED = 2_000  # with more a request takes over 3 ms
# Name of the cold-start term in explanations: popularity among favourite genres.
COLD_START_TERM: Final = "while little is known"


@dataclass(frozen=True)
class MixModel:
    components: MixComponents
    weights: NDArray[np.float64]  # shape (n_terms,), in the order of TERM_NAMES
    words: list[str]  # known genre words
    # Shape (n_words, n_clusters), share of each cluster's songs that have the word.
    genre_means: NDArray[np.float32]
    name: str = "mix"

    @property
    def labels(self) -> NDArray[np.int32]:
        return self.components.labels

    @property
    def n_songs(self) -> int:
        return self.components.n_songs

    def listener_features(self, profiles: Profiles, *, one_by_one: bool = False) -> ListenerFeatures:
        """The features of each listener; `one_by_one`: see `build_directions`."""
        return build_listener_features(
            self.components, self._word_columns, self.genre_means, profiles, one_by_one=one_by_one
        )

    @cached_property
    def _word_columns(self) -> dict[str, int]:
        return word_columns(self.words)

    def affinities(self, profiles: Profiles) -> NDArray[np.float32]:
        return self.listener_features(profiles).affinities

    def scores(self, profiles: Profiles) -> NDArray[np.float32]:
        """The scores of all songs, shape (n, n_songs); ignore those of played songs."""
        size = max(1, BATCH_SCORE_CELLS // max(1, self.n_songs))
        starts = range(0, profiles.n, size)
        blocks = [self._scores(slice_profiles(profiles, start, start + size)) for start in starts]
        return np.concatenate(blocks) if blocks else np.empty((0, self.n_songs), dtype=np.float32)

    def _scores(self, profiles: Profiles) -> NDArray[np.float32]:
        features = self.listener_features(profiles)
        total = np.zeros((profiles.n, self.n_songs), dtype=np.float32)
        for index, term in batch_terms(self.components, features, profiles, self.weights):
            total += term * np.float32(self.weights[index])
        genres = np.asarray(
            (features.favourite_genres @ self.components.genres.T).toarray(), dtype=np.float32
        )
        return blend_scores(self.components, features.cold_start_weight, total, slice(None), genres)

    def recommend(self, profiles: Profiles, n: int, *, seed: int = 7) -> NDArray[np.int32]:
        return recommend_in_blocks(self.scores, profiles, n, self.components.available)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {**self.components.arrays(), "weights": self.weights, "genre_means": self.genre_means}

    def facts(self) -> dict[str, object]:
        weights = dict(zip(TERM_NAMES, self.weights.round(4).tolist(), strict=True))
        return {"name": self.name, "weights": weights, "words": self.words}

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        # Artifacts of earlier releases have weights of the terms that they knew, which come first.
        weights = arrays["weights"]
        if len(weights) < len(TERM_NAMES):
            weights = np.append(weights, np.zeros(len(TERM_NAMES) - len(weights)))
        return cls(
            MixComponents.from_arrays(arrays),
            weights,
            fold_stored_words(facts["words"]),
            arrays["genre_means"],
        )


class _ScoredListeners(NamedTuple):
    model: MixModel
    features: ListenerFeatures
    moments: TermMoments  # see `direction_moments`
    votes: list[NeighbourVotes]


@dataclass(frozen=True)
class OnlineMixModel:
    """A `ServableModel`; its scores equal those of `MixModel.scores` up to rounding."""

    mix: MixModel
    space_arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # see `space_to_arrays`

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        space = {name: array for name, array in arrays.items() if name.startswith(SPACE_PREFIX)}
        return cls(MixModel.from_parts(arrays, facts), space)

    @property
    def labels(self) -> NDArray[np.int32]:
        return self.mix.components.labels

    @property
    def artists(self) -> NDArray[np.int32]:
        return self.mix.components.artists

    @property
    def available(self) -> NDArray[np.bool_]:
        return self.mix.components.available

    def candidates(self, profile: Profiles, *, n: int, budget: int | None = None) -> ScoredSongs:
        """See `block_candidates`."""
        return self.block_candidates(profile, n=n, budget=budget)[0]

    def block_candidates(self, profiles: Profiles, *, n: int, budget: int | None = None) -> list[ScoredSongs]:
        """Each listener's n best of about `budget` preselected songs (more if fewer than n are eligible)."""
        budget = budget or int(
            min(MOST_PRESELECTED, max(FEWEST_PRESELECTED, PRESELECTED_SHARE * self.mix.n_songs))
        )
        songs = self._preselect(profiles, range(profiles.n), budget)
        while budget < self.mix.n_songs and (short := [row for row, one in enumerate(songs) if len(one) < n]):
            budget *= 4
            for row, more in zip(short, self._preselect(profiles, short, budget), strict=True):
                songs[row] = more
        found = []
        for chosen, scores in zip(songs, self.block_scores(profiles, songs), strict=True):
            best = top_places(scores, n)
            found.append(ScoredSongs(chosen[best].astype(np.int32), scores[best]))
        return found

    def score(self, profile: Profiles, songs: NDArray[np.int32]) -> NDArray[np.float32]:
        return self.block_scores(profile, [songs])[0]

    def block_scores(
        self, profiles: Profiles, songs: Sequence[NDArray[np.integer[Any]]]
    ) -> list[NDArray[np.float32]]:
        features = self._scored_listeners(profiles).features
        terms = self._terms(profiles, songs)
        return [self._blend(features, row, *one) for row, one in enumerate(zip(terms, songs, strict=True))]

    def explain_scores(self, profile: Profiles, songs: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """Each term's contribution to the songs' scores; the contributions add up to `score`."""
        features = self._scored_listeners(profile).features
        (terms,) = self._terms(profile, [songs])
        scale = self.mix.weights.astype(np.float32) * (1 - features.cold_start_weight[0])
        contributions = terms * scale[:, np.newaxis]
        cold_start = self._blend(features, 0, terms, songs) - contributions.sum(axis=0)
        return {**dict(zip(TERM_NAMES, contributions, strict=True)), COLD_START_TERM: cold_start}

    def similar(self, song: int, *, n: int) -> ScoredSongs:
        return self.candidates(one_song_profile(song, self.mix.n_songs), n=n)

    def nearest_plays(self, profiles: Profiles, songs: Sequence[NDArray[np.int32]]) -> NearestPlays:
        weights = self._scored_listeners(profiles).features.profile_weights
        return find_nearest_plays(self.mix.components, weights, songs)

    @cached_property
    def new_song_ranker(self) -> MixNewSongRanker:
        return MixNewSongRanker(self.mix.components, self._features, self.block_scores, self.space_arrays)

    def _features(self, profiles: Profiles) -> ListenerFeatures:
        return self._scored_listeners(profiles).features

    def _scored_listeners(self, profiles: Profiles) -> "_ScoredListeners":
        """The listeners' features and votes, computed once for two or three calls."""
        scored: _ScoredListeners | None = profiles.memo.get("mix")
        if scored is None or scored.model is not self.mix:
            components = self.mix.components
            features = self.mix.listener_features(profiles, one_by_one=True)
            moments = direction_moments(components, features, profiles)
            votes = sum_neighbour_votes(components, features, profiles)
            scored = profiles.memo["mix"] = _ScoredListeners(self.mix, features, moments, votes)
        return scored

    def _preselect(self, profiles: Profiles, rows: Sequence[int], budget: int) -> list[NDArray[np.int64]]:
        _, features, _, votes = self._scored_listeners(profiles)
        return preselect_songs(self.mix.components, self.mix.weights, features, profiles, votes, budget, rows)

    def _terms(
        self, profiles: Profiles, songs: Sequence[NDArray[np.integer[Any]]]
    ) -> Iterator[NDArray[np.float32]]:
        _, features, moments, votes = self._scored_listeners(profiles)
        return online_terms(self.mix.components, features, moments, votes, songs)

    def _blend(
        self,
        features: ListenerFeatures,
        row: int,
        terms: NDArray[np.float32],
        songs: NDArray[np.integer[Any]],
    ) -> NDArray[np.float32]:
        weighted = self.mix.weights.astype(np.float32) @ terms
        genres = terms[TERM_NAMES.index("genre")]
        cold = features.cold_start_weight[row : row + 1]
        return blend_scores(
            self.mix.components, cold, weighted[np.newaxis], songs, genres[np.newaxis]
        ).ravel()
