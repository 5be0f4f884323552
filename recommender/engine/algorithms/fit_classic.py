"""Fits `classic`; a module of its own, so that web workers never load scikit-learn."""

import numpy as np

from recommender.engine.algorithms.base import all_plays, count_listeners
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.clustering.affinities import genre_shares_by_cluster
from recommender.engine.clustering.kmeans import default_n_clusters, fit_clusters
from recommender.engine.data import TooFewSongs, TrainingSet
from recommender.engine.features import fit_transform, genre_matrix, genre_vocabulary


def fit_classic(training: TrainingSet, *, n_clusters: int | None = None) -> ClassicModel:
    """Cluster the songs by metadata and sound.

    Raises:
        TooFewSongs: the catalogue is empty.
    """
    catalogue = training.catalogue
    if not catalogue.n_songs:
        raise TooFewSongs("There are no songs to cluster.")
    points = fit_transform(catalogue, seed=training.seed)[1]
    wanted = n_clusters or default_n_clusters(catalogue.n_songs)
    clusters = fit_clusters(points, n_clusters=wanted, seed=training.seed)
    labels, number = clusters.labels, clusters.n_clusters
    listeners = count_listeners(all_plays(training))
    # Above 0, so that an unplayed cluster can be drawn when all others are used up.
    engaged = np.bincount(labels, weights=listeners, minlength=number) + 1e-9
    words = genre_vocabulary(catalogue.genres)
    return ClassicModel(
        labels=labels,
        artists=catalogue.artist_codes(),
        available=catalogue.available,
        plays=engaged / engaged.sum(),
        words=words,
        genre_shares=genre_shares_by_cluster(genre_matrix(catalogue.genres, words), labels, number),
        points=points,
        centers=clusters.centers,
        by_cluster=np.argsort(labels, kind="stable").astype(np.int32),
        cluster_starts=np.searchsorted(np.sort(labels), np.arange(number + 1)).astype(np.int64),
    )
