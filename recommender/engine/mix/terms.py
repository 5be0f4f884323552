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

from recommender.engine.algorithms.item_similarity import binary_plays, limit_songs
from recommender.engine.clustering.affinities import cluster_affinities as shares_by_cluster
from recommender.engine.data import Profiles
from recommender.engine.features import genre_matrix
from recommender.engine.mix.components import HYBRID_CONTENT_WEIGHTS, MixComponents, popularity_damping

MOST_PROFILE_SONGS = 500  # songs of a listener that speak, the most played ones: bounds the time of a request
COLD_START_SONGS = 0.5  # songs heard at which a history decides as much as genres and popularity
COLD_START_GENRE_WEIGHT = (
    4.0  # a favourite genre is worth e^4 = 55 times the listeners, to one without a history
)
GENRE_PRIOR_SONGS = 3.0  # favourite genres weigh as much as three songs heard
COARSE_TASTE_AXES = (
    32  # axes of the coarse taste; measured + .5 % beside the fine one on a set of few listeners
)
SHARE_FLOOR = 0.02  # log(share + .02): a song of an unknown artist is far, but not infinitely far


class VoteTerm(NamedTuple):
    """A sparse term: whose neighbours, whether plays are weighed, whether the sum's root is taken."""

    matrix: str
    weighted: bool
    root: bool


VOTE_TERMS: Mapping[str, VoteTerm] = {
    "ease": VoteTerm("ease", weighted=False, root=False),
    "ease_weighted": VoteTerm("ease", weighted=True, root=False),
    "rp3": VoteTerm("rp3", weighted=False, root=False),
    "rp3_weighted": VoteTerm("rp3", weighted=True, root=False),
    "rp3_root": VoteTerm("rp3", weighted=False, root=True),
    "knn": VoteTerm("knn", weighted=False, root=False),
}
DIRECTION_TERMS = ("taste", "taste_short", "hybrid_low", "hybrid")
SHARE_TERMS = ("artist", "affinity", "popularity", "genre")
TERM_NAMES = (*VOTE_TERMS, *DIRECTION_TERMS, *SHARE_TERMS)


@dataclass(frozen=True)
class ProfileWeights:
    """What of some listeners' plays speaks for them.

    Attributes:
        plain: shape (n, n_songs), 1 for each song.
        weighted: the same songs, by log(1 + recent plays), each row's mean 1.
        counts: shape (n,), how many songs each listener has heard, even where not all speak.
    """

    plain: csr_array
    weighted: csr_array
    counts: NDArray[np.int64]


def build_profile_weights(profiles: Profiles) -> ProfileWeights:
    """The voices of listeners; no song speaks more than once."""
    counts = np.diff(binary_plays(profiles.plays).indptr).astype(np.int64)
    base = profiles.plays if profiles.recent is None else profiles.recent
    kept = limit_songs(csr_array(base, dtype=np.float32), MOST_PROFILE_SONGS)
    weighted = csr_array(kept, copy=True)
    weighted.sum_duplicates()
    weighted.eliminate_zeros()
    weighted.data = np.log1p(np.maximum(weighted.data, 0))
    plain = binary_plays(weighted)
    widths = np.diff(weighted.indptr)
    rows = np.repeat(np.arange(profiles.n), widths)
    sums = np.bincount(rows, weights=weighted.data, minlength=profiles.n)
    # In place: a product with a diagonal matrix would leave the songs in another order than `plain` has them.
    weighted.data *= (widths / np.where(sums > 0, sums, 1))[rows].astype(np.float32)
    return ProfileWeights(plain, weighted, counts)


