"""The comparison with other libraries ranks the same plays and says which libraries are missing."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.recommendations import peers
from benchmarks.recommendations.listening_data import read_dataset
from recommender.engine.evaluation.evaluate import evaluate_lists
from recommender.engine.mix.fit import fit_mix

SONGS, LISTENERS = 60, 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(3)
    parts = [draw.random((LISTENERS, SONGS)) < share for share in (0.3, 0.06, 0.06)]
    for name, plays in zip(("train", "valid", "test"), parts, strict=True):
        rows = "".join(f"{user},{song},1\n" for user, song in np.argwhere(plays).tolist())
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(f"user,song,count\n{rows}".encode()))
    songs = "".join(f"{song},Song {song},Artist {song % 9},,rock,,200\n" for song in range(SONGS))
    head = "song,name,artist,album,genres,release_year,duration\n"
    (tmp_path / "songs.csv.gz").write_bytes(gzip.compress((head + songs).encode()))
    return tmp_path


@pytest.mark.slow
def test_a_list_asked_for_one_listener_is_the_ranking_of_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the benchmark's own environment these libraries are there.
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    listening = read_dataset(folder)
    lists = fit_mix(listening.training).recommend(listening.test_profiles, peers.LIST_LENGTH)
    test, artists = listening.test[listening.test_listeners], listening.catalogue.artist_codes()
    expected = evaluate_lists(lists, test, artists=artists).summary()["ndcg"]

    report = peers.measure(folder)

    table, *notes = report.notes
    assert table.splitlines()[1].split()[:2] == ["mix", f"{expected:.4f}"]
    skipped = [note.split(":")[0] for note in notes]
    assert skipped == ["Skipped als", "Skipped als, new plays", "Skipped lenskit"]
    assert "hnswlib" in notes[0]
    assert report.findings == []


def test_a_folder_without_songs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"has no songs\.csv\.gz"):
        main(["peers", "--data", str(tmp_path)])
