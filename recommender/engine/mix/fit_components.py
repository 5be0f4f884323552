"""Learn what `mix` knows of the songs, from plays and metadata."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from recommender.engine.algorithms.base import popularity
from recommender.engine.algorithms.item_similarity import (
    EASE_SONGS,
    begin_knn,
    begin_rp3,
    bounded,
    ease_weights,
    heard,
    keep_best,
    sparse_weights,
)
from recommender.engine.clustering.kmeans import default_n_clusters, fit_clusters
from recommender.engine.clustering.warm_start import carried_on
from recommender.engine.data import Carried, Catalogue
from recommender.engine.features import FeatureSpace, fit_transform, genre_idf, genre_matrix, vocabulary
from recommender.engine.mix.components import MIXTURES, Parts, damping
from recommender.engine.parallel import Begin
from recommender.engine.svd import factors, softened, unit

EASE_KEPT = 400  # of each row: against all of them no loss on one set, + 2.5 % on another, 5 % of the size
AXES = 64  # of metadata and of co-listening; 32 loses .5 %, 128 gains nothing that lasts
TASTE_AXES = 128
CONTENT = 0.5  # of the metadata beside the company a song keeps
MANY_SONGS = 50_000  # beyond, the taste has AXES too: half the time and bytes, and no set to see a loss on


@dataclass(frozen=True)
class Ground:
    """What is known of the songs whoever plays them: found once, for all models of the same catalogue.

    Attributes:
        content: shape (n_songs, d), metadata, with half the weight sound; rows of length 1, or 0.
        artists: shape (n_songs,), code of each song's artist.
        words: the genre words known.
        genres: shape (n_songs, n_words), 1 where the word is among the song's genres.
        available: shape (n_songs,), songs that may be recommended.
        space: in which the content was found; None where nobody needs it any more.
    """

    content: NDArray[np.float32]
    artists: NDArray[np.int32]
    words: list[str]
    genres: csr_array
    available: NDArray[np.bool_]
    space: FeatureSpace | None = None


@dataclass(frozen=True)
class Listening:
    """What the plays alone say of the songs: begun, and brought when it is asked for.

    Attributes:
        listeners: shape (n_songs,), how many listeners have played each.
        company: brings shape (n_songs, d), who listens to it; rows of length 1, or 0.
        taste: brings shape (n_songs, k), axes of co-listening, not normalised.
        neighbours: each brings song-to-song weights, by name.
    """

    listeners: NDArray[np.float32]
    company: Callable[[], NDArray[np.float32]]
    taste: Callable[[], NDArray[np.float32]]
    neighbours: Mapping[str, Callable[[], csr_array]]


def ground_of(catalogue: Catalogue, *, seed: int, space: FeatureSpace | None = None) -> Ground:
    """All that is known of the songs; in `space`, where one is carried on, else in one of their own."""
    words = vocabulary(catalogue.genres)
    if space is None:
        space, both = fit_transform(catalogue, seed=seed)
    else:
        both = space.transform(catalogue)
    return Ground(
        content=content_of(catalogue, space, both), artists=catalogue.artist_codes(), words=words,
        genres=genre_matrix(catalogue.genres, words), available=catalogue.available, space=space,
    )  # fmt: skip


def content_of(catalogue: Catalogue, space: FeatureSpace, both: NDArray[np.float32]) -> NDArray[np.float32]:
    """Metadata and, with half the weight, sound; `both` as `space.transform` returns it."""
    axes = space.axes.shape[1]
    # Without audio features the sound is year and duration, which say less than the decade in the metadata.
    if catalogue.audio:
        return unit(np.hstack([both[:, :axes], 0.5 * both[:, axes:]]))
    return np.ascontiguousarray(both[:, :axes])


def begin_listening(plays: csr_array, begin: Begin, *, seed: int) -> Listening:
    """Begin with what the groups of songs wait for."""
    ones = heard(plays)
    listeners = popularity(ones)
    axes = TASTE_AXES if ones.shape[1] <= MANY_SONGS else AXES
    company = begin([lambda: softened(*factors(_rarity(ones, listeners), AXES, seed=seed))])
    taste = begin([lambda: factors(csr_array(ones @ diags_array(damping(listeners))), axes, seed=seed)[0]])
    return Listening(listeners, lambda: company()[0], lambda: taste()[0], _begin_neighbours(ones, begin))


def _begin_neighbours(ones: csr_array, begin: Begin) -> dict[str, Callable[[], csr_array]]:
    knn, found = begin_knn(ones, begin), {"rp3": begin_rp3(ones, begin)}
    # A popular song is near to more songs than a request can look at.
    found["knn"] = lambda: keep_best(knn(), 200)
    if ones.nnz and ones.shape[1] <= EASE_SONGS:
        found["ease"] = lambda: sparse_weights(ease_weights(bounded(ones)), EASE_KEPT)
    return found


def fit_parts(
    listening: Listening,
    ground: Ground,
    *,
    labels: NDArray[np.int32] | None = None,
    start: NDArray[np.int32] | None = None,
    carried: Carried | None = None,
    n_clusters: int | None,
    seed: int,
) -> Parts:
    """Put all parts together; without plays, what needs them is 0.

    Args:
        labels: the groups of songs; None: they are found, from `start` where that is given, or `carried` on.
    """
    content, company = ground.content, listening.company()
    if labels is None:
        points = points_of(content, company)
        if carried is not None:
            labels = carried_on(points, carried.labels, carried.n_clusters).labels
        else:
            labels = _labels(points, n_clusters, seed, start)
    norms = np.stack([_lengths(weight, content, company) for weight in MIXTURES], axis=1)
    by_cluster, cluster_starts = _grouped(labels, listening.listeners)
    by_artist, artist_starts = _grouped(ground.artists, listening.listeners)
    taste = listening.taste()
    centres, products = _moments(taste, content, company, norms)
    return Parts(
        neighbours={name: narrow(bring()) for name, bring in listening.neighbours.items()}, taste=taste,
        content=content, company=company, norms=norms, centres=centres, products=products, labels=labels,
        artists=ground.artists, listeners=listening.listeners, available=ground.available,
        genres=ground.genres, genre_idf=genre_idf(ground.genres), by_cluster=by_cluster,
        cluster_starts=cluster_starts, by_artist=by_artist, artist_starts=artist_starts,
    )  # fmt: skip


def points_of(content: NDArray[np.float32], company: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shape (n_songs, d): the space in which songs are grouped, with half the weight on what they are."""
    return unit(np.hstack([CONTENT * content, company]))


