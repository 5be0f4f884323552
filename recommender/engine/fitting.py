"""Learn what `mix` knows of the songs, from plays and metadata."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from recommender.engine.baselines import popularity
from recommender.engine.catalogue import Catalogue
from recommender.engine.clusters import default_n_clusters, fit_clusters
from recommender.engine.factors import factors, softened, unit
from recommender.engine.features import fit_features
from recommender.engine.genres import genre_idf, genre_matrix
from recommender.engine.neighbours import (
    EASE_SONGS,
    bounded,
    ease_weights,
    heard,
    keep_best,
    knn_weights,
    rp3_weights,
    sparse_weights,
)
from recommender.engine.parts import MIXTURES, Parts, damping

EASE_KEPT = 400  # of each row: against all of them no loss on one set, + 2.5 % on another, 5 % of the size
AXES = 64  # of metadata and of co-listening; 32 loses .5 %, 128 gains nothing that lasts
TASTE_AXES = 128
MANY_SONGS = 50_000  # beyond, the taste has AXES too: half the time and bytes, and no set to see a loss on


def fit_parts(
    plays: csr_array,
    catalogue: Catalogue,
    content: NDArray[np.float32],
    labels: NDArray[np.int32] | None,
    *,
    words: Sequence[str],
    n_clusters: int | None,
    seed: int,
) -> Parts:
    """Learn all parts from the plays and the `content_of` the songs; without plays, what needs them is 0."""
    ones = heard(plays)
    listeners = popularity(ones)
    damped = csr_array(ones @ diags_array(damping(listeners)))
    axes = TASTE_AXES if catalogue.n_songs <= MANY_SONGS else AXES
    taste, _ = factors(damped, axes, seed=seed)
    company = softened(*factors(_rarity(ones, listeners), AXES, seed=seed))
    norms = np.stack([_lengths(weight, content, company) for weight in MIXTURES], axis=1)
    if labels is None:
        labels = _labels(unit(np.hstack([0.5 * content, company])), n_clusters, seed)
    artists = catalogue.artist_codes()
    genres = genre_matrix(catalogue.genres, words)
    by_cluster, cluster_starts = _grouped(labels, listeners)
    by_artist, artist_starts = _grouped(artists, listeners)
    centres, products = _moments(taste, content, company, norms)
    return Parts(
        neighbours=_neighbours(ones), taste=taste, content=content, company=company, norms=norms,
        centres=centres, products=products, labels=labels, artists=artists, listeners=listeners,
        available=catalogue.available, genres=genres, genre_idf=genre_idf(genres), by_cluster=by_cluster,
        cluster_starts=cluster_starts, by_artist=by_artist, artist_starts=artist_starts,
    )  # fmt: skip


def content_of(catalogue: Catalogue, *, seed: int) -> NDArray[np.float32]:
    """Shape (n_songs, d): metadata, with half the weight sound; rows of length 1, or 0."""
    space = fit_features(catalogue, seed=seed)
    both, axes = space.transform(catalogue), space.axes.shape[1]
    # Without audio features the sound is year and duration, which say less than the decade in the metadata.
    if catalogue.audio:
        return unit(np.hstack([both[:, :axes], 0.5 * both[:, axes:]]))
    return np.ascontiguousarray(both[:, :axes])


def _rarity(ones: csr_array, listeners: NDArray[np.float32]) -> csr_array:
    """Listens weighed by how rare the song is, each listener's row by the root of its length."""
    idf = np.log(max(1, ones.shape[0]) / np.maximum(listeners, 1)).astype(np.float32)
    roots = np.sqrt(np.maximum(np.diff(ones.indptr), 1)).astype(np.float32)
    return csr_array(diags_array(1 / roots) @ ones @ diags_array(idf))


def _neighbours(ones: csr_array) -> dict[str, csr_array]:
    """Each as float32 over int32 indices, which a memory map can stand in for as they are."""
    knn = keep_best(knn_weights(ones), 200)  # a popular song is near to more songs than a request can look at
    found = {"rp3": rp3_weights(ones), "knn": knn}
    if ones.nnz and ones.shape[1] <= EASE_SONGS:
        found["ease"] = sparse_weights(ease_weights(bounded(ones)), EASE_KEPT)
    return {name: narrow(matrix) for name, matrix in found.items()}


def narrow(matrix: csr_array) -> csr_array:
    """The same with 32-bit indices: a mixture of widths would be copied whole at every load."""
    indices, indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return csr_array((matrix.data.astype(np.float32), indices, indptr), shape=matrix.shape)


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


def _labels(points: NDArray[np.float32], n_clusters: int | None, seed: int) -> NDArray[np.int32]:
    if not points.any():
        return np.zeros(len(points), dtype=np.int32)
    number = n_clusters or default_n_clusters(len(points))
    return fit_clusters(points, n_clusters=number, seed=seed).labels


def _grouped(
    groups: NDArray[np.int32], listeners: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    order = np.lexsort((-listeners, groups)).astype(np.int32)
    sizes = np.bincount(groups, minlength=int(groups.max(initial=0)) + 1)
    return order, np.concatenate([[0], np.cumsum(sizes)])
