"""Learn what `mix` knows of the songs, from plays and metadata."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from recommender.engine.algorithms.base import count_listeners
from recommender.engine.algorithms.item_similarity import (
    MOST_EASE_SONGS,
    binary_plays,
    ease_weights,
    keep_best,
    limit_songs,
    sparse_weights,
    submit_knn_weights,
    submit_rp3_weights,
)
from recommender.engine.clustering.kmeans import default_n_clusters, fit_clusters
from recommender.engine.clustering.warm_start import warm_start_clusters
from recommender.engine.data import Catalogue, WarmStartClusters
from recommender.engine.features import FeatureSpace, fit_transform, genre_idf, genre_matrix, genre_vocabulary
from recommender.engine.mix.components import HYBRID_CONTENT_WEIGHTS, MixComponents, popularity_damping
from recommender.engine.parallel import Submit
from recommender.engine.svd import truncated_svd, unit_rows, weighted_unit_rows

EASE_ENTRIES_PER_ROW = (
    400  # of each row: against all of them no loss on one set, + 2.5 % on another, 5 % of the size
)
CO_LISTENING_AXES = 64  # of metadata and of co-listening; 32 loses .5 %, 128 gains nothing that lasts
TASTE_AXES = 128
CONTENT_WEIGHT = 0.5  # of the metadata beside the company a song keeps
MANY_SONGS = 50_000  # beyond, the taste has AXES too: half the time and bytes, and no set to see a loss on


@dataclass(frozen=True)
class ContentFeatures:
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
class ListeningFutures:
    """What the plays alone say of the songs: begun, and brought when it is asked for.

    Attributes:
        listeners: shape (n_songs,), how many listeners have played each.
        company: brings shape (n_songs, d), who listens to it; rows of length 1, or 0.
        taste: brings shape (n_songs, k), axes of co-listening, not normalised.
        neighbours: each brings song-to-song weights, by name.
    """

    listeners: NDArray[np.float32]
    co_listening: Callable[[], NDArray[np.float32]]
    taste: Callable[[], NDArray[np.float32]]
    neighbours: Mapping[str, Callable[[], csr_array]]


def build_content_features(
    catalogue: Catalogue, *, seed: int, space: FeatureSpace | None = None
) -> ContentFeatures:
    """All that is known of the songs; in `space`, where one is carried on, else in one of their own."""
    words = genre_vocabulary(catalogue.genres)
    if space is None:
        space, both = fit_transform(catalogue, seed=seed)
    else:
        both = space.transform(catalogue)
    return ContentFeatures(
        content=weight_content(catalogue, space, both), artists=catalogue.artist_codes(), words=words,
        genres=genre_matrix(catalogue.genres, words), available=catalogue.available, space=space,
    )  # fmt: skip


def weight_content(
    catalogue: Catalogue, space: FeatureSpace, both: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Metadata and, with half the weight, sound; `both` as `space.transform` returns it."""
    axes = space.axes.shape[1]
    # Without audio features the sound is year and duration, which say less than the decade in the metadata.
    if catalogue.audio:
        return unit_rows(np.hstack([both[:, :axes], 0.5 * both[:, axes:]]))
    return np.ascontiguousarray(both[:, :axes])


def submit_listening_features(plays: csr_array, submit: Submit, *, seed: int) -> ListeningFutures:
    """Begin with what the groups of songs wait for."""
    ones = binary_plays(plays)
    listeners = count_listeners(ones)
    axes = TASTE_AXES if ones.shape[1] <= MANY_SONGS else CO_LISTENING_AXES
    company = submit(
        [
            lambda: weighted_unit_rows(
                *truncated_svd(_idf_weighted_plays(ones, listeners), CO_LISTENING_AXES, seed=seed)
            )
        ]
    )
    taste = submit(
        [
            lambda: truncated_svd(
                csr_array(ones @ diags_array(popularity_damping(listeners))), axes, seed=seed
            )[0]
        ]
    )
    return ListeningFutures(
        listeners, lambda: company()[0], lambda: taste()[0], _submit_neighbours(ones, submit)
    )


def _submit_neighbours(ones: csr_array, submit: Submit) -> dict[str, Callable[[], csr_array]]:
    knn, found = submit_knn_weights(ones, submit), {"rp3": submit_rp3_weights(ones, submit)}
    # A popular song is near to more songs than a request can look at.
    found["knn"] = lambda: keep_best(knn(), 200)
    if ones.nnz and ones.shape[1] <= MOST_EASE_SONGS:
        found["ease"] = lambda: sparse_weights(ease_weights(limit_songs(ones)), EASE_ENTRIES_PER_ROW)
    return found


