"""The export of sessions for Spark, and what stops Spark from starting."""

import importlib.util
import shutil
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from ingestion.models import Listener, ListeningHistory, Song
from recommender.engine.algorithms.engines import EngineUnavailable, WantedPlays
from recommender.engine.algorithms.neighbours import SongCounts
from recommender.spark.exported_files import MANIFEST
from recommender.training.dataset import read_sessions

pytest.importorskip(
    "pyspark", reason="tests of Spark need it: pip install --require-hashes -r requirements-spark.lock"
)

from pyspark.errors import PySparkException

from recommender.spark import engine, export, session

# To import Arrow and Spark takes seconds.
pytestmark = [pytest.mark.django_db, pytest.mark.slow]

START = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "IDS_PER_FILE", 10)


def fill() -> None:
    for pk in (1, 2, 3):
        Song.objects.create(
            pk=pk, name=f"Song {pk}", artist="A", duration=timedelta(minutes=3),
            created_at=START, updated_at=START,
        )  # fmt: skip
        Listener.objects.create(pk=pk, created_at=START, updated_at=START)
    for number in range(25):
        at = START + timedelta(hours=25 - number)
        ListeningHistory.objects.create(
            pk=100 + number,
            user_id=1 + number % 3,
            items=[1 + number % 3, 2, 99],
            created_at=at,
            updated_at=at,
        )


def columns(plays: Any) -> list[list[float]]:
    return [getattr(plays, name).tolist() for name in ("listeners", "songs", "at", "count")]


@pytest.mark.parametrize("until", [None, START + timedelta(hours=12)])
def test_the_export_gives_the_plays_of_the_database(tmp_path: Path, until: datetime | None) -> None:
    fill()
    wanted = WantedPlays(np.array([1, 3]), np.array([1, 2, 3]), until)

    exported = export.export_sessions(tmp_path)
    plays = export.read_plays(exported, wanted)

    assert exported.plays == 75
    assert columns(plays) == columns(read_sessions(wanted))


def test_only_files_whose_sessions_have_changed_are_written_again(tmp_path: Path) -> None:
    fill()
    first = {file.name: file.stat().st_ino for file in export.export_sessions(tmp_path).files()}
    ListeningHistory.objects.filter(pk=113).update(unavailable_at=START)
    ListeningHistory.objects.filter(pk__gte=120).delete()

    exported = export.export_sessions(tmp_path)

    second = {file.name: file.stat().st_ino for file in exported.files()}
    assert len(first) == 3
    assert [name for name in first if first[name] == second.get(name)] == ["000000000010.parquet"]
    assert set(second) == {"000000000010.parquet", "000000000011.parquet"}
    assert exported.plays == 57


@pytest.mark.parametrize(
    "change",
    [{"items": [3, 3, 1]}, {"user_id": 3}, {"created_at": START}],
    ids=lambda change: next(iter(change)),
)
def test_a_corrected_session_is_exported_again(tmp_path: Path, change: dict[str, Any]) -> None:
    fill()
    everyone = WantedPlays(np.array([1, 2, 3]), np.array([1, 2, 3]))
    export.export_sessions(tmp_path)

    # As many songs, and no later `updated_at`.
    ListeningHistory.objects.filter(pk=112).update(**change)

    plays = export.read_plays(export.export_sessions(tmp_path), everyone)
    assert columns(plays) == columns(read_sessions(everyone))


def test_files_that_no_manifest_names_are_deleted_and_not_read(tmp_path: Path) -> None:
    fill()
    exported = export.export_sessions(tmp_path)
    orphans = [exported.folder / name for name in ("000000000099.parquet", ".000000000098")]
    for orphan in orphans:
        shutil.copy(exported.files()[0], orphan)
    others = exported.folder / "other.parquet"
    others.write_text("")
    (tmp_path / MANIFEST).unlink()

    again = export.export_sessions(tmp_path)

    assert not any(orphan.exists() for orphan in orphans)
    assert others.exists()
    assert again == exported


def test_a_missing_block_of_neighbours_is_an_error(tmp_path: Path) -> None:
    counts = SongCounts(np.array([0, 2], np.int32), np.array([0, 4]))

    with pytest.raises(EngineUnavailable, match=r"no neighbours .* for 1 of 2 blocks"):
        engine.read_neighbours(tmp_path, [(0, 1), (1, 2)], counts)
    nobody = SongCounts(np.array([0, 0], np.int32), np.array([0, 0]))
    assert engine.read_neighbours(tmp_path, [(0, 1), (1, 2)], nobody).rp3.nnz == 0


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(EngineUnavailable, match=r"EXPORT_DIR \(.*file"):
        export.export_sessions(tmp_path / "file")


def test_more_plays_than_the_training_may_keep_are_refused(tmp_path: Path) -> None:
    fill()
    wanted = WantedPlays(np.array([1, 2, 3]), np.array([1, 2, 3]))

    found = engine.SparkEngine(MagicMock(), tmp_path, most_local_plays=75).plays(wanted)
    assert columns(found) == columns(read_sessions(wanted))
    with pytest.raises(EngineUnavailable, match="at most 74 plays; there are 75"):
        engine.SparkEngine(MagicMock(), tmp_path, most_local_plays=74).plays(wanted)


def test_a_failure_of_spark_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "start_spark", lambda master: nullcontext(MagicMock()))
    text = "Job aborted.\nTraceback:\n  File one\nMemoryError: 1 GB\n\nJVM stacktrace:\nat x"

    with (
        pytest.raises(EngineUnavailable, match=r"Job aborted\. MemoryError: 1 GB\. Check in Spark's logs"),
        engine.open_spark_engine("spark://one:7077", tmp_path),
    ):
        raise PySparkException(text)


@pytest.mark.parametrize("package", ["ingestion", "moovitamix", "recommender"])
def test_a_version_covers_the_code_that_workers_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str
) -> None:
    for name in ("ingestion", "moovitamix", "recommender"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.py").write_text("")
    copies = {name: str(tmp_path / name) for name in ("ingestion", "moovitamix", "recommender")}

    def find_copy(name: str) -> ModuleSpec:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [copies[name]]
        return spec

    monkeypatch.setattr(importlib.util, "find_spec", find_copy)
    before = session.make_version_reporter()()
    (tmp_path / package / "one.py").write_text("x = 1")

    assert session.make_version_reporter()() != before


def test_without_java_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)

    with pytest.raises(EngineUnavailable, match="apt install openjdk-17-jre-headless"):
        session.start_spark("local[2]").__enter__()


def test_a_master_that_does_not_answer_is_named() -> None:
    with pytest.raises(EngineUnavailable, match=r"master does not answer \(127\.0\.0\.1:9"):
        session.start_spark("spark://127.0.0.1:9").__enter__()
