"""The terms of `mix`'s score and the cold-start rule.

A score is the weighted sum of the terms, blended with the cold-start score (`blend_scores`).

- votes: similarities summed over the songs played (VOTE_TERMS), or over similar listeners (user_knn)
- directions: dot products with the listener's mean song vector (DIRECTION_TERMS)
- shares: artist, cluster, popularity, genres (SHARE_TERMS) and album
- times: how much the song is played lately, and since when (TIME_TERMS)

Votes and directions are standardised over the unplayed songs: the same weights fit any length of history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.item_similarity import binary_plays, limit_songs
from recommender.engine.clustering.affinities import cluster_affinities
from recommender.engine.data import Profiles
from recommender.engine.features import genre_rows
from recommender.engine.mix.components import HYBRID_CONTENT_WEIGHTS, MixComponents, popularity_damping

COLD_START_SONGS = 0.5  # songs played at which the cold-start score and the terms weigh the same
COLD_START_GENRE_WEIGHT = 4.0  # for a cold start a favourite genre is worth e^4 = 55 times the listeners
GENRE_PRIOR_SONGS = 3.0  # favourite genres weigh as much as three songs played in the affinities
MOST_PROFILE_SONGS = 500  # only a listener's most played songs are used, to limit the time of a request
COARSE_TASTE_AXES = 32  # measured: + .5 % in addition to the full taste on a data set with few listeners
FEWEST_IN_PLACE = 500  # songs; the rows of fewer are copied in less time than a call takes
BLAS_ROWS = 4  # rows that a product of a matrix and a vector handles together
SHARE_FLOOR = 0.02  # in log(share + .02): a song of an unknown artist is far, but not infinitely far


class VoteTerm(NamedTuple):
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
TIME_TERMS = ("trend", "trend_month", "age")
# Stored weights have this order, so new terms are added at the end.
TERM_NAMES = (*VOTE_TERMS, *DIRECTION_TERMS, *SHARE_TERMS, *TIME_TERMS, "user_knn", "album")


@dataclass(frozen=True)
class ListenerFeatures:
    profile_weights: "ProfileWeights"
    directions: "ListenerDirections"
    favourite_genres: csr_array  # shape (n, n_words), see `favourite_genre_weights`
    affinities: NDArray[np.float32]  # shape (n, n_clusters), rows sum to 1
    artists: csr_array  # shape (n, n_artists), see `group_shares`
    albums: csr_array | None  # shape (n, n_albums), see `group_shares`; None if albums are not known
    cold_start_weight: NDArray[np.float32]  # shape (n,), see `cold_start_weights`
    keys: NDArray[np.int64] | None  # listener ids; None: unknown


def build_listener_features(
    components: MixComponents,
    columns: Mapping[str, int],
    genre_means: NDArray[np.float32],
    profiles: Profiles,
    *,
    one_by_one: bool = False,
) -> ListenerFeatures:
    """The features of each listener in `profiles`.

    Args:
        columns: of the genre words.
        one_by_one: see `build_directions`.
    """
    profile_weights = build_profile_weights(profiles)
    favourite_genres = favourite_genre_weights(components, columns, profiles.genres, profiles.n)
    return ListenerFeatures(
        profile_weights=profile_weights,
        directions=build_directions(components, profile_weights, one_by_one=one_by_one),
        favourite_genres=favourite_genres,
        affinities=affinities_with_genre_prior(components, genre_means, profiles, favourite_genres),
        artists=group_shares(components.artists, components.n_artists, profile_weights.weighted),
        albums=_album_shares(components, profile_weights.weighted),
        keys=profiles.keys,
        cold_start_weight=cold_start_weights(profile_weights.n_played),
    )


def one_song_profile(song: int, n_songs: int) -> Profiles:
    return Profiles(csr_array(([np.float32(1)], ([0], [song])), shape=(1, n_songs)))


def cold_start_weights(n_played: NDArray[np.int64]) -> NDArray[np.float32]:
    """The weight of the cold-start score: 1 without plays, 1/3 after one song, 1/21 after ten."""
    return (COLD_START_SONGS / (COLD_START_SONGS + n_played)).astype(np.float32)


def blend_scores(
    components: MixComponents,
    cold_start_weight: NDArray[np.float32],
    weighted: NDArray[np.float32],
    songs: NDArray[np.integer[Any]] | slice,
    genres: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The scores of `songs`, shape (n, number of songs): weighted terms blended with the cold-start score.

    The cold-start score is the popularity, raised for favourite genres.

    Args:
        cold_start_weight: shape (n,).
        weighted: the weighted sums of the terms, shape (n, number of songs), as `genres`.
    """
    cold = cold_start_weight[:, np.newaxis]
    popularity = np.log(components.current_listeners[songs] + np.float32(0.5))
    return np.asarray(
        (1 - cold) * weighted + cold * (popularity + COLD_START_GENRE_WEIGHT * genres), dtype=np.float32
    )


