"""The quality benchmark tunes the kNN baseline before it compares it with the others."""

import numpy as np
from scipy.sparse import csr_array

from benchmarks.quality import fit_best_knn
from recommender.engine.data import Catalogue, TrainingSet


def make_training(plays: csr_array, tuning: csr_array | None = None) -> TrainingSet:
    n_songs = plays.shape[1]
    unknown, blank = np.full(n_songs, np.nan), [""] * n_songs
    catalogue = Catalogue(
        np.arange(n_songs), blank, blank, blank, blank, unknown, unknown, {}, np.ones(n_songs, dtype=np.bool_)
    )
    return TrainingSet(catalogue, plays, tuning=tuning)


def test_knn_gets_the_settings_that_rank_the_held_out_plays_better() -> None:
    draw = np.random.default_rng(0)
    plays = csr_array((draw.random((60, 30)) < 0.3).astype(np.float32))
    later = csr_array((draw.random((60, 30)) < 0.05).astype(np.float32))

    model = fit_best_knn(make_training(plays, later))

    assert (model.weights.toarray() > 0).sum(axis=0).max() <= 50 or model.logarithmic


def test_knn_without_plays_has_no_weights() -> None:
    model = fit_best_knn(make_training(csr_array((3, 4), dtype=np.float32)))

    assert model.weights.nnz == 0