def _rarity(ones: csr_array, listeners: NDArray[np.float32]) -> csr_array:
    """Listens weighed by how rare the song is, each listener's row by the root of its length."""
    idf = np.log(max(1, ones.shape[0]) / np.maximum(listeners, 1)).astype(np.float32)
    roots = np.sqrt(np.maximum(np.diff(ones.indptr), 1)).astype(np.float32)
    return csr_array(diags_array(1 / roots) @ ones @ diags_array(idf))


def narrow(matrix: csr_array) -> csr_array:
    """As float32 over 32-bit indices, which a memory map can stand in for: other widths are copied whole."""
    indices, indptr = (array.astype(np.int32, copy=False) for array in (matrix.indices, matrix.indptr))
    return csr_array((matrix.data.astype(np.float32, copy=False), indices, indptr), shape=matrix.shape)


def _lengths(
    weight: float, content: NDArray[np.float32], company: NDArray[np.float32]
) -> NDArray[np.float32]:
    squares = weight**2 * (content**2).sum(axis=1) + (company**2).sum(axis=1)
    return np.where(squares > 0, np.sqrt(squares), 1).astype(np.float32)


def _moments(
    taste: NDArray[np.float32],
    content: NDArray[np.float32],
    company: NDArray[np.float32],
    norms: NDArray[np.float32],
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    spaces: dict[str, NDArray[Any]] = {"taste": taste}
    for column, (name, weight) in enumerate(zip(("hybrid_low", "hybrid"), MIXTURES, strict=True)):
        spaces[name] = np.hstack([weight * content, company]) / norms[:, column : column + 1]
    number = max(1, len(taste))
    centres = {name: rows.sum(axis=0, dtype=np.float64) / number for name, rows in spaces.items()}
    return centres, {name: (rows.T @ rows).astype(np.float64) / number for name, rows in spaces.items()}


def _labels(
    points: NDArray[np.float32], n_clusters: int | None, seed: int, start: NDArray[np.int32] | None
) -> NDArray[np.int32]:
    if not points.any():
        return np.zeros(len(points), dtype=np.int32)
    number = n_clusters or default_n_clusters(len(points))
    return fit_clusters(points, n_clusters=number, seed=seed, start=start).labels


def grouped_anew(parts: Parts, labels: NDArray[np.int32], n_clusters: int) -> Parts:
    """The same parts with the songs in other groups, some of them perhaps empty."""
    by_cluster, starts = _grouped(labels, parts.listeners, n_clusters)
    return replace(parts, labels=labels, by_cluster=by_cluster, cluster_starts=starts)


def _grouped(
    groups: NDArray[np.int32], listeners: NDArray[np.float32], least: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    order = np.lexsort((-listeners, groups)).astype(np.int32)
    sizes = np.bincount(groups, minlength=max(least, int(groups.max(initial=0)) + 1))
    return order, np.concatenate([[0], np.cumsum(sizes)])
