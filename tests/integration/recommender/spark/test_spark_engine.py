"""The Spark engine gives the bits of the local engine: in neighbours, clusters and candidate lists."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from django.db import connection

from ingestion.models import Listener, ListeningHistory, Song
from recommender.engine import artifact
from recommender.engine.algorithms.engines import Engine, EngineUnavailable, LocalEngine
from recommender.engine.sampling.candidate_codec import decode_candidates
from recommender.models import CandidateList, Feedback, ModelVersion
from recommender.registry.model_loader import LoadedModel, open_serving_model
from recommender.serving.candidates import candidate_cache
from recommender.spark import candidate_kernel, launch
from recommender.spark.django_kernel import DjangoKernel
from recommender.training.train import TrainingOptions, retrain

pytest.importorskip(
    "pyspark", reason="the Spark test needs PySpark: pip install --require-hashes -r requirements-spark.lock"
)
if shutil.which("java") is None:
    pytest.skip("the Spark test needs Java: apt install openjdk-17-jre-headless", allow_module_level=True)

from pyspark.sql import SparkSession

from recommender.spark import session

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

START = datetime(2026, 9, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
SONGS, LISTENERS, SESSIONS = 400, 500, 20
# Java that compiles little, and few tasks: 21 instead of 64 CPU seconds of Java.
SHORT_JOBS = (
    '--driver-memory 512m --driver-java-options "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC" '
    "--conf spark.sql.shuffle.partitions=4 --conf spark.sql.codegen.wholeStage=false pyspark-shell"
)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> Iterator[ExitStack]:
    """Settings of Spark, and what stops it."""
    database = connection.settings_dict
    address = f"{database['HOST'] or '127.0.0.1'}:{database['PORT']}/{database['NAME']}"
    monkeypatch.setenv("DATABASE_URL", f"postgres://{database['USER']}:{database['PASSWORD']}@{address}")
    monkeypatch.setenv("MODEL_STORAGE", str(tmp_path / "models"))
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", SHORT_JOBS)
    settings.EXPORT_DIR, settings.MODEL_STORAGE = tmp_path / "exports", tmp_path / "models"
    with ExitStack() as stack:
        yield stack


def fill() -> None:
    """40 000 plays in four styles, and likes of songs that the listener has not played."""
    draws = np.random.default_rng(11)
    Song.objects.bulk_create(
        Song(
            pk=pk, name=f"Song {pk}", artist=f"Artist {pk % 90}",
            genres=["rock", "jazz", "techno", "folk"][pk % 4],
            duration=timedelta(seconds=180), created_at=START, updated_at=START,
        )
        for pk in range(1, SONGS + 1)
    )  # fmt: skip
    Listener.objects.bulk_create(
        Listener(pk=pk, favorite_genres="rock", created_at=START, updated_at=START)
        for pk in range(1, LISTENERS + 1)
    )
    ListeningHistory.objects.bulk_create(
        ListeningHistory(
            user_id=pk, items=(1 + (4 * draws.integers(0, SONGS // 4, 4) + pk % 4) % SONGS).tolist(),
            created_at=(at := START + timedelta(days=3 * number, minutes=pk)), updated_at=at,
        )
        for number in range(SESSIONS)
        for pk in range(1, LISTENERS + 1)
    )  # fmt: skip
    Feedback.objects.bulk_create(
        Feedback(listener_id=pk, song_id=1 + (pk + 1) % SONGS, kind="like", at=NOW, received_at=NOW)
        for pk in range(1, LISTENERS + 1, 5)
    )


def train(storage: Path, engine: Engine | None) -> tuple[ModelVersion, dict[str, Any]]:
    run = retrain(TrainingOptions(storage=storage, n_clusters=12, open_engine=lambda: nullcontext(engine)))
    assert run.version is not None, run.error
    return run.version, artifact.read_arrays(storage / run.version.label, run.version.artifact_sha256)[0]


def lists_by(engine: Engine, kernel: Any, ids: Sequence[int]) -> dict[int, bytes]:
    rows = [candidate_kernel.decode_row(row) for _, part in engine.map_rows(kernel, ids, 60) for row in part]
    return {row.listener_id: candidate_kernel.encode_row(row) for row in rows}


def test_both_engines_give_the_same_bits_and_workers_with_other_versions_are_refused(
    running: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test, because Spark takes 15 seconds of CPU to start."""
    spark = running.enter_context(launch.open_spark("local[2]"))
    fill()

    _, ours = train(tmp_path / "models", None)
    version, theirs = train(tmp_path / "models", spark)

    assert ListeningHistory.objects.count() * 4 == 40_000
    assert ours.keys() == theirs.keys()
    # Clusters have numbers of their own in each version.
    different = [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()]
    assert set(different) <= {"cluster_ids"}
    assert "labels" in ours

    listeners = list(range(1, LISTENERS + 1, 3))
    loaded = LoadedModel(open_serving_model(version, tmp_path / "models"), None)
    kernel = DjangoKernel(candidate_kernel.__name__, "generate_lists", (version.pk, NOW))
    local = {
        row.listener_id: candidate_kernel.encode_row(row)
        for row in candidate_cache.generate_rows(listeners, loaded, NOW)
    }
    assert lists_by(spark, kernel, listeners) == lists_by(LocalEngine(), kernel, listeners) == local
    assert len(local) == len(listeners)

    batches = spark.map_rows(kernel, listeners[:100], 60)
    decoded = ((ids, [candidate_kernel.decode_row(row) for row in rows]) for ids, rows in batches)
    assert candidate_cache.store_batches(decoded, NOW, lambda done: None) == 100
    stored = CandidateList.objects.get(listener_id=listeners[0])
    assert candidate_kernel.encode_row(stored) == local[listeners[0]]
    assert sum(decode_candidates(bytes(stored.candidates)).affinities.values()) == pytest.approx(1)

    # Another process, so another number.
    monkeypatch.setattr(session, "make_version_reporter", lambda: lambda: f"MoovitaMix {os.getpid()}")
    with pytest.raises(EngineUnavailable, match=r"must have the versions of this machine \(MoovitaMix"):
        session.require_equal_workers(SparkSession.getActiveSession())

    running.close()
    assert "java" not in {child.name() for child in psutil.Process().children(recursive=True)}