class TermMoments(NamedTuple):
    """Mean and standard deviation of a term over the songs a listener has not heard; shape (n,) each."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def term_moments(
    total: NDArray[np.float64], squares: NDArray[np.float64], count: NDArray[np.int64]
) -> TermMoments:
    """From sums over the unheard songs; a term that is the same for all has deviation 0."""
    number = np.maximum(count, 1)
    mean = total / number
    variance = squares / number - mean**2
    flat = variance <= 1e-10 * np.maximum(squares / number, 1e-30)
    return TermMoments(mean, np.where(flat, 0.0, np.sqrt(np.maximum(variance, 0))))


def standardise_term(raw: NDArray[np.float32], spread: TermMoments, weight: float) -> NDArray[np.float32]:
    """`raw` (n, m) as z-scores times the weight; 0 where the term says nothing."""
    known = spread.deviation > 0
    scale = np.where(known, weight / np.where(known, spread.deviation, 1), 0)
    shift = spread.mean * scale
    return np.asarray(raw * scale.astype(np.float32)[:, None] - shift.astype(np.float32)[:, None])


class ListenerDirections(NamedTuple):
    """Where listeners look in each space of songs.

    Attributes:
        taste: shape (n, k).
        content: for each of MIXTURES shape (n, d), the mixture's weight included.
        company: the same, shape (n, d').
    """

    taste: NDArray[np.float32]
    content: list[NDArray[np.float32]]
    co_listening: list[NDArray[np.float32]]

    def vectors(self) -> dict[str, NDArray[np.float64]]:
        """The direction of each linear term as one vector a listener, in the spaces of `Parts.centres`."""
        low, high = (
            np.hstack([content / np.float32(weight), company])
            for weight, content, company in zip(
                HYBRID_CONTENT_WEIGHTS, self.content, self.co_listening, strict=True
            )
        )
        found = {
            "taste": self.taste,
            "taste_short": self.taste[:, :COARSE_TASTE_AXES],
            "hybrid_low": low,
            "hybrid": high,
        }
        return {name: vector.astype(np.float64) for name, vector in found.items()}


def build_directions(components: MixComponents, profile_weights: ProfileWeights) -> ListenerDirections:
    """The listeners' weighed sums of the songs that speak for them."""
    plain, weighted = profile_weights.plain, profile_weights.weighted
    taste = _weighted_sums(plain, popularity_damping(components.listeners[plain.indices]), components.taste)
    content, company = [], []
    for column, weight in enumerate(HYBRID_CONTENT_WEIGHTS):
        voice = weighted.data / components.norms[weighted.indices, column]
        # The weight stands once for the listener's vector and once for the song's: both are of the mixture.
        content.append(_weighted_sums(weighted, voice, components.content) * np.float32(weight**2))
        company.append(_weighted_sums(weighted, voice, components.company))
    return ListenerDirections(taste, content, company)


def _weighted_sums(
    plays: csr_array, weights: NDArray[np.float32], rows: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The rows of the songs heard, summed by listener, each times its voice; other rows are not read."""
    if plays.shape[0] == 1:
        return np.asarray(weights @ rows[plays.indices], dtype=np.float32)[np.newaxis, :]
    parts = (weights, plays.indices, plays.indptr)
    return np.asarray(csr_array(parts, shape=plays.shape) @ rows, dtype=np.float32)


def linear_terms(
    components: MixComponents, directions: ListenerDirections, songs: NDArray[np.integer[Any]] | slice
) -> dict[str, NDArray[np.float32]]:
    """Each linear term of the songs asked for, not yet standardised; shape (n, n_asked) each."""
    taste, content, company = (
        _take_rows(space, songs) for space in (components.taste, components.content, components.company)
    )
    found = {
        "taste": directions.taste @ taste.T,
        "taste_short": directions.taste[:, :COARSE_TASTE_AXES] @ taste[:, :COARSE_TASTE_AXES].T,
    }
    for column, name in enumerate(("hybrid_low", "hybrid")):
        both = directions.content[column] @ content.T + directions.co_listening[column] @ company.T
        found[name] = both / components.norms[songs, column]
    return found


def _take_rows(space: NDArray[np.float32], songs: NDArray[np.integer[Any]] | slice) -> NDArray[np.float32]:
    # `take` copies whole rows, at twice the speed of an index.
    return space[songs] if isinstance(songs, slice) else space.take(songs, axis=0)


def favourite_genre_weights(
    components: MixComponents, words: list[str], genres: list[str] | None, n: int
) -> csr_array:
    """Shape (n, n_words): each listener's favourite genres, telling words weighing more, each row's sum 1."""
    texts = [""] * n if genres is None else genres
    wanted = genre_matrix(texts, words)
    weights = components.genre_idf[wanted.indices].astype(np.float64)
    rows = np.repeat(np.arange(n), np.diff(wanted.indptr))
    sums = np.bincount(rows, weights=weights, minlength=n)
    wanted.data = (weights / sums[rows]).astype(np.float32)
    return wanted


def artist_shares(components: MixComponents, weighted: csr_array) -> csr_array:
    """Shape (n, n_artists): each artist's share of what a listener has played; rows sum to 1 or are empty."""
    sums = np.asarray(weighted.sum(axis=1), dtype=np.float64).ravel()
    rows = np.repeat(np.arange(weighted.shape[0]), np.diff(weighted.indptr))
    values = (weighted.data / np.where(sums > 0, sums, 1)[rows]).astype(np.float32)
    shape = (weighted.shape[0], len(components.artist_starts) - 1)
    # A copy of the row ends: songs of one artist are summed in place, and the listeners' songs are not.
    shares = csr_array((values, components.artists[weighted.indices], weighted.indptr.copy()), shape=shape)
    shares.sum_duplicates()
    return shares


def affinities_with_genre_prior(
    components: MixComponents,
    genre_means: NDArray[np.float32],
    profiles: Profiles,
    favourite_genres: csr_array,
) -> NDArray[np.float32]:
    """Shape (n, n_clusters), rows sum to 1: what a listener plays; favourite genres while that is little.

    Args:
        genre_means: shape (n_words, n_clusters), share of each cluster's songs that have the word.
        wanted: favourite genres, as of `genre_voices`.
    """
    base = profiles.plays if profiles.recent is None else profiles.recent
    own = shares_by_cluster(base, components.labels, components.n_clusters, profiles.skips)
    expected = np.asarray(favourite_genres @ genre_means, dtype=np.float32)
    sums = expected.sum(axis=1, keepdims=True)
    expected = np.where(sums > 0, expected / np.where(sums > 0, sums, 1), 0)
    songs = np.diff(profiles.plays.indptr).astype(np.float32)[:, np.newaxis]
    lean = np.where(sums > 0, GENRE_PRIOR_SONGS / (GENRE_PRIOR_SONGS + songs), 0)
    return np.asarray((1 - lean) * own + lean * expected, dtype=np.float32)


@dataclass(frozen=True)
class ListenerFeatures:
    """All that is needed of some listeners to score any song for them.

    Attributes:
        wanted: favourite genres, shape (n, n_words), as of `genre_voices`.
        affinities: shape (n, n_clusters), rows sum to 1.
        artists: shape (n, n_artists), as of `artist_shares`.
        lean: shape (n,), from 1 without a history towards 0: how much genres and popularity decide.
    """

    profile_weights: ProfileWeights
    directions: ListenerDirections
    favourite_genres: csr_array
    affinities: NDArray[np.float32]
    artists: csr_array
    cold_start_weight: NDArray[np.float32]


def build_listener_features(
    components: MixComponents, words: list[str], genre_means: NDArray[np.float32], profiles: Profiles
) -> ListenerFeatures:
    """Fold listeners' rows in."""
    spoken = build_profile_weights(profiles)
    wanted = favourite_genre_weights(components, words, profiles.genres, profiles.n)
    lean = COLD_START_SONGS / (COLD_START_SONGS + spoken.counts)
    return ListenerFeatures(
        profile_weights=spoken,
        directions=build_directions(components, spoken),
        favourite_genres=wanted,
        affinities=affinities_with_genre_prior(components, genre_means, profiles, wanted),
        artists=artist_shares(components, spoken.weighted),
        cold_start_weight=lean.astype(np.float32),
    )


def blend_scores(
    components: MixComponents,
    features: ListenerFeatures,
    weighted: NDArray[np.float32],
    songs: NDArray[np.integer[Any]] | slice,
    genres: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The score: the weighted terms, and popularity among favourite genres as far as a listener is unknown.

    Args:
        weighted: shape (n, n_asked), sum of the weighted terms of the songs asked for.
        genres: shape (n, n_asked), how well each song's genres match the listener's.
    """
    lean = features.cold_start_weight[:, np.newaxis]
    common = np.log(components.listeners[songs] + np.float32(0.5))
    return np.asarray(
        (1 - lean) * weighted + lean * (common + COLD_START_GENRE_WEIGHT * genres), dtype=np.float32
    )
