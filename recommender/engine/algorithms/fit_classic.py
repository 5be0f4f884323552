"""Fits the cluster-only model; apart from the model, so that a web worker never loads scikit-learn."""

import numpy as np
from numpy.typing import NDArray

from recommender.engine.algorithms.base import all_plays, count_listeners
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.clustering.kmeans import default_n_clusters, fit_clusters
from recommender.engine.data import TooFewSongs, TrainingSet
from recommender.engine.features import fit_features, genre_matrix, genre_vocabulary


def fit_classic(training: TrainingSet, *, n_clusters: int | None = None) -> ClassicModel:
    """Group the songs by metadata and sound.

    Args:
        n_clusters: None: as many as the catalogue asks for.

    Raises:
        TooFewSongs: there are none.
    """
    catalogue = training.catalogue
    if not catalogue.n_songs:
        raise TooFewSongs("There are no songs to group.")
    points = fit_features(catalogue, seed=training.seed).transform(catalogue)
    wanted = n_clusters or default_n_clusters(catalogue.n_songs)
    clusters = fit_clusters(points, n_clusters=wanted, seed=training.seed)
    labels, number = clusters.labels, clusters.n_clusters
    listeners = count_listeners(all_plays(training))
    # A cluster that nobody has played may still be drawn, when all others are used up.
    engaged = np.bincount(labels, weights=listeners, minlength=number) + 1e-9
    words = genre_vocabulary(catalogue.genres)
    return ClassicModel(
        labels=labels,
        artists=catalogue.artist_codes(),
        available=catalogue.available,
        plays=engaged / engaged.sum(),
        words=words,
        genre_shares=_genre_shares(catalogue.genres, words, labels, number),
        points=points,
        centers=clusters.centers,
        by_cluster=np.argsort(labels, kind="stable").astype(np.int32),
        cluster_starts=np.searchsorted(np.sort(labels), np.arange(number + 1)).astype(np.int64),
    )


def _genre_shares(
    texts: list[str], words: list[str], labels: NDArray[np.int32], n_clusters: int
) -> NDArray[np.float32]:
    """Shape (n_words, n_clusters): the share of each cluster's songs that have the word."""
    genres = genre_matrix(texts, words)
    shares = np.zeros((len(words), n_clusters), dtype=np.float32)
    rows = np.repeat(np.arange(len(texts)), np.diff(genres.indptr))
    np.add.at(shares, (genres.indices, labels[rows]), 1)
    return (shares / np.maximum(np.bincount(labels, minlength=n_clusters), 1)).astype(np.float32)
