"""Fits the components of `mix` from plays and content."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from recommender.engine.algorithms.base import count_listeners
from recommender.engine.algorithms.engines import BeginNeighbours
from recommender.engine.algorithms.item_similarity import (
    binary_plays,
    ease_weights_of_most_played,
    keep_best,
    limit_songs,
)
from recommender.engine.algorithms.listener_similarity import ListenerNeighbourhood
from recommender.engine.clustering.kmeans import default_n_clusters, fit_clusters
from recommender.engine.clustering.warm_start import warm_start_clusters
from recommender.engine.data import Catalogue, SongActivity, WarmStartClusters
from recommender.engine.features import (
    FeatureSpace,
    fit_transform,
    genre_idf,
    genre_matrix,
    genre_vocabulary,
    weight_content,
)
from recommender.engine.mix.components import HYBRID_CONTENT_WEIGHTS, MixComponents, popularity_damping
from recommender.engine.parallel import Submit
from recommender.engine.svd import BLOCK_ROWS, make_unit_rows, truncated_svd, weighted_unit_rows

EASE_ENTRIES_PER_ROW = 400  # not all: no loss on one data set, + 2.5 % on another, and 5 % of the size
KNN_NEIGHBOURS = 200  # kept per song, since a popular song is similar to more songs than a request can score
CO_LISTENING_AXES = 64  # 32 lose .5 %, 128 gain nothing lasting
TASTE_AXES = 128
CONTENT_WEIGHT = 0.5  # weight of content in clustering if co-listening has weight 1
MANY_SONGS = (
    50_000  # above it taste also has CO_LISTENING_AXES: half the time and size; the loss was not measured
)


@dataclass(frozen=True)
class ContentFeatures:
    # Shape (n_songs, d), metadata and, with half the weight, sound; rows of length 1, or 0.
    content: NDArray[np.float32]
    artists: NDArray[np.int32]  # shape (n_songs,), artist codes
    words: list[str]  # known genre words
    genres: csr_array  # shape (n_songs, n_words), 1 if the song has the genre word
    available: NDArray[np.bool_]  # shape (n_songs,), songs that may be recommended
    albums: NDArray[np.int32] | None  # shape (n_songs,), album codes; None from an artifact without them
    space: FeatureSpace | None = None  # the transformation behind `content`; None if it is not needed later


@dataclass(frozen=True)
class ListeningFutures:
    """Song features from plays; call a field to wait for its result."""

    listeners: NDArray[np.float32]  # shape (n_songs,), how many listeners have played each song
    co_listening: Callable[[], NDArray[np.float32]]  # shape (n_songs, d), see `MixComponents.company`
    taste: Callable[[], NDArray[np.float32]]  # shape (n_songs, k)
    # By name, song-to-song weights. May be called once, because it frees what the neighbours came from.
    neighbours: Callable[[], dict[str, csr_array]]


def build_content_features(
    catalogue: Catalogue, *, seed: int, space: FeatureSpace | None = None
) -> ContentFeatures:
    words = genre_vocabulary(catalogue.genres)
    if space is None:
        space, rows = fit_transform(catalogue, seed=seed)
    else:
        rows = space.transform(catalogue)
    return ContentFeatures(
        content=weight_content(catalogue, space, rows), artists=catalogue.artist_codes(), words=words,
        genres=genre_matrix(catalogue.genres, words), available=catalogue.available,
        albums=catalogue.album_codes(), space=space,
    )  # fmt: skip


def submit_listening_features(
    plays: csr_array, submit: Submit, begin_neighbours: BeginNeighbours, *, seed: int
) -> ListeningFutures:
    """Compute EASE, and submit the other song features from plays; what clustering needs comes first."""
    ones = binary_plays(plays)
    listeners = count_listeners(ones)
    axes = TASTE_AXES if ones.shape[1] <= MANY_SONGS else CO_LISTENING_AXES

    def fit_co_listening() -> NDArray[np.float32]:
        weighted = _idf_weighted_plays(ones, listeners)
        return weighted_unit_rows(*truncated_svd(weighted, CO_LISTENING_AXES, seed=seed))

    def fit_taste() -> NDArray[np.float32]:
        damped = csr_array(ones @ diags_array(popularity_damping(listeners)))
        return truncated_svd(damped, axes, seed=seed)[0]

    # EASE comes first, while its matrix of 400 MB is nearly alone in memory. No time is lost: LAPACK holds
    # Python's lock, so nothing else would run beside it.
    ease = ease_weights_of_most_played(limit_songs(ones), EASE_ENTRIES_PER_ROW) if ones.nnz else None
    co_listening, taste = submit([fit_co_listening]), submit([fit_taste])
    found = begin_neighbours(ones, submit)

    def collect_neighbours() -> dict[str, csr_array]:
        rp3, knn = found()
        knn = csr_array(knn.T)
        weights = {"rp3": rp3, "knn": keep_best(knn, KNN_NEIGHBOURS, by=lambda positive: positive)}
        if ease is not None:
            weights["ease"] = ease
        return {name: to_32_bit(matrix) for name, matrix in weights.items()}

    return ListeningFutures(listeners, lambda: co_listening()[0], lambda: taste()[0], collect_neighbours)


def assemble_components(
    listening: ListeningFutures,
    features: ContentFeatures,
    *,
    labels: NDArray[np.int32] | None = None,
    start_labels: NDArray[np.int32] | None = None,
    warm_start: WarmStartClusters | None = None,
    n_clusters: int | None,
    activity: SongActivity | None = None,
    neighbourhood: ListenerNeighbourhood | None = None,
    seed: int,
) -> MixComponents:
    content, co_listening = features.content, listening.co_listening()
    if labels is None:
        labels = _cluster(
            clustering_points(content, co_listening), warm_start, n_clusters, seed, start_labels
        )
    norms = np.stack(
        [_hybrid_norms(weight, content, co_listening) for weight in HYBRID_CONTENT_WEIGHTS], axis=1
    )
    listeners = listening.listeners if activity is None else activity.listeners_this_quarter
    by_cluster, cluster_starts = _sort_by_group(labels, listeners)
    by_artist, artist_starts = _sort_by_group(features.artists, listeners)
    taste = listening.taste()
    centres, products = _space_moments(taste, content, co_listening, norms)
    return MixComponents(
        neighbours=listening.neighbours(), taste=taste, content=content, company=co_listening, norms=norms,
        centres=centres, products=products, labels=labels, artists=features.artists,
        listeners=listening.listeners, available=features.available, genres=features.genres,
        genre_idf=genre_idf(features.genres), by_cluster=by_cluster,
        cluster_starts=cluster_starts, by_artist=by_artist, artist_starts=artist_starts, activity=activity,
        neighbourhood=neighbourhood, albums=features.albums,
    )  # fmt: skip


def clustering_points(content: NDArray[np.float32], co_listening: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows that songs are clustered by, shape (n_songs, d + d'); without -0, see `fit_clusters`."""
    width = content.shape[1]
    points = np.empty((len(content), width + co_listening.shape[1]), dtype=np.float32)
    # In place: every copy takes 560 MB for a million songs.
    np.multiply(content, np.float32(CONTENT_WEIGHT), out=points[:, :width])
    points[:, width:] = co_listening
    make_unit_rows(points)
    points += np.float32(0)
    return points


