"""Rank songs that hardly anyone has played by their content.

The blend ranks them below all others, so lists give them places of their own (see `sampler`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recommender.engine.data import NOT_IN_MODEL, Catalogue, NewSongs, Profiles, ScoredSongs
from recommender.engine.features import NON_AUDIO_COLUMNS, FeatureSpace, space_from_arrays, weight_content
from recommender.engine.mix.components import MixComponents
from recommender.engine.mix.scoring import top_places
from recommender.engine.mix.terms import SHARE_FLOOR, ListenerFeatures, one_song_profile

FEWEST_LISTENERS: Final = 3  # a song with fewer is new
NEAREST: Final = 20  # songs whose mean score estimates a new song's
MOST_NEW_SONGS: Final = 5_000  # of the model; the highest ids of more
# The most played of more are searched for the nearest songs: limits the time in a web worker.
MOST_KNOWN_SONGS: Final = 50_000
SHORTLIST: Final = 40  # new songs of a request whose nearest songs are scored
COSINE_WEIGHT: Final = 0.5
LEAST_SIMILARITY: Final = 0.1  # a cosine; songs that share a genre alone are above it
BLOCK_CELLS: Final = 2_000_000  # similarities in memory at a time: 8 MB


@dataclass(frozen=True)
class MixNewSongRanker:
    """Ranks new songs by the content features and scores of a `mix` model."""

    components: MixComponents
    listener_features: Callable[[Profiles], ListenerFeatures]
    block_scores: Callable[[Profiles, Sequence[NDArray[np.int32]]], list[NDArray[np.float32]]]
    space_arrays: Mapping[str, NDArray[Any]]  # of the feature space; {} in artifacts without one

    @cached_property
    def audio_names(self) -> list[str]:
        space = self._read_space()
        return [] if space is None else [name for name in space.names if name not in NON_AUDIO_COLUMNS]

    def place(self, arrived: Catalogue, artists: NDArray[np.int32]) -> NewSongs:
        components = self.components
        own = new_song_columns(components)
        content = np.concatenate([components.content[own], self._content_of(arrived)])
        nearest = find_nearest_known(components, content)
        absent = np.full(arrived.n_songs, NOT_IN_MODEL, dtype=np.int32)
        labels = _most_common_labels(components, nearest[len(own) :])
        return NewSongs(
            columns=np.concatenate([own, absent]), labels=np.concatenate([components.labels[own], labels]),
            content=content, artists=np.concatenate([components.artists[own], artists]), nearest=nearest,
        )  # fmt: skip

    def rank(self, profiles: Profiles, new: NewSongs, allowed: NDArray[np.bool_]) -> NDArray[np.float32]:
        values = np.full((profiles.n, len(new.columns)), -np.inf, dtype=np.float32)
        describable = new.content.any(axis=1) | (new.artists >= 0)
        # Without any plays nothing tells which new songs suit the listener.
        has_plays = np.diff(profiles.plays.indptr) > 0
        places = [np.flatnonzero(one) for one in allowed & describable & has_plays[:, np.newaxis]]
        if not any(map(len, places)):
            return values
        features = self.listener_features(profiles)
        artist = artist_log_shares(features, new)
        directions = content_directions(features)
        uses_scores = self.components.genres.nnz and new.nearest.shape[1]
        shortlists, sums = [], []
        cosine = np.zeros_like(artist)
        for row, chosen in enumerate(places):
            content = new.content if len(chosen) == len(new.columns) else new.content.take(chosen, axis=0)
            artist[row, chosen] = standardise(artist[row, chosen])
            # One listener at a time, because the product of a block differs in the last bit.
            cosine[row, chosen] = standardise((directions[row : row + 1] @ content.T)[0])
            sums.append(artist[row, chosen] + cosine[row, chosen])
            shortlists.append(chosen[top_places(sums[row], SHORTLIST)])
            if not uses_scores:
                values[row, chosen] = sums[row]
        if not uses_scores:
            return values
        known = [np.unique(new.nearest[chosen], return_inverse=True) for chosen in shortlists]
        scored = self.block_scores(profiles, [songs.astype(np.int32) for songs, _ in known])
        for row, (chosen, scores, (_, inverse)) in enumerate(zip(shortlists, scored, known, strict=True)):
            if len(chosen):
                mean = standardise(scores[inverse.reshape(len(chosen), -1)].mean(axis=1))
                close = np.float32(COSINE_WEIGHT) * cosine[row, chosen]
                values[row, chosen] = mean + artist[row, chosen] + close
        return values

    def similarities(self, song: int, new: NewSongs) -> NDArray[np.float32]:
        values = np.full(len(new.columns), -np.inf, dtype=np.float32)
        cosines = new.content @ self.components.content[song]
        near = np.flatnonzero((cosines >= LEAST_SIMILARITY) & (new.columns != song))
        near = near[top_places(cosines[near], SHORTLIST)]
        if len(near) and new.nearest.shape[1]:
            known, inverse = np.unique(new.nearest[near], return_inverse=True)
            played = one_song_profile(song, self.components.n_songs)
            scores = self.block_scores(played, [known.astype(np.int32)])[0]
            values[near] = scores[inverse.reshape(len(near), -1)].mean(axis=1)
        return values

    def similar_to(self, content: NDArray[np.float32], *, n: int) -> ScoredSongs:
        cosines = np.asarray(self.components.content @ content, dtype=np.float32)
        near = np.flatnonzero((cosines >= LEAST_SIMILARITY) & self.components.available)
        best = near[top_places(cosines[near], n)]
        return ScoredSongs(best.astype(np.int32), cosines[best])

    def _content_of(self, arrived: Catalogue) -> NDArray[np.float32]:
        space = self._read_space() if arrived.n_songs else None
        if space is None:
            return np.zeros((arrived.n_songs, self.components.content.shape[1]), dtype=np.float32)
        return weight_content(arrived, space, space.transform(arrived))

    def _read_space(self) -> FeatureSpace | None:
        # Not kept: its words would take ten megabytes of every web worker.
        return space_from_arrays(self.space_arrays)


def new_song_columns(components: MixComponents) -> NDArray[np.int32]:
    """Columns of the model's new songs that content can place, ascending."""
    is_new = (components.listeners < FEWEST_LISTENERS) & components.available
    new = np.flatnonzero(is_new)
    return new[components.content[new].any(axis=1)][-MOST_NEW_SONGS:].astype(np.int32)


