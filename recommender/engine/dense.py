"""The terms of all songs for some listeners: what a benchmark and the tuning need, and a request does not."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from recommender.engine.catalogue import Profiles
from recommender.engine.parts import Parts
from recommender.engine.terms import (
    DIRECTIONS,
    NAMES,
    SHARE_FLOOR,
    VOTES,
    Known,
    linear,
    moments,
    standardised,
)


def dense_terms(
    parts: Parts, known: Known, profiles: Profiles, weights: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Place in NAMES and values (n, n_songs) of each term that has a weight, one at a time."""
    wanted = {name for name, weight in zip(NAMES, weights, strict=True) if weight}
    rows = np.repeat(np.arange(profiles.n), np.diff(profiles.plays.indptr))
    heard = (rows, profiles.plays.indices)
    for name, raw in _votes(parts, known, wanted):
        yield NAMES.index(name), _over_unheard(raw, heard)
    if wanted & set(DIRECTIONS):
        for name, raw in linear(parts, known.looks, slice(None)).items():
            yield NAMES.index(name), _over_unheard(raw, heard)
    for name, values in _shares(parts, known, wanted):
        yield NAMES.index(name), values


def _votes(parts: Parts, known: Known, wanted: set[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, vote in VOTES.items():
        if name in wanted and vote.matrix in parts.neighbours:
            voice = known.voices.weighted if vote.weighted else known.voices.plain
            raw = (voice @ parts.neighbours[vote.matrix]).toarray()
            yield name, np.sqrt(np.maximum(raw, 0)) if vote.root else raw


def _over_unheard(
    raw: NDArray[np.float32], heard: tuple[NDArray[np.int64], NDArray[np.int32]]
) -> NDArray[np.float32]:
    raw[heard] = 0
    totals = raw.sum(axis=1, dtype=np.float64)
    squares = (raw * raw).sum(axis=1, dtype=np.float64)
    unheard = raw.shape[1] - np.bincount(heard[0], minlength=len(raw))
    return standardised(raw, moments(totals, squares, unheard), 1.0)


def _shares(parts: Parts, known: Known, wanted: set[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    n = len(known.lean)
    if "artist" in wanted:
        yield "artist", np.log(known.artists.toarray() + np.float32(SHARE_FLOOR))[:, parts.artists]
    if "affinity" in wanted:
        yield "affinity", np.log(known.affinities + np.float32(SHARE_FLOOR))[:, parts.labels]
    if "popularity" in wanted:
        yield "popularity", np.repeat(np.log(parts.listeners + np.float32(0.5))[np.newaxis, :], n, axis=0)
    if "genre" in wanted and known.wanted.nnz:
        yield "genre", np.asarray((known.wanted @ parts.genres.T).toarray(), dtype=np.float32)