@dataclass(frozen=True)
class ProfileWeights:
    plain: csr_array  # shape (n, n_songs), 1 for each song used
    # The same songs in the same order, log(1 + recent plays), scaled to a mean of 1 per row.
    weighted: csr_array
    n_played: NDArray[np.int64]  # shape (n,), all songs played, including those beyond MOST_PROFILE_SONGS


def build_profile_weights(profiles: Profiles) -> ProfileWeights:
    n_played = _count_played(profiles.plays)
    base = profiles.plays if profiles.recent is None else profiles.recent
    weighted = csr_array(limit_songs(csr_array(base, dtype=np.float32), MOST_PROFILE_SONGS), copy=True)
    weighted.sum_duplicates()
    weighted.eliminate_zeros()
    weighted.data = np.log1p(np.maximum(weighted.data, 0))
    ones = np.ones(len(weighted.data), dtype=np.float32)
    plain = csr_array((ones, weighted.indices, weighted.indptr), shape=weighted.shape)
    widths = np.diff(weighted.indptr)
    rows = np.repeat(np.arange(profiles.n), widths)
    sums = np.bincount(rows, weights=weighted.data, minlength=profiles.n)
    # In place: a product with a diagonal matrix would leave the songs in another order than `plain`.
    weighted.data *= (widths / np.where(sums > 0, sums, 1))[rows].astype(np.float32)
    return ProfileWeights(plain, weighted, n_played)


def _count_played(plays: csr_array) -> NDArray[np.int64]:
    if not plays.has_canonical_format:
        plays = binary_plays(plays)
    n_before = np.concatenate([[0], np.cumsum(plays.data != 0)])
    return np.asarray(np.diff(n_before[plays.indptr]), dtype=np.int64)


class ListenerDirections(NamedTuple):
    taste: NDArray[np.float32]  # shape (n, k)
    # Per HYBRID_CONTENT_WEIGHTS, shape (n, d), multiplied by the square of the weight.
    content: list[NDArray[np.float32]]
    co_listening: list[NDArray[np.float32]]  # per HYBRID_CONTENT_WEIGHTS, shape (n, d')

    def of_listener(self, row: int) -> "ListenerDirections":
        """One listener's directions, in arrays of one row."""
        chosen = slice(row, row + 1)
        return ListenerDirections(
            self.taste[chosen], [one[chosen] for one in self.content],
            [one[chosen] for one in self.co_listening],
        )  # fmt: skip

    def vectors(self) -> dict[str, NDArray[np.float64]]:
        """The listeners' vectors by direction term, in the spaces of `MixComponents.centres`."""
        low, high = (
            np.hstack([content / np.float32(weight), co_listening])
            for weight, content, co_listening in zip(
                HYBRID_CONTENT_WEIGHTS, self.content, self.co_listening, strict=True
            )
        )
        vectors = {
            "taste": self.taste,
            "taste_short": self.taste[:, :COARSE_TASTE_AXES],
            "hybrid_low": low,
            "hybrid": high,
        }
        return {name: vector.astype(np.float64) for name, vector in vectors.items()}


def build_directions(
    components: MixComponents, profile_weights: ProfileWeights, *, one_by_one: bool = False
) -> ListenerDirections:
    """The directions of each listener.

    Args:
        one_by_one: sum each listener's songs apart, as for a single one. For a large batch a sparse product
            is faster; its sums differ in the last bit.
    """
    plain, weighted = profile_weights.plain, profile_weights.weighted
    sum_rows = _sums_one_by_one if one_by_one or plain.shape[0] == 1 else _sums_by_product
    damping = popularity_damping(components.listeners[plain.indices])
    taste = sum_rows(plain, [damping], components.taste)[0]
    normalised = [
        weighted.data / components.norms[weighted.indices, column]
        for column in range(len(HYBRID_CONTENT_WEIGHTS))
    ]
    # Squared: the weight applies to the listener's vector and to the song's.
    content = [
        sums * np.float32(weight**2)
        for weight, sums in zip(
            HYBRID_CONTENT_WEIGHTS, sum_rows(weighted, normalised, components.content), strict=True
        )
    ]
    return ListenerDirections(taste, content, sum_rows(weighted, normalised, components.company))


