"""The terms that `mix` adds up for a listener and a song, each from the listener's own rows of plays.

Votes come from the neighbours of the songs heard; directions are a listener's mean in a space of songs. Both
are standardised over the songs the listener has not heard, so that one weight fits listeners of 5 and of 500
songs. What is needed for that is had without scoring all songs: votes are sparse, and of a linear score
s = V p the mean is mean(V) p and the mean square p' (V'V / n) p, less those of the songs heard.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.item_similarity import bounded, heard
from recommender.engine.clustering.affinities import affinities as shares_by_cluster
from recommender.engine.data import Profiles
from recommender.engine.features import genre_matrix
from recommender.engine.mix.components import MIXTURES, Parts, damping

VOICES = 500  # songs of a listener that speak, the most played ones: bounds the time of a request
LEAN_SONGS = 0.5  # songs heard at which a history decides as much as genres and popularity
GENRE_LEAN = 4.0  # a favourite genre is worth e^4 = 55 times the listeners, to one without a history
GENRE_SONGS = 3.0  # favourite genres weigh as much as three songs heard
SHORT = 32  # axes of the coarse taste; measured + .5 % beside the fine one on a set of few listeners
SHARE_FLOOR = 0.02  # log(share + .02): a song of an unknown artist is far, but not infinitely far


class Vote(NamedTuple):
    """A sparse term: whose neighbours, whether plays are weighed, whether the sum's root is taken."""

    matrix: str
    weighted: bool
    root: bool


VOTES: Mapping[str, Vote] = {
    "ease": Vote("ease", weighted=False, root=False),
    "ease_weighted": Vote("ease", weighted=True, root=False),
    "rp3": Vote("rp3", weighted=False, root=False),
    "rp3_weighted": Vote("rp3", weighted=True, root=False),
    "rp3_root": Vote("rp3", weighted=False, root=True),
    "knn": Vote("knn", weighted=False, root=False),
}
DIRECTIONS = ("taste", "taste_short", "hybrid_low", "hybrid")
SHARES = ("artist", "affinity", "popularity", "genre")
NAMES = (*VOTES, *DIRECTIONS, *SHARES)


@dataclass(frozen=True)
class Voices:
    """What of some listeners' plays speaks for them.

    Attributes:
        plain: shape (n, n_songs), 1 for each song.
        weighted: the same songs, by log(1 + recent plays), each row's mean 1.
        counts: shape (n,), how many songs each listener has heard, even where not all speak.
    """

    plain: csr_array
    weighted: csr_array
    counts: NDArray[np.int64]


def voices(profiles: Profiles) -> Voices:
    """The voices of listeners; no song speaks more than once."""
    counts = np.diff(heard(profiles.plays).indptr).astype(np.int64)
    base = profiles.plays if profiles.recent is None else profiles.recent
    kept = bounded(csr_array(base, dtype=np.float32), VOICES)
    weighted = csr_array(kept, copy=True)
    weighted.sum_duplicates()
    weighted.eliminate_zeros()
    weighted.data = np.log1p(np.maximum(weighted.data, 0))
    plain = heard(weighted)
    widths = np.diff(weighted.indptr)
    rows = np.repeat(np.arange(profiles.n), widths)
    sums = np.bincount(rows, weights=weighted.data, minlength=profiles.n)
    # In place: a product with a diagonal matrix would leave the songs in another order than `plain` has them.
    weighted.data *= (widths / np.where(sums > 0, sums, 1))[rows].astype(np.float32)
    return Voices(plain, weighted, counts)


