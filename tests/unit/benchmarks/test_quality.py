"""The quality benchmark reads data sets and tunes the baselines before it compares the models."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from benchmarks.quality import fit_best_knn, read_dataset
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


def write_dataset(folder: Path, head: str, train: str, valid: str) -> None:
    for name, rows in (("train", train), ("valid", valid), ("test", valid)):
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(f"{head}\n{rows}".encode()))
    songs = "song,name,artist,album,genres,release_year,duration\n0,A,,,,,\n1,B,,,,1999,\n"
    (folder / "songs.csv.gz").write_bytes(gzip.compress(songs.encode()))


def test_days_of_plays_give_the_songs_activity_before_valid_and_before_test(tmp_path: Path) -> None:
    write_dataset(tmp_path, "user,song,count,day", "0,0,2,100\n1,0,1,10\n", "1,1,3,190\n")

    found = read_dataset(tmp_path)

    early, late = found.training.activity, found.training.latest_activity
    assert found.is_dated
    assert early is not None
    assert late is not None
    assert early.listeners_this_quarter.tolist() == pytest.approx([1.5, 0])
    assert late.listeners_this_quarter.tolist() == pytest.approx([0.75, 1])
    assert found.test_profiles.recent is not None
    np.testing.assert_allclose(found.test_profiles.recent.toarray(), [[0.25, 3.0]])


def test_plays_without_days_have_no_activity(tmp_path: Path) -> None:
    write_dataset(tmp_path, "user,song,count", "0,0,2\n1,0,1\n", "1,1,3\n")

    found = read_dataset(tmp_path)

    assert not found.is_dated
    assert found.training.activity is found.training.recent is found.test_profiles.recent is None
    np.testing.assert_array_equal(found.known_plays.toarray(), [[2, 0], [1, 3]])