def _sums_by_product(
    plays: csr_array, weights: Sequence[NDArray[np.float32]], rows: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """For each array of weights, each listener's weighted sum of the songs' rows, shape (n, d)."""
    products = (csr_array((one, plays.indices, plays.indptr), shape=plays.shape) @ rows for one in weights)
    return [np.asarray(product, dtype=np.float32) for product in products]


def _sums_one_by_one(
    plays: csr_array, weights: Sequence[NDArray[np.float32]], rows: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """As `_sums_by_product`."""
    sums = [np.empty((plays.shape[0], rows.shape[1]), dtype=np.float32) for _ in weights]
    for row, (start, stop) in enumerate(zip(plays.indptr[:-1], plays.indptr[1:], strict=True)):
        played = rows[plays.indices[start:stop]]
        for of_all, one in zip(sums, weights, strict=True):
            of_all[row] = one[start:stop] @ played
    return sums


class RowBuffers(NamedTuple):
    """Memory for the rows of songs, used again for each listener of a block.

    The system gives new memory as single pages, which takes four times as long as copying the rows.
    """

    taste: NDArray[np.float32]  # shape (most songs, k), as the components of the same name
    content: NDArray[np.float32]
    company: NDArray[np.float32]

    @classmethod
    def for_songs(cls, components: MixComponents, most: int) -> Self:
        spaces = (components.taste, components.content, components.company)
        return cls(*(np.empty((most, space.shape[1]), dtype=np.float32) for space in spaces))


def linear_terms(
    components: MixComponents,
    directions: ListenerDirections,
    songs: NDArray[np.integer[Any]] | slice,
    buffers: RowBuffers | None = None,
) -> dict[str, NDArray[np.float32]]:
    """The direction terms of `songs`, shape (n, number of songs) each."""
    if not isinstance(songs, slice) and len(songs) > max(FEWEST_IN_PLACE, components.n_songs // 2):
        return _linear_terms_in_place(components, directions, songs)
    spaces = (components.taste, components.content, components.company)
    taste, content, co_listening = (
        _take_rows(space, songs, buffer)
        for space, buffer in zip(spaces, buffers or (None, None, None), strict=True)
    )
    norms = _take_rows(components.norms, songs)
    terms: dict[str, NDArray[np.float32]] = {
        "taste": directions.taste @ taste.T,
        "taste_short": directions.taste[:, :COARSE_TASTE_AXES] @ taste[:, :COARSE_TASTE_AXES].T,
    }
    for column, name in enumerate(("hybrid_low", "hybrid")):
        both = directions.content[column] @ content.T + directions.co_listening[column] @ co_listening.T
        terms[name] = np.asarray(both / norms[:, column], dtype=np.float32)
    return terms


def _linear_terms_in_place(
    components: MixComponents, directions: ListenerDirections, songs: NDArray[np.integer[Any]]
) -> dict[str, NDArray[np.float32]]:
    """As `linear_terms`: multiplying all rows where they are takes less time than copying half of them."""
    every = linear_terms(components, directions, slice(None))
    terms = {name: term.take(songs, axis=1) for name, term in every.items()}
    # OpenBLAS sums the rows beyond a multiple of BLAS_ROWS in another order. With the last ones apart, both
    # ways give the same bits.
    last = songs[-BLAS_ROWS - len(songs) % BLAS_ROWS :]
    for name, term in linear_terms(components, directions, last).items():
        terms[name][:, -len(last) :] = term
    return terms


def _take_rows(
    space: NDArray[np.float32],
    songs: NDArray[np.integer[Any]] | slice,
    buffer: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    if isinstance(songs, slice):
        return space[songs]
    # `take` copies whole rows at twice the speed of indexing. With "raise" it would copy `out` first.
    out = None if buffer is None else buffer[: len(songs)]
    return space.take(songs, axis=0, out=out, mode="raise" if out is None else "clip")


class TermMoments(NamedTuple):
    """Mean and deviation of a term over the unplayed songs, shape (n,) each."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def term_moments(
    total: NDArray[np.float64], squares: NDArray[np.float64], count: NDArray[np.int64]
) -> TermMoments:
    """The moments from sums over the unplayed songs; a constant term's deviation is exactly 0."""
    number = np.maximum(count, 1)
    mean = total / number
    variance = squares / number - mean**2
    is_constant = variance <= 1e-10 * np.maximum(squares / number, 1e-30)
    return TermMoments(mean, np.where(is_constant, 0.0, np.sqrt(np.maximum(variance, 0))))


def standardise_term(raw: NDArray[np.float32], moments: TermMoments) -> NDArray[np.float32]:
    """The z-scores of a term, shape (n, m); 0 for a constant term."""
    varies = moments.deviation > 0
    scale = np.where(varies, 1.0 / np.where(varies, moments.deviation, 1), 0)
    shift = moments.mean * scale
    return np.asarray(raw * scale.astype(np.float32)[:, None] - shift.astype(np.float32)[:, None])


def favourite_genre_weights(
    components: MixComponents, columns: Mapping[str, int], genres: list[str] | None, n: int
) -> csr_array:
    """IDF weights of the favourite genres, shape (n, n_words); rows sum to 1 or are empty."""
    texts = [""] * n if genres is None else genres
    matrix = genre_rows(texts, columns, components.genres.shape[1])
    weights = components.genre_idf[matrix.indices].astype(np.float64)
    rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
    sums = np.bincount(rows, weights=weights, minlength=n)
    matrix.data = (weights / sums[rows]).astype(np.float32)
    return matrix


def _album_shares(components: MixComponents, weighted: csr_array) -> csr_array | None:
    albums = components.albums
    return None if albums is None else group_shares(albums, components.n_albums, weighted)


def group_shares(groups: NDArray[np.int32], n_groups: int, weighted: csr_array) -> csr_array:
    """Each group's share of a listener's plays, shape (n, n_groups); rows sum to 1 or are empty.

    Args:
        groups: each song's artist or album code.
    """
    sums = np.asarray(weighted.sum(axis=1), dtype=np.float64).ravel()
    rows = np.repeat(np.arange(weighted.shape[0]), np.diff(weighted.indptr))
    values = (weighted.data / np.where(sums > 0, sums, 1)[rows]).astype(np.float32)
    shape = (weighted.shape[0], n_groups)
    # A copy of indptr: sum_duplicates changes it in place, and `weighted` must keep its own.
    shares = csr_array((values, groups[weighted.indices], weighted.indptr.copy()), shape=shape)
    shares.sum_duplicates()
    return shares


def affinities_with_genre_prior(
    components: MixComponents,
    genre_means: NDArray[np.float32],
    profiles: Profiles,
    favourite_genres: csr_array,
) -> NDArray[np.float32]:
    """Cluster affinities with the favourite genres as a prior, shape (n, n_clusters); rows sum to 1."""
    base = profiles.plays if profiles.recent is None else profiles.recent
    own = cluster_affinities(base, components.labels, components.n_clusters, profiles.skips)
    expected = np.asarray(favourite_genres @ genre_means, dtype=np.float32)
    sums = expected.sum(axis=1, keepdims=True)
    expected = np.where(sums > 0, expected / np.where(sums > 0, sums, 1), 0)
    n_played = np.diff(profiles.plays.indptr).astype(np.float32)[:, np.newaxis]
    prior_weight = np.where(sums > 0, GENRE_PRIOR_SONGS / (GENRE_PRIOR_SONGS + n_played), 0)
    return np.asarray((1 - prior_weight) * own + prior_weight * expected, dtype=np.float32)


def time_terms(
    components: MixComponents, songs: NDArray[np.integer[Any]] | slice
) -> dict[str, NDArray[np.float32]]:
    """The songs' trends and age (TIME_TERMS) by name, one value per song; {} if plays have no times."""
    activity = components.activity
    if activity is None:
        return {}
    return {
        "trend": np.log(activity.listeners_this_quarter[songs] + np.float32(0.5)),
        "trend_month": np.log(activity.listeners_this_month[songs] + np.float32(0.5)),
        "age": -np.log1p(activity.days_since_first_play[songs]),
    }