def assemble_components(
    listening: ListeningFutures,
    features: ContentFeatures,
    *,
    labels: NDArray[np.int32] | None = None,
    start_labels: NDArray[np.int32] | None = None,
    warm_start: WarmStartClusters | None = None,
    n_clusters: int | None,
    seed: int,
) -> MixComponents:
    """Put all parts together; without plays, what needs them is 0.

    Args:
        labels: the groups of songs; None: they are found, from `start` where that is given, or `carried` on.
    """
    content, company = features.content, listening.co_listening()
    if labels is None:
        points = clustering_points(content, company)
        if warm_start is not None:
            labels = warm_start_clusters(points, warm_start.labels, warm_start.n_clusters).labels
        else:
            labels = _fit_labels(points, n_clusters, seed, start_labels)
    norms = np.stack([_hybrid_norms(weight, content, company) for weight in HYBRID_CONTENT_WEIGHTS], axis=1)
    by_cluster, cluster_starts = _sort_by_group(labels, listening.listeners)
    by_artist, artist_starts = _sort_by_group(features.artists, listening.listeners)
    taste = listening.taste()
    centres, products = _space_moments(taste, content, company, norms)
    return MixComponents(
        neighbours={name: to_32_bit(bring()) for name, bring in listening.neighbours.items()}, taste=taste,
        content=content, company=company, norms=norms, centres=centres, products=products, labels=labels,
        artists=features.artists, listeners=listening.listeners, available=features.available,
        genres=features.genres, genre_idf=genre_idf(features.genres), by_cluster=by_cluster,
        cluster_starts=cluster_starts, by_artist=by_artist, artist_starts=artist_starts,
    )  # fmt: skip


def clustering_points(content: NDArray[np.float32], co_listening: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shape (n_songs, d): the space in which songs are grouped, with half the weight on what they are."""
    return unit_rows(np.hstack([CONTENT_WEIGHT * content, co_listening]))


def _idf_weighted_plays(ones: csr_array, listeners: NDArray[np.float32]) -> csr_array:
    """Listens weighed by how rare the song is, each listener's row by the root of its length."""
    idf = np.log(max(1, ones.shape[0]) / np.maximum(listeners, 1)).astype(np.float32)
    roots = np.sqrt(np.maximum(np.diff(ones.indptr), 1)).astype(np.float32)
    return csr_array(diags_array(1 / roots) @ ones @ diags_array(idf))


def to_32_bit(matrix: csr_array) -> csr_array:
    """As float32 over 32-bit indices, which a memory map can stand in for: other widths are copied whole."""
    indices, indptr = (array.astype(np.int32, copy=False) for array in (matrix.indices, matrix.indptr))
    return csr_array((matrix.data.astype(np.float32, copy=False), indices, indptr), shape=matrix.shape)


def _hybrid_norms(
    weight: float, content: NDArray[np.float32], co_listening: NDArray[np.float32]
) -> NDArray[np.float32]:
    squares = weight**2 * (content**2).sum(axis=1) + (co_listening**2).sum(axis=1)
    return np.where(squares > 0, np.sqrt(squares), 1).astype(np.float32)


def _space_moments(
    taste: NDArray[np.float32],
    content: NDArray[np.float32],
    co_listening: NDArray[np.float32],
    norms: NDArray[np.float32],
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    spaces: dict[str, NDArray[Any]] = {"taste": taste}
    for column, (name, weight) in enumerate(
        zip(("hybrid_low", "hybrid"), HYBRID_CONTENT_WEIGHTS, strict=True)
    ):
        spaces[name] = np.hstack([weight * content, co_listening]) / norms[:, column : column + 1]
    number = max(1, len(taste))
    centres = {name: rows.sum(axis=0, dtype=np.float64) / number for name, rows in spaces.items()}
    return centres, {name: (rows.T @ rows).astype(np.float64) / number for name, rows in spaces.items()}


def _fit_labels(
    points: NDArray[np.float32], n_clusters: int | None, seed: int, start_labels: NDArray[np.int32] | None
) -> NDArray[np.int32]:
    if not points.any():
        return np.zeros(len(points), dtype=np.int32)
    number = n_clusters or default_n_clusters(len(points))
    return fit_clusters(points, n_clusters=number, seed=seed, start_labels=start_labels).labels


def replace_clusters(components: MixComponents, labels: NDArray[np.int32], n_clusters: int) -> MixComponents:
    """The same parts with the songs in other groups, some of them perhaps empty."""
    by_cluster, starts = _sort_by_group(labels, components.listeners, n_clusters)
    return replace(components, labels=labels, by_cluster=by_cluster, cluster_starts=starts)


def _sort_by_group(
    groups: NDArray[np.int32], listeners: NDArray[np.float32], least: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    order = np.lexsort((-listeners, groups)).astype(np.int32)
    sizes = np.bincount(groups, minlength=max(least, int(groups.max(initial=0)) + 1))
    return order, np.concatenate([[0], np.cumsum(sizes)])