class Moments(NamedTuple):
    """Mean and standard deviation of a term over the songs a listener has not heard; shape (n,) each."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def moments(total: NDArray[np.float64], squares: NDArray[np.float64], count: NDArray[np.int64]) -> Moments:
    """From sums over the unheard songs; a term that is the same for all has deviation 0."""
    number = np.maximum(count, 1)
    mean = total / number
    variance = squares / number - mean**2
    flat = variance <= 1e-10 * np.maximum(squares / number, 1e-30)
    return Moments(mean, np.where(flat, 0.0, np.sqrt(np.maximum(variance, 0))))


def standardised(raw: NDArray[np.float32], spread: Moments, weight: float) -> NDArray[np.float32]:
    """`raw` (n, m) as z-scores times the weight; 0 where the term says nothing."""
    known = spread.deviation > 0
    scale = np.where(known, weight / np.where(known, spread.deviation, 1), 0)
    shift = spread.mean * scale
    return np.asarray(raw * scale.astype(np.float32)[:, None] - shift.astype(np.float32)[:, None])


class Directions(NamedTuple):
    """Where listeners look in each space of songs.

    Attributes:
        taste: shape (n, k).
        content: for each of MIXTURES shape (n, d), the mixture's weight included.
        company: the same, shape (n, d').
    """

    taste: NDArray[np.float32]
    content: list[NDArray[np.float32]]
    company: list[NDArray[np.float32]]

    def vectors(self) -> dict[str, NDArray[np.float64]]:
        """The direction of each linear term as one vector a listener, in the spaces of `Parts.centres`."""
        low, high = (
            np.hstack([content / np.float32(weight), company])
            for weight, content, company in zip(MIXTURES, self.content, self.company, strict=True)
        )
        found = {"taste": self.taste, "taste_short": self.taste[:, :SHORT], "hybrid_low": low, "hybrid": high}
        return {name: vector.astype(np.float64) for name, vector in found.items()}


def directions(parts: Parts, spoken: Voices) -> Directions:
    """The listeners' weighed sums of the songs that speak for them."""
    plain, weighted = spoken.plain, spoken.weighted
    taste = _summed(plain, damping(parts.listeners[plain.indices]), parts.taste)
    content, company = [], []
    for column, weight in enumerate(MIXTURES):
        voice = weighted.data / parts.norms[weighted.indices, column]
        # The weight stands once for the listener's vector and once for the song's: both are of the mixture.
        content.append(_summed(weighted, voice, parts.content) * np.float32(weight**2))
        company.append(_summed(weighted, voice, parts.company))
    return Directions(taste, content, company)


def _summed(
    heard_songs: csr_array, voice: NDArray[np.float32], rows: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The rows of the songs heard, summed by listener, each times its voice; other rows are not read."""
    if heard_songs.shape[0] == 1:
        return np.asarray(voice @ rows[heard_songs.indices], dtype=np.float32)[np.newaxis, :]
    parts = (voice, heard_songs.indices, heard_songs.indptr)
    return np.asarray(csr_array(parts, shape=heard_songs.shape) @ rows, dtype=np.float32)


def linear(
    parts: Parts, looks: Directions, songs: NDArray[np.integer[Any]] | slice
) -> dict[str, NDArray[np.float32]]:
    """Each linear term of the songs asked for, not yet standardised; shape (n, n_asked) each."""
    taste, content, company = (_rows(space, songs) for space in (parts.taste, parts.content, parts.company))
    found = {"taste": looks.taste @ taste.T, "taste_short": looks.taste[:, :SHORT] @ taste[:, :SHORT].T}
    for column, name in enumerate(("hybrid_low", "hybrid")):
        both = looks.content[column] @ content.T + looks.company[column] @ company.T
        found[name] = both / parts.norms[songs, column]
    return found


def _rows(space: NDArray[np.float32], songs: NDArray[np.integer[Any]] | slice) -> NDArray[np.float32]:
    # `take` copies whole rows, at twice the speed of an index.
    return space[songs] if isinstance(songs, slice) else space.take(songs, axis=0)


def genre_voices(parts: Parts, words: list[str], genres: list[str] | None, n: int) -> csr_array:
    """Shape (n, n_words): each listener's favourite genres, telling words weighing more, each row's sum 1."""
    texts = [""] * n if genres is None else genres
    wanted = genre_matrix(texts, words)
    weights = parts.genre_idf[wanted.indices].astype(np.float64)
    rows = np.repeat(np.arange(n), np.diff(wanted.indptr))
    sums = np.bincount(rows, weights=weights, minlength=n)
    wanted.data = (weights / sums[rows]).astype(np.float32)
    return wanted


def artist_shares(parts: Parts, weighted: csr_array) -> csr_array:
    """Shape (n, n_artists): each artist's share of what a listener has played; rows sum to 1 or are empty."""
    sums = np.asarray(weighted.sum(axis=1), dtype=np.float64).ravel()
    rows = np.repeat(np.arange(weighted.shape[0]), np.diff(weighted.indptr))
    values = (weighted.data / np.where(sums > 0, sums, 1)[rows]).astype(np.float32)
    shape = (weighted.shape[0], len(parts.artist_starts) - 1)
    # A copy of the row ends: songs of one artist are summed in place, and the listeners' songs are not.
    shares = csr_array((values, parts.artists[weighted.indices], weighted.indptr.copy()), shape=shape)
    shares.sum_duplicates()
    return shares


def affinities(
    parts: Parts, genre_means: NDArray[np.float32], profiles: Profiles, wanted: csr_array
) -> NDArray[np.float32]:
    """Shape (n, n_clusters), rows sum to 1: what a listener plays; favourite genres while that is little.

    Args:
        genre_means: shape (n_words, n_clusters), share of each cluster's songs that have the word.
        wanted: favourite genres, as of `genre_voices`.
    """
    base = profiles.plays if profiles.recent is None else profiles.recent
    own = shares_by_cluster(base, parts.labels, parts.n_clusters, profiles.skips)
    expected = np.asarray(wanted @ genre_means, dtype=np.float32)
    sums = expected.sum(axis=1, keepdims=True)
    expected = np.where(sums > 0, expected / np.where(sums > 0, sums, 1), 0)
    songs = np.diff(profiles.plays.indptr).astype(np.float32)[:, np.newaxis]
    lean = np.where(sums > 0, GENRE_SONGS / (GENRE_SONGS + songs), 0)
    return np.asarray((1 - lean) * own + lean * expected, dtype=np.float32)


@dataclass(frozen=True)
class Known:
    """All that is needed of some listeners to score any song for them.

    Attributes:
        wanted: favourite genres, shape (n, n_words), as of `genre_voices`.
        affinities: shape (n, n_clusters), rows sum to 1.
        artists: shape (n, n_artists), as of `artist_shares`.
        lean: shape (n,), from 1 without a history towards 0: how much genres and popularity decide.
    """

    voices: Voices
    looks: Directions
    wanted: csr_array
    affinities: NDArray[np.float32]
    artists: csr_array
    lean: NDArray[np.float32]


def known_of(parts: Parts, words: list[str], genre_means: NDArray[np.float32], profiles: Profiles) -> Known:
    """Fold listeners' rows in."""
    spoken = voices(profiles)
    wanted = genre_voices(parts, words, profiles.genres, profiles.n)
    lean = LEAN_SONGS / (LEAN_SONGS + spoken.counts)
    return Known(
        voices=spoken,
        looks=directions(parts, spoken),
        wanted=wanted,
        affinities=affinities(parts, genre_means, profiles, wanted),
        artists=artist_shares(parts, spoken.weighted),
        lean=lean.astype(np.float32),
    )


def blended(
    parts: Parts,
    known: Known,
    weighted: NDArray[np.float32],
    songs: NDArray[np.integer[Any]] | slice,
    genres: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The score: the weighted terms, and popularity among favourite genres as far as a listener is unknown.

    Args:
        weighted: shape (n, n_asked), sum of the weighted terms of the songs asked for.
        genres: shape (n, n_asked), how well each song's genres match the listener's.
    """
    lean = known.lean[:, np.newaxis]
    common = np.log(parts.listeners[songs] + np.float32(0.5))
    return np.asarray((1 - lean) * weighted + lean * (common + GENRE_LEAN * genres), dtype=np.float32)