def find_nearest_known(components: MixComponents, content: NDArray[np.float32]) -> NDArray[np.int32]:
    """The known songs nearest to each row of `content`, shape (m, NEAREST) or fewer columns."""
    known = np.flatnonzero(components.listeners >= FEWEST_LISTENERS)
    if len(known) > MOST_KNOWN_SONGS:
        most_played = np.argsort(-components.listeners[known], kind="stable")[:MOST_KNOWN_SONGS]
        known = np.sort(known[most_played])
    rows = components.content[known]
    described = rows.any(axis=1)
    known, rows = known[described], rows[described]
    k = min(NEAREST, len(known))
    if not k or not len(content):
        return np.zeros((len(content), k), dtype=np.int32)
    size = max(1, BLOCK_CELLS // len(known))
    blocks = [
        np.argpartition(-(content[start : start + size] @ rows.T), k - 1, axis=1)[:, :k]
        for start in range(0, len(content), size)
    ]
    return known[np.concatenate(blocks)].astype(np.int32)


def content_directions(features: ListenerFeatures) -> NDArray[np.float32]:
    """Each listener's mean content, shape (n, d), rows of length 1, or 0 if nothing is known."""
    directions = features.directions.content[-1]
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(directions / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def artist_log_shares(features: ListenerFeatures, new: NewSongs) -> NDArray[np.float32]:
    """log(artist's share of the listener's plays + .02), shape (n, m)."""
    shares = features.artists[:, np.maximum(new.artists, 0)].toarray()
    return np.asarray(
        np.log(np.where(new.artists < 0, 0, shares) + np.float32(SHARE_FLOOR)), dtype=np.float32
    )


def standardise(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """z-scores; 0 for equal values."""
    if not len(values) or (deviation := values.std()) <= 1e-6:
        return np.zeros_like(values)
    return np.asarray((values - values.mean()) / deviation, dtype=np.float32)


def _most_common_labels(components: MixComponents, nearest: NDArray[np.int32]) -> NDArray[np.int32]:
    """The most common cluster of each row's nearest songs; the lower label wins ties."""
    labels = components.labels[nearest]
    return np.array([np.bincount(row).argmax() if len(row) else 0 for row in labels], dtype=np.int32)
