"""The quality benchmark reads data sets and tunes the baselines before it compares the models."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from benchmarks.__main__ import MUST_BE_MET, exit_code
from benchmarks.recommendations.listening_data import read_dataset
from benchmarks.recommendations.quality import (
    build_findings,
    draw_week,
    fit_best_knn,
    fit_best_rp3beta,
    share_changed,
    share_shown,
)
from benchmarks.report import Finding, Report
from recommender.engine.data import Catalogue, Interactions, TrainingSet
from recommender.engine.mix.fit import fit_mix


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


def write_dataset(folder: Path, head: str, train: str, valid: str, test: str = "") -> None:
    for name, rows in (("train", train), ("valid", valid), ("test", test)):
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(f"{head}\n{rows}".encode()))
    songs = "song,name,artist,album,genres,release_year,duration\n0,A,,,,,\n1,B,,,,1999,\n"
    (folder / "songs.csv.gz").write_bytes(gzip.compress(songs.encode()))


def test_days_of_plays_give_the_songs_activity_before_valid_and_before_test(tmp_path: Path) -> None:
    write_dataset(
        tmp_path, "user,song,count,day", "0,0,2,100\n1,0,1,10\n", "1,1,3,190\n", "0,1,1,200\n1,1,1,200\n"
    )

    found = read_dataset(tmp_path)

    early, late = found.training.activity, found.training.latest_activity
    assert found.is_dated
    assert early is not None
    assert late is not None
    assert early.listeners_this_quarter.tolist() == pytest.approx([1.5, 0])
    assert late.listeners_this_quarter.tolist() == pytest.approx([0.75, 1])
    assert found.test_profiles.recent is not None
    np.testing.assert_allclose(found.test_profiles.recent.toarray(), [[1.0, 0.0]])
    np.testing.assert_array_equal(found.test.toarray(), [[0, 1], [0, 0]])
    np.testing.assert_array_equal(found.repeats.toarray(), [[0, 0], [0, 1]])


def test_plays_without_days_have_no_activity(tmp_path: Path) -> None:
    write_dataset(tmp_path, "user,song,count", "0,0,2\n1,0,1\n", "1,1,3\n")

    found = read_dataset(tmp_path)

    assert not found.is_dated
    assert found.training.activity is found.training.recent is found.test_profiles.recent is None
    np.testing.assert_array_equal(found.known_plays.toarray(), [[2, 0], [1, 3]])


def test_a_tenth_of_the_songs_loses_its_plays(tmp_path: Path) -> None:
    write_dataset(tmp_path, "user,song,count", "0,0,1\n", "", "")
    played = [(user, song) for user in range(4) for song in range(30)]
    columns = np.array(played, dtype=np.int32)
    plays = Interactions(4, 30, columns[:, 0], columns[:, 1], np.zeros(120), np.ones(120, dtype=np.float32))
    whole = replace(
        read_dataset(tmp_path), catalogue=make_training(csr_array((4, 30))).catalogue, train_plays=plays,
        valid_plays=plays, test_plays=csr_array((4, 30), dtype=np.float32),
    )  # fmt: skip

    emptied, songs = whole.without_plays_of_some_songs(seed=7)

    assert len(songs) == 3
    listeners = np.bincount(emptied.known_plays.indices, minlength=30)
    assert np.flatnonzero(listeners == 0).tolist() == songs.tolist()
    assert set(listeners.tolist()) == {0, 4}


def test_rp3beta_gets_the_damping_that_ranks_the_held_out_plays_best() -> None:
    draw = np.random.default_rng(0)
    popular = np.linspace(0.6, 0.02, 60)
    plays = csr_array((draw.random((200, 60)) < popular).astype(np.float32))
    later = csr_array(((draw.random((200, 60)) < popular[::-1]) & (np.arange(60) > 40)).astype(np.float32))

    rare, common = (
        fit_best_rp3beta(make_training(plays, one)).weights for one in (later, csr_array(later[:, ::-1]))
    )

    def reach(weights: csr_array) -> float:
        return float(np.asarray(weights.sum(axis=0)).ravel()[41:].sum() / weights.sum())

    assert reach(rare) > reach(common)


def test_lists_that_share_three_of_four_songs_have_changed_by_a_quarter() -> None:
    first, second = np.array([[1, 2, 3, 4]], dtype=np.int32), np.array([[4, 3, 2, 9]], dtype=np.int32)

    assert share_changed(first, first) == 0
    assert share_changed(first, second) == 0.25


def test_a_week_of_ignored_lists_shows_more_songs_than_one_list() -> None:
    draw = np.random.default_rng(0)
    plays = csr_array((draw.random((40, 120)) < 0.1).astype(np.float32))
    training = make_training(plays)
    profiles = replace(training.profiles(), keys=np.arange(40))

    week = draw_week(fit_mix(training), profiles)

    assert [lists.shape for lists in week] == [(40, 20)] * 7
    assert np.mean([len(set(week[0][row]) & set(week[1][row])) for row in range(40)]) < 14
    assert share_shown(week[:1], 120) < share_shown(week, 120) <= 1


def test_the_songs_shown_in_a_week_are_compared_with_the_chart_on_dated_sets() -> None:
    names = ("random", "popularity", "ease", "mix", "mix_t01", "mix_t02")
    rows = {name: {"ndcg": 0.1, "week": 0.5} for name in names}
    rows["mix_t01"]["week"] = 0.9
    dated = {**rows, "trending": {"ndcg": 0.1, "week": 0.01}, "mix_undated": {"ndcg": 0.1, "week": 0.5}}

    undated, with_chart = build_findings(rows, "set")[-1], build_findings(dated, "set")[-1]

    assert (undated.measure, undated.ratio) == ("set: mix_t01 / ease, songs shown in a week", "1.800")
    assert with_chart.measure == "set: mix_t01 / trending, songs shown in a week"
    assert with_chart.ratio == "90.000"


def test_a_missed_target_of_the_ranking_quality_is_exit_code_1() -> None:
    missed = Report({}, [Finding("mix / ease, NDCG@20", "0.29", "0.30", "0.967", 0.967, 1.0, at_most=False)])
    met = Report({}, [Finding("mix / ease, NDCG@20", "0.33", "0.30", "1.100", 1.1, 1.0, at_most=False)])

    assert "quality" in MUST_BE_MET
    assert [exit_code(report, must_be_met=True) for report in (met, missed)] == [0, 1]
    assert exit_code(missed, must_be_met=False) == 0


def write_plays(folder: Path) -> Path:
    """Listeners of two tastes who play again in the test what they played before, and one new song."""
    head, rows = "user,song,count,day\n", []
    for user in range(12):
        rows += [f"{user},{2 * song + user % 2},1,{100 + song}" for song in range(4)]
    later = [f"{user},{user % 2},1,150\n{user},{8 + user % 2},1,150" for user in range(12)]
    for name, lines in (("train", rows), ("valid", []), ("test", later)):
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress((head + "\n".join(lines)).encode()))
    songs = ["song,name,artist,album,genres,release_year,duration", *(f"{song},A,,,,," for song in range(12))]
    (folder / "songs.csv.gz").write_bytes(gzip.compress("\n".join(songs).encode()))
    return folder


def test_songs_heard_before_are_measured_apart_from_new_ones(tmp_path: Path) -> None:
    found = read_dataset(write_plays(tmp_path))

    assert found.repeats.nnz == found.test.nnz == 12
    assert set(found.repeats.indices.tolist()) == {0, 1}
    assert set(found.test.indices.tolist()) == {8, 9}