def _idf_weighted_plays(ones: csr_array, listeners: NDArray[np.float32]) -> csr_array:
    idf = np.log(max(1, ones.shape[0]) / np.maximum(listeners, 1)).astype(np.float32)
    roots = np.sqrt(np.maximum(np.diff(ones.indptr), 1)).astype(np.float32)
    return csr_array(diags_array(1 / roots) @ ones @ diags_array(idf))


def to_32_bit(matrix: csr_array) -> csr_array:
    """Convert to float32 and int32, because scipy copies memory-mapped indices of other widths."""
    indices, indptr = (array.astype(np.int32, copy=False) for array in (matrix.indices, matrix.indptr))
    return csr_array((matrix.data.astype(np.float32, copy=False), indices, indptr), shape=matrix.shape)


def _hybrid_norms(
    weight: float, content: NDArray[np.float32], co_listening: NDArray[np.float32]
) -> NDArray[np.float32]:
    norms = np.empty(len(content), dtype=np.float32)
    # In blocks, because the squares of all values at once take as much memory as the values.
    for start in range(0, len(content), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        squares = weight**2 * (content[block] ** 2).sum(axis=1) + (co_listening[block] ** 2).sum(axis=1)
        norms[block] = np.where(squares > 0, np.sqrt(squares), 1)
    return norms


def _space_moments(
    taste: NDArray[np.float32],
    content: NDArray[np.float32],
    co_listening: NDArray[np.float32],
    norms: NDArray[np.float32],
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    # One space at a time, because each takes up to 800 bytes a song.
    moments = {"taste": _moments(taste)}
    for name, weight, lengths in zip(("hybrid_low", "hybrid"), HYBRID_CONTENT_WEIGHTS, norms.T, strict=True):
        moments[name] = _moments(_hybrid_rows(weight, content, co_listening, lengths))
    means, products = ({name: pair[part] for name, pair in moments.items()} for part in (0, 1))
    return means, products


def _hybrid_rows(
    weight: float,
    content: NDArray[np.float32],
    co_listening: NDArray[np.float32],
    lengths: NDArray[np.float32],
) -> NDArray[np.float32]:
    width = content.shape[1]
    rows = np.empty((len(content), width + co_listening.shape[1]), dtype=np.float32)
    np.multiply(content, np.float32(weight), out=rows[:, :width])
    rows[:, width:] = co_listening
    rows /= lengths[:, np.newaxis]
    return rows


def _moments(rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean row, and the mean product of two columns."""
    number = max(1, len(rows))
    return rows.sum(axis=0, dtype=np.float64) / number, (rows.T @ rows).astype(np.float64) / number


def _cluster(
    points: NDArray[np.float32],
    warm_start: WarmStartClusters | None,
    n_clusters: int | None,
    seed: int,
    start_labels: NDArray[np.int32] | None,
) -> NDArray[np.int32]:
    if warm_start is not None:
        return warm_start_clusters(points, warm_start.labels, warm_start.n_clusters).labels
    if not points.any():
        return np.zeros(len(points), dtype=np.int32)
    number = n_clusters or default_n_clusters(len(points))
    return fit_clusters(points, n_clusters=number, seed=seed, start_labels=start_labels).labels


def replace_clusters(components: MixComponents, labels: NDArray[np.int32], n_clusters: int) -> MixComponents:
    by_cluster, starts = _sort_by_group(labels, components.current_listeners, n_clusters)
    return replace(components, labels=labels, by_cluster=by_cluster, cluster_starts=starts)


def _sort_by_group(
    groups: NDArray[np.int32], listeners: NDArray[np.float32], n_groups: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    order = np.lexsort((-listeners, groups)).astype(np.int32)
    sizes = np.bincount(groups, minlength=max(n_groups, int(groups.max(initial=0)) + 1))
    return order, np.concatenate([[0], np.cumsum(sizes)])
