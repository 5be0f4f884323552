"""Gather, for some listeners, the songs that could be recommended under any weights, to tune these on."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.baselines import rows_of, unwanted
from recommender.engine.catalogue import Profiles, Training
from recommender.engine.dense import dense_terms
from recommender.engine.few import likely, terms_of, votes_of
from recommender.engine.lanes import two_lanes
from recommender.engine.parts import Parts
from recommender.engine.terms import NAMES, Known, blended
from recommender.engine.tuning import Pool

DENSE_SONGS = 30_000  # up to here all songs compete: tuned on likely ones alone, a set of 10 000 loses 2 %
LOOKED_AT = 2_000  # beyond, as many as a request looks at: to rank them is all that the weights will do
BLOCK_CELLS = 4_000_000  # listeners x songs at once: 14 terms of 16 MB
LISTENERS = 100  # in a piece of work
POOLED = 50  # best songs of the start's blend, and of each of these terms, are kept
POOLED_TERMS = (
    "ease", "ease_weighted", "rp3", "rp3_weighted", "knn", "taste", "hybrid_low", "hybrid", "popularity",
)  # fmt: skip

Fold = Callable[[Profiles], Known]
# One listener's songs, their terms (n_terms, m), and what is added to the weighted terms (m,).
Row = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]


def pool_of(
    parts: Parts,
    weights: NDArray[np.float64],
    fold: Fold,
    training: Training,
    later: csr_array,
    rows: NDArray[np.int64],
) -> Pool:
    """The pool of the listeners of `rows`; `later` (n_listeners, n_songs) holds what they then played."""
    profiles = _profiles(training, rows)
    gather = _dense_rows if parts.n_songs <= DENSE_SONGS else _likely_rows

    def piece(start: int) -> list[Row]:
        block = rows_of(profiles, start, start + LISTENERS)
        return [_kept(row, weights) for row in gather(parts, weights, fold, block)]

    with two_lanes() as begin:
        pieces = begin([partial(piece, start) for start in range(0, profiles.n, LISTENERS)])()
    found = [row for rows_of_piece in pieces for row in rows_of_piece]
    width = max(len(songs) for songs, _, _ in found)
    terms = np.zeros((len(NAMES), len(rows), width), dtype=np.float32)
    base = np.full((len(rows), width), -np.inf, dtype=np.float32)
    hits = np.zeros((len(rows), width), dtype=np.bool_)
    for place, (songs, values, added) in enumerate(found):
        terms[:, place, : len(songs)] = values
        base[place, : len(songs)] = added
        played = later.indices[later.indptr[rows[place]] : later.indptr[rows[place] + 1]]
        hits[place, : len(songs)] = np.isin(songs, played)
    return Pool(terms, base, hits, np.diff(later.indptr)[rows].astype(np.int64))


def _dense_rows(parts: Parts, weights: NDArray[np.float64], fold: Fold, profiles: Profiles) -> Iterator[Row]:
    """Each listener's row with all songs."""
    size = max(1, BLOCK_CELLS // parts.n_songs)
    for start in range(0, profiles.n, size):
        block = rows_of(profiles, start, start + size)
        known = fold(block)
        terms = np.zeros((len(NAMES), block.n, parts.n_songs), dtype=np.float32)
        for index, term in dense_terms(parts, known, block, np.ones(len(NAMES))):
            terms[index] = term
        nothing = np.zeros_like(terms[0])
        base = blended(parts, known, nothing, slice(None), terms[NAMES.index("genre")])
        base[unwanted(block, parts.available)] = -np.inf
        for row in range(block.n):
            songs = np.flatnonzero(np.isfinite(base[row]))
            yield songs, terms[:, row, songs] * (1 - known.lean[row]), base[row, songs]


def _likely_rows(parts: Parts, weights: NDArray[np.float64], fold: Fold, profiles: Profiles) -> Iterator[Row]:
    """Each listener's row with the songs that a request would look at."""
    for row in range(profiles.n):
        profile = rows_of(profiles, row, row + 1)
        known = fold(profile)
        votes = votes_of(parts, known, profile)
        songs = likely(parts, weights, known, profile, votes, LOOKED_AT)
        terms = terms_of(parts, known, profile, votes, songs)
        nothing = np.zeros((1, len(songs)), dtype=np.float32)
        base = blended(parts, known, nothing, songs, terms[[NAMES.index("genre")]])
        yield songs, terms * (1 - known.lean[0]), base[0]


def _kept(row: Row, weights: NDArray[np.float64]) -> Row:
    """Of a row the songs that are among the best of the blend or of a term, ascending."""
    songs, terms, base = row
    each = min(POOLED, len(songs))
    if not each:
        return row
    ranked = [weights.astype(np.float32) @ terms, *(terms[NAMES.index(name)] for name in POOLED_TERMS)]
    kept = np.unique(np.concatenate([np.argpartition(-values, each - 1)[:each] for values in ranked]))
    return songs[kept], terms[:, kept], base[kept]


def _profiles(training: Training, rows: NDArray[np.int64]) -> Profiles:
    return Profiles(
        training.plays[rows],
        None if training.recent is None else training.recent[rows],
        None if training.skips is None else training.skips[rows],
        None if training.genres is None else [training.genres[row] for row in rows],
    )
