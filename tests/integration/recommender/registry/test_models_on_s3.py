"""Models in a bucket that machines share, against a real server with S3's protocol."""

import logging
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from django.core import checks
from django.core.files.storage import InMemoryStorage
from django.core.management import CommandError, call_command
from django.db import connections
from pytest_django import Settings

from ingestion.models import Incident
from ingestion.monitoring.watchdog import run_checks
from moovitamix.operations import backup
from moovitamix.operations.listener_data import versions_with_plays
from recommender import services
from recommender.engine import artifact
from recommender.models import ModelVersion, TrainingRun
from recommender.monitoring import health_checks
from recommender.registry import artifact_folders, artifact_storage, registry, shared_storage
from recommender.registry.model_loader import RETRY_DOWNLOAD_AFTER, ModelLoader
from recommender.training.train import TrainingOptions, retrain
from tests.support.project import ROOT
from tests.support.servers.ports import free_port
from tests.support.servers.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, run_s3

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
BACKEND = "moovitamix.backends.s3_models.S3ModelStorage"

# Other processes do not see what it mounts.
OWN_MOUNTS = ("unshare", "--map-root-user", "--mount", "sh", "-c")


class Bucket:
    """A prefix of the bucket that one test has for itself."""

    def __init__(self, server: S3Server, prefix: str, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        self.server, self.prefix = server, prefix
        self._settings, self._patch, self._client = settings, patch, server.client()
        self._connect(server.url)

    def _connect(self, url: str) -> None:
        for name, value in {**self.server.environment, "AWS_ENDPOINT_URL": url}.items():
            self._patch.setenv(name, value)
        options = {"bucket_name": BUCKET, "location": self.prefix}
        # Also closes the connections that were open.
        self._settings.STORAGES = {
            **self._settings.STORAGES, "models": {"BACKEND": BACKEND, "OPTIONS": options},
        }  # fmt: skip

    def names(self, label: str = "") -> list[str]:
        found = self._client.list_objects_v2(Bucket=BUCKET, Prefix=f"{self.prefix}/{label}")
        return [one["Key"].removeprefix(f"{self.prefix}/") for one in found.get("Contents", [])]

    def put(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{name}", Body=content)

    def get(self, name: str) -> bytes:
        body: bytes = self._client.get_object(Bucket=BUCKET, Key=f"{self.prefix}/{name}")["Body"].read()
        return body

    def remove(self, name: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=f"{self.prefix}/{name}")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens at the server's address."""
        self._connect(f"http://127.0.0.1:{free_port()}")
        yield
        self._connect(self.server.url)

    @contextmanager
    def refusing(self, status: int, code: str) -> Iterator[None]:
        self.server.set_faults(status=status, code=code)
        yield
        self.server.set_faults()


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with run_s3() as started:
        yield started


@pytest.fixture
def bucket(server: S3Server, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    yield Bucket(server, f"{uuid4().hex}/models", settings, monkeypatch)
    server.set_faults()


@pytest.fixture
def champion(trained: Path, db: None, bucket: Bucket) -> ModelVersion:
    """The champion, whose files are in the bucket and on no machine."""
    version = ModelVersion.objects.get(role="champion")
    artifact_storage.upload(trained / version.label)
    return version


def small_version(version: ModelVersion, label: str, storage: Path, **fields: Any) -> ModelVersion:
    """Another version, whose few arrays serve nobody, made on the machine with this folder."""
    arrays = {name: np.arange(9) for name in ("labels", "song_ids")}
    sha256 = artifact_storage.write(storage / label, arrays, {"training": "another"})
    values = {field.attname: getattr(version, field.attname) for field in ModelVersion._meta.concrete_fields}
    values |= {"id": None, "label": label, "artifact_sha256": sha256, "role": ModelVersion.Role.CANDIDATE}
    return ModelVersion.objects.create(**values | fields)


def serving_label(loader: ModelLoader) -> str:
    model = loader.reload().model
    assert model is not None
    return model.version.label


def partial_download(version: ModelVersion) -> str:
    return f".download-{os.getuid()}-{version.label}"


def no_verification(version: ModelVersion) -> None:
    """For promotions of versions whose files the test has damaged."""


def test_two_machines_share_their_models_and_serve_when_the_bucket_is_away(
    trained: Path, bucket: Bucket, tmp_path: Path, settings: Settings
) -> None:
    one, two, three = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    ModelVersion.objects.update(role="retired")

    # Train on one machine, serve on the other.
    first = retrain(TrainingOptions(storage=one, promote=True)).version
    assert first is not None
    there = ModelLoader(two)
    served = there.current_model()
    assert served.degraded is None
    assert served.model is not None
    np.testing.assert_array_equal(served.model.scorer.labels, artifact_storage.read(first, one)[0]["labels"])
    assert isinstance(served.model.song_ids.base, np.memmap)
    assert two.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in two.iterdir()] == [first.label]
    assert len(bucket.names(first.label)) == len(list((one / first.label).iterdir())) + 1

    # Train on the other machine, which starts from the champion, and promote a newer version there.
    second = retrain(TrainingOptions(storage=two, full=True, seed=8)).version
    assert second is not None
    assert second.label != first.label
    here = ModelLoader(one)
    assert serving_label(here) == first.label
    settings.MODEL_STORAGE = two
    services.promote_version(second.label, reason="better", by="a test")
    assert (serving_label(here), serving_label(there)) == (second.label, second.label)

    # Delete an old one.
    old = small_version(second, "2026w01.1", one, role=ModelVersion.Role.RETIRED)
    settings.MODEL_STORAGE, settings.KEEP_MODELS = two, 0
    assert artifact_storage.labels(two) == {first.label, second.label, old.label}
    services.delete_old_artifacts()
    assert artifact_storage.labels(two) == {first.label, second.label}
    with pytest.raises(artifact.ArtifactMissing, match="were deleted"):
        artifact_storage.read(ModelVersion.objects.get(pk=old.pk), one)

    # Restart with the bucket away.
    with bucket.away():
        assert serving_label(here) == second.label
        assert serving_label(ModelLoader(one)) == second.label
        new = ModelLoader(three).current_model()
        assert new.model is None
        assert new.degraded is not None
        assert f"{second.label}: s3://{BUCKET}/{bucket.prefix} can't be used" in new.degraded
    assert serving_label(ModelLoader(three)) == second.label


def truncate(bucket: Bucket, name: str) -> None:
    bucket.put(name, bucket.get(name)[:-1])


def flip_a_bit(bucket: Bucket, name: str) -> None:
    content = bucket.get(name)
    bucket.put(name, content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("damage", "file"),
    [(Bucket.remove, "labels.npy"), (truncate, "labels.npy"), (flip_a_bit, "labels.npy"),
     (Bucket.remove, "manifest.json"), (truncate, "manifest.json")],
)  # fmt: skip
def test_a_damaged_object_is_found_and_the_previous_version_serves(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, damage: Callable[[Bucket, str], None], file: str
) -> None:
    newer = small_version(champion, "2026w01.1", tmp_path / "one")
    registry.promote(newer, reason="better", by="a test", verify=no_verification)
    damage(bucket, f"{newer.label}/{file}")

    loaded = ModelLoader(tmp_path / "two").current_model()

    assert loaded.model is not None
    assert loaded.model.version == champion
    assert loaded.degraded is not None
    assert f"s3://{BUCKET}/{bucket.prefix}/{newer.label}" in loaded.degraded
    kind = artifact.ArtifactDamaged
    if (damage, file) == (Bucket.remove, "manifest.json"):
        kind = artifact.ArtifactMissing  # type: ignore[assignment]
    with pytest.raises(kind):
        artifact_storage.verify(newer, tmp_path / "two")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [champion.label]


@pytest.mark.parametrize("damage", [Bucket.remove, truncate])
def test_a_promotion_is_refused_if_other_machines_could_not_download_the_version(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, damage: Callable[[Bucket, str], None]
) -> None:
    newer = small_version(champion, "2026w01.1", tmp_path / "one")
    damage(bucket, f"{newer.label}/labels.npy")

    artifact.verify_files(tmp_path / "one" / newer.label, newer.artifact_sha256)
    with pytest.raises(artifact.ArtifactDamaged, match=r"labels\.npy"):
        artifact_storage.verify(newer, tmp_path / "one")


def test_a_rollback_is_possible_while_the_bucket_is_away(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, settings: Settings
) -> None:
    settings.MODEL_STORAGE = tmp_path / "one"
    artifact_storage.fetch(champion, tmp_path / "one")
    newer = small_version(champion, "2026w01.1", tmp_path / "one")
    services.promote_version(newer.label, reason="better", by="a test")

    with bucket.away():
        services.roll_back_champion(reason="worse", by="a test")

    assert registry.current_champion() == champion


def test_a_damaged_copy_is_downloaded_again(champion: ModelVersion, bucket: Bucket, tmp_path: Path) -> None:
    path = artifact_storage.fetch(champion, tmp_path)
    file = path / "labels.npy"
    file.write_bytes(file.read_bytes()[:-1])

    with bucket.away(), pytest.raises(artifact.ArtifactUnavailable):
        artifact_storage.read(champion, tmp_path)
    artifact_storage.read(champion, tmp_path)

    artifact.verify_files(path, champion.artifact_sha256)
    assert [one.name for one in tmp_path.iterdir()] == [champion.label]


def test_processes_that_download_at_once_get_one_copy(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="recommender")

    def open_version(_: int) -> int:
        try:
            return len(artifact_storage.read(champion, tmp_path)[0])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        counts = set(pool.map(open_version, range(4)))

    assert len(counts) == 1
    assert caplog.text.count("artifact_downloaded") == 1
    assert [one.name for one in tmp_path.iterdir()] == [champion.label]


UPLOAD = """
import sys, django
from pathlib import Path
django.setup()
from django.core.files.storage import storages
from recommender.registry import artifact_storage
print("ready", flush=True)
sys.stdin.readline()
artifact_storage.upload(Path(sys.argv[1]))
"""


def test_what_a_killed_upload_left_is_removed_by_the_next_training_of_any_machine(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    run = TrainingRun.objects.get()
    facts = {"training": artifact_folders.training_signature(run)}
    arrays = {f"array{number}": np.arange(9) for number in range(9)}
    artifact.write_arrays(tmp_path / "one" / "2026w01.1", arrays, facts)
    bucket.put("2026w01.2/training", b"1 2026-01-01T00:00:00+00:00 elsewhere 1")
    location = f"s3://{BUCKET}/{bucket.prefix}"
    environment = {**os.environ, **bucket.server.environment, "MODEL_STORAGE": location}
    with subprocess.Popen(
        [sys.executable, "-c", UPLOAD, str(tmp_path / "one" / "2026w01.1")],
        env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        bucket.server.set_faults(client=process.pid, kill_after_files=5)
        process.communicate("go\n", timeout=120)
    bucket.server.set_faults()
    left = bucket.names("2026w01.1")

    artifact_folders.prepare_storage(tmp_path / "two")

    assert process.returncode == -9
    # The request that was answered by the kill may be complete.
    assert 5 <= len(left) <= 6
    assert "2026w01.1/manifest.json" not in left
    assert bucket.names("2026w01.1") == []
    # Another database's.
    assert bucket.names("2026w01.2") == ["2026w01.2/training"]


def test_a_label_that_another_machine_uploads_is_taken(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("2026w49.1/training", b"")
    artifact.write_arrays(tmp_path / "2026w49.1", {}, {})

    assert artifact_folders.next_free_label(tmp_path, NOW) == "2026w49.2"
    with pytest.raises(artifact.ArtifactExists, match=r"2026w49\.1 already"):
        artifact_storage.upload(tmp_path / "2026w49.1")


def test_a_training_fails_before_it_reads_anything_if_the_bucket_can_t_be_written(
    trained: Path, bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="recommender")

    with bucket.refusing(403, "AccessDenied"), pytest.raises(OSError, match="AccessDenied") as refused:
        retrain(TrainingOptions(storage=tmp_path))

    run = TrainingRun.objects.order_by("-pk")[0]
    assert (run.status, run.stage) == ("failed", "")
    assert run.error.startswith(f"RequestRefused: s3://{BUCKET}/{bucket.prefix} can't be used")
    said = caplog.text + run.error + repr(refused.value) + repr(refused.value.__cause__)
    assert SECRET_KEY not in said
    assert ACCESS_KEY not in said
    assert refused.value.__suppress_context__


def test_copies_that_nobody_serves_are_deleted_a_day_after_their_last_use(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    role, old = ModelVersion.Role, time.time() - 90_000
    labels = {
        name: small_version(champion, f"2026w01.{number}", tmp_path, role=wanted).label
        for number, (name, wanted) in enumerate(
            {"challenger": role.CHALLENGER, "withdrawn": role.WITHDRAWN, "used": role.RETIRED,
             "retired": role.RETIRED, "newest": role.CANDIDATE}.items()
        )
    }  # fmt: skip
    artifact_storage.fetch(champion, tmp_path)
    (tmp_path / "2026w02.1").mkdir()
    for path in tmp_path.iterdir():
        if path.name != labels["used"]:
            os.utime(path, (old, old))

    deleted = artifact_storage.delete_unused_copies(tmp_path)

    assert deleted == [labels["withdrawn"], labels["retired"]]
    left = {labels["challenger"], labels["used"], labels["newest"], champion.label, "2026w02.1"}
    assert {path.name for path in tmp_path.iterdir()} == left
    assert artifact_storage.labels(tmp_path) == {*labels.values(), champion.label}


def test_a_machine_that_downloads_nothing_deletes_its_unused_copies_too(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, settings: Settings
) -> None:
    settings.MODEL_STORAGE = tmp_path / "copies"
    health_checks.unused_copies(NOW)
    retired = small_version(champion, "2026w01.1", tmp_path / "copies", role=ModelVersion.Role.RETIRED)
    newest = small_version(champion, "2026w01.2", tmp_path / "copies")
    os.utime(tmp_path / "copies" / retired.label, (time.time() - 90_000,) * 2)

    with bucket.away():
        health_checks.model_storage_away(NOW)
    health_checks.unused_copies(NOW)
    kept = {path.name for path in (tmp_path / "copies").iterdir()}
    health_checks.model_storage_away(NOW)
    health_checks.unused_copies(NOW)

    assert kept == {retired.label, newest.label}
    assert {path.name for path in (tmp_path / "copies").iterdir()} == {newest.label}


def test_a_machine_that_can_t_reach_the_bucket_does_not_stop_deletion_on_others(
    champion: ModelVersion,
    bucket: Bucket,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MODEL_STORAGE = tmp_path
    retired = small_version(champion, "2026w01.1", tmp_path, role=ModelVersion.Role.RETIRED)
    newest = small_version(champion, "2026w01.2", tmp_path)
    os.utime(tmp_path / retired.label, (time.time() - 90_000,) * 2)
    monkeypatch.setattr(socket, "gethostname", lambda: "web-1")
    with bucket.away():
        health_checks.model_storage_away(NOW)

    monkeypatch.setattr(socket, "gethostname", lambda: "web-2")
    health_checks.unused_copies(NOW)

    assert [path.name for path in tmp_path.iterdir()] == [newest.label]


def test_a_download_that_takes_too_long_is_given_up(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(0, 10_000, 10))
    with monkeypatch.context() as slow:
        slow.setattr(shared_storage, "monotonic", lambda: float(next(times)))
        with pytest.raises(artifact.ArtifactUnavailable, match=f"{champion.label} takes too long"):
            artifact_storage.fetch(champion, tmp_path)
    left = [path.name for path in tmp_path.iterdir()]

    artifact_storage.read(champion, tmp_path)

    assert left == [partial_download(champion)]
    assert [path.name for path in tmp_path.iterdir()] == [champion.label]
    # A minute, as hardly a byte arrived; the clock is read before and after each wait.
    assert 2 * 6 <= next(times) // 10 < 2 * 10


def test_a_slow_download_that_makes_progress_is_not_given_up(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 100 000 bytes a second, a megabyte takes ten times as long as a second for each MiB."""
    clock = Clock()
    monkeypatch.setattr(shared_storage, "MAX_IDLE_SECONDS", 0.1)
    monkeypatch.setattr(shared_storage, "monotonic", clock)
    arrive = shared_storage.SpeedLimit.watch

    def arrive_slowly(limit: shared_storage.SpeedLimit, chunks: Iterator[bytes]) -> Iterator[bytes]:
        def wait_for_chunks() -> Iterator[bytes]:
            for chunk in chunks:
                clock.seconds += len(chunk) / 100_000
                yield chunk

        return arrive(limit, wait_for_chunks())

    monkeypatch.setattr(shared_storage.SpeedLimit, "watch", arrive_slowly)

    artifact_storage.read(champion, tmp_path)

    assert clock.seconds > 1_001


def test_only_the_storage_s_time_counts_against_the_limit_of_a_transfer(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute for each file that is hashed or copied here."""
    clock = Clock()
    monkeypatch.setattr(shared_storage, "monotonic", clock)
    describe, copy = artifact_storage._describe_file, artifact_storage._copy_intact

    def describe_slowly(path: Path) -> dict[str, Any] | None:
        clock.seconds += 60
        return describe(path)

    def copy_slowly(source: Path, target: Path, expected: object) -> bool:
        clock.seconds += 60
        return copy(source, target, expected)

    monkeypatch.setattr(artifact_storage, "_describe_file", describe_slowly)
    monkeypatch.setattr(artifact_storage, "_copy_intact", copy_slowly)

    path = artifact_storage.fetch(champion, tmp_path / "models")
    (path / "song_ids.npy").unlink()
    artifact_storage.copy_files(champion.label, tmp_path / "models", tmp_path / "backup")

    artifact.verify_files(tmp_path / "backup", champion.artifact_sha256)


def test_a_download_that_arrives_byte_by_byte_is_given_up(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.server.set_faults(trickle="manifest.json")
    monkeypatch.setattr(shared_storage, "MAX_IDLE_SECONDS", 0.1)

    with pytest.raises(artifact.ArtifactUnavailable, match=f"{champion.label} takes too long"):
        artifact_storage.fetch(champion, tmp_path)


def test_a_file_whose_connection_breaks_is_asked_for_again(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.server.set_faults(**{"break": "song_ids.npy", "times": 2})

    artifact_storage.fetch(champion, tmp_path)

    artifact.verify_files(tmp_path / champion.label, champion.artifact_sha256)


def test_the_next_attempt_downloads_only_what_is_missing(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    here = [path.name for path in interrupt_download(champion, bucket, tmp_path).glob("*.npy")]
    kept = [name for name in here if name != "song_ids.npy"]
    for name in kept:
        bucket.remove(f"{champion.label}/{name}")

    artifact_storage.fetch(champion, tmp_path)

    assert len(kept) > 1
    artifact.verify_files(tmp_path / champion.label, champion.artifact_sha256)


def test_what_a_download_left_is_deleted_after_a_day(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    for name, seconds in ((".download-2026w01.1", 90_000), (".download-2026w01.2", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - seconds,) * 2)

    artifact_storage.delete_unused_copies(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [".download-2026w01.2"]


@pytest.mark.parametrize(
    ("status", "code", "repeated"), [(403, "AccessDenied", 0), (503, "SlowDown", 2), (429, "SlowDown", 2)]
)
def test_a_refusal_is_not_asked_for_again(
    champion: ModelVersion,
    bucket: Bucket,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    status: int,
    code: str,
    repeated: int,
) -> None:
    bucket.server.set_faults(status=status, code=code, only="song_ids.npy")

    with pytest.raises(artifact.ArtifactUnavailable, match=code):
        artifact_storage.fetch(champion, tmp_path)

    assert caplog.text.count("download_repeated") == repeated


def test_attempts_for_a_file_end_with_the_time_of_the_transfer(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gives up a silent server after twice 20 seconds."""
    clock = Clock()
    monkeypatch.setattr(shared_storage, "monotonic", clock)
    # The files before it earn no time.
    monkeypatch.setattr(shared_storage, "MIN_BYTES_PER_SECOND", 2**40)
    storage: Any = shared_storage.shared_storage()
    open_object = type(storage)._open

    def open_silent(shared: Any, name: str, mode: str = "rb") -> Any:
        if name.endswith("song_ids.npy"):
            clock.seconds += 40
            raise ReadTimeoutError(endpoint_url="https://s3.example")
        return open_object(shared, name, mode)

    monkeypatch.setattr(type(storage), "_open", open_silent)

    with pytest.raises(artifact.ArtifactUnavailable, match=r"ReadTimeoutError: s3\.example"):
        artifact_storage.fetch(champion, tmp_path)

    assert clock.seconds == 1_080


def interrupt_download(version: ModelVersion, bucket: Bucket, folder: Path) -> Path:
    """Leave a partial download of the version, and return its folder."""
    bucket.server.set_faults(**{"break": "song_ids.npy", "times": 3})
    with pytest.raises(artifact.ArtifactUnavailable):
        artifact_storage.fetch(version, folder)
    return folder / partial_download(version)


def test_a_download_that_an_attempt_continued_is_kept_for_another_day(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    left = interrupt_download(champion, bucket, tmp_path)
    os.utime(left, (time.time() - 90_000,) * 2)

    interrupt_download(champion, bucket, tmp_path)
    artifact_storage.delete_unused_copies(tmp_path)

    assert left.is_dir()


def test_a_download_under_way_is_not_deleted_however_old(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_manifest = artifact_storage._read_manifest

    def read_while_another_process_cleans_up(*arguments: Any) -> bytes:
        os.utime(tmp_path / partial_download(champion), (time.time() - 90_000,) * 2)
        artifact_storage.delete_unused_copies(tmp_path)
        return read_manifest(*arguments)

    monkeypatch.setattr(artifact_storage, "_read_manifest", read_while_another_process_cleans_up)

    path = artifact_storage.fetch(champion, tmp_path)

    artifact.verify_files(path, champion.artifact_sha256)


def test_a_download_whose_folder_somebody_deletes_is_no_damage_of_the_model(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_manifest = artifact_storage._read_manifest

    def read_while_somebody_deletes(*arguments: Any) -> bytes:
        shutil.rmtree(tmp_path / partial_download(champion))
        return read_manifest(*arguments)

    with monkeypatch.context() as deleting:
        deleting.setattr(artifact_storage, "_read_manifest", read_while_somebody_deletes)
        with pytest.raises(artifact.ArtifactUnavailable, match="can't be written"):
            artifact_storage.fetch(champion, tmp_path)

    artifact_storage.read(champion, tmp_path)


def test_a_partial_download_survives_the_download_of_another_version(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    newer = small_version(champion, "2026w01.1", tmp_path / "one")
    (tmp_path / ".download-damaged-2026w01.2").mkdir()

    left = interrupt_download(champion, bucket, tmp_path)
    artifact_storage.fetch(newer, tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"one", newer.label, left.name}


# Downloads the version with this label and hash into the folder, and prints what is there.
DOWNLOAD = """
import sys
from pathlib import Path
import django
django.setup()
from recommender.models import ModelVersion
from recommender.registry import artifact_storage
label, sha256, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
artifact_storage.read(ModelVersion(label=label, artifact_sha256=sha256), folder)
print(*(path.name for path in folder.iterdir()))
"""


def test_partial_downloads_of_other_versions_make_room_on_a_full_disk(
    champion: ModelVersion, bucket: Bucket, trained: Path, tmp_path: Path
) -> None:
    small_disk = tmp_path / "small"
    small_disk.mkdir()
    # Room for the champion, less what the other download occupies.
    pages = sum(-(-path.stat().st_size // 4_096) for path in (trained / champion.label).iterdir())
    mount = f"mount -t tmpfs -o size={4_096 * (pages + 32)} tmpfs {small_disk}"
    left = small_disk / ".download-0-2026w01.1"
    fill = f"mkdir {left} && head -c {4_096 * 64} /dev/zero > {left}/song_ids.npy"
    if (
        shutil.which("unshare") is None
        or subprocess.run([*OWN_MOUNTS, mount], check=False, capture_output=True).returncode
    ):
        pytest.skip("this machine lets nobody mount a disk of their own")

    done = subprocess.run(
        [*OWN_MOUNTS, f'{mount} && {fill} && exec "$@"', "sh", sys.executable, "-c", DOWNLOAD,
         champion.label, champion.artifact_sha256, str(small_disk)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3",
             "MODEL_STORAGE": f"s3://{BUCKET}/{bucket.prefix}"},
    )  # fmt: skip

    assert done.stdout.split() == [champion.label], done.stderr


def test_a_partial_download_of_another_user_is_in_nobody_s_way(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = interrupt_download(champion, bucket, tmp_path)
    # As closed to another user as a folder of root.
    shutil.rmtree(left)
    left.write_bytes(b"")
    monkeypatch.setattr(os, "getuid", lambda: 12_345)

    path = artifact_storage.fetch(champion, tmp_path)

    artifact.verify_files(path, champion.artifact_sha256)


def test_an_object_is_read_while_it_arrives(bucket: Bucket) -> None:
    """Otherwise the deadline would be looked at only after each whole object."""
    shared = shared_storage.shared_storage()
    assert shared is not None
    bucket.put("large", bytes(4 * 2**20))
    bucket.server.set_faults(silent_after_bytes=2**20)

    chunks = shared_storage.read_chunks(shared, "large")
    first = next(chunks)
    bucket.server.set_faults()

    assert len(first) + sum(map(len, chunks)) == 4 * 2**20


def test_what_a_bucket_that_was_away_kept_is_deleted_by_the_next_run(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    old = small_version(champion, "2026w01.1", tmp_path)

    with bucket.away():
        assert artifact_folders.delete_old_artifacts(tmp_path, 0, NOW) == 1
    assert bucket.names(old.label)
    assert artifact_folders.delete_old_artifacts(tmp_path, 0, NOW) == 0

    assert bucket.names(old.label) == []
    assert not (tmp_path / old.label).exists()


def test_a_challenger_is_downloaded_again_a_minute_after_the_bucket_was_away(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    clock = Clock()
    loader = ModelLoader(tmp_path, clock)

    with bucket.away(), pytest.raises(artifact.ArtifactUnavailable):
        loader.load_challenger(champion)
    with pytest.raises(artifact.ArtifactUnavailable):
        loader.load_challenger(champion)
    clock.seconds += RETRY_DOWNLOAD_AFTER

    assert loader.load_challenger(champion).version == champion


def test_a_challenger_with_a_damaged_copy_is_downloaded_again_when_the_bucket_is_back(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    clock = Clock()
    loader = ModelLoader(tmp_path, clock)
    file = artifact_storage.fetch(champion, tmp_path) / "labels.npy"
    file.write_bytes(file.read_bytes()[:-1])

    with bucket.away(), pytest.raises(artifact.ArtifactUnavailable):
        loader.load_challenger(champion)
    clock.seconds += RETRY_DOWNLOAD_AFTER

    assert loader.load_challenger(champion).version == champion


def test_a_loaded_challenger_does_not_wait_for_a_download(champion: ModelVersion, tmp_path: Path) -> None:
    loader = ModelLoader(tmp_path)
    loaded = loader.load_challenger(champion)
    # As another thread does while it downloads a new champion.
    assert loader._lock.acquire(blocking=False)

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(loader.load_challenger, champion)
        try:
            assert found.result(timeout=60) is loaded
        finally:
            loader._lock.release()


def test_a_bucket_that_is_away_is_asked_once_and_not_for_every_former_champion(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for label in ("2026w50.1", "2026w50.2", "2026w50.3"):
        version = small_version(champion, label, tmp_path / "trainings")
        registry.promote(version, reason="The newest.", by="test", verify=no_verification)

    with bucket.away():
        loaded = ModelLoader(tmp_path / "copies").reload()

    assert loaded.model is None
    refused = [one.message for one in caplog.records if one.message.startswith("artifact_refused")]
    assert len(refused) == 1
    assert "2026w50.3" in refused[0]


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (ValueError("Invalid header value b'Credential=AKIA1/x, Signature=abc'"), "ValueError"),
        (
            EndpointConnectionError(endpoint_url="https://user:passw0rd@s3.example:9000/bucket?key=abc"),
            "EndpointConnectionError: s3.example:9000",
        ),
    ],
)
def test_a_storages_error_names_the_server_and_no_credentials(error: Exception, described: str) -> None:
    with (
        pytest.raises(artifact.ArtifactUnavailable) as raised,
        shared_storage.translated_errors(InMemoryStorage()),
    ):
        raise error

    assert str(raised.value).endswith(f" can't be used: {described}")


def test_a_backup_holds_models_that_this_machine_has_not_copied_and_a_restore_uploads_them(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_snapshot", lambda: nullcontext("default"))
    small_version(champion, "2026w01.1", tmp_path / "one")
    bucket.put("2026w02.1/training", b"an upload in progress")
    before = set(bucket.names())

    made = backup.make_backup(tmp_path / "backups", tmp_path / "one", NOW)

    manifest = backup.verify_backup(made.folder)
    expected = {name for name in before if not name.endswith("/training")}
    assert set(manifest["files"]) == expected
    for model in reversed(backup._models()):
        model._default_manager.all()._raw_delete("default")
    with pytest.raises(backup.NotEmpty, match=f"s3://{BUCKET}/{bucket.prefix} has models .2026w01.1, 2026w"):
        backup.restore_backup(made.folder, tmp_path / "three")
    for name in before:
        bucket.remove(name)
    # A machine that has copies, of versions with the same labels too.
    (tmp_path / "one" / champion.label).mkdir()
    (tmp_path / "one" / "2026w02.2").mkdir()
    backup.restore_backup(made.folder, tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["2026w01.1", champion.label]
    assert {name for name in bucket.names() if not name.endswith("/training")} == expected
    artifact_storage.verify(champion, tmp_path / "four")


@pytest.mark.parametrize("file", ["labels.npy", "manifest.json"])
def test_a_version_that_lost_an_object_is_left_out_of_the_backup_and_named(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setattr(backup, "_snapshot", lambda: nullcontext("default"))
    small_version(champion, "2026w01.1", tmp_path / "one")
    bucket.remove(f"2026w01.1/{file}")

    made = backup.make_backup(tmp_path / "backups", tmp_path / "two", NOW)

    manifest = backup.verify_backup(made.folder)
    assert {name.split("/")[0] for name in manifest["files"]} == {champion.label}
    assert manifest["damaged"] == made.damaged
    assert list(made.damaged) == ["2026w01.1"]
    assert f"s3://{BUCKET}/{bucket.prefix}/2026w01.1" in made.damaged["2026w01.1"]
    assert file == "manifest.json" or file in made.damaged["2026w01.1"]


def test_the_versions_with_a_listeners_plays_are_found_in_the_bucket(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, settings: Settings
) -> None:
    settings.MODEL_STORAGE = tmp_path
    listener = 470

    assert versions_with_plays(listener, tmp_path) == [champion.label]
    with bucket.away(), pytest.raises(CommandError, match=r"Nothing was deleted: s3://"):
        call_command("forgetlistener", listener)


def test_a_bucket_that_is_away_is_an_incident_until_it_is_back(bucket: Bucket) -> None:
    with bucket.refusing(403, "InvalidAccessKeyId"):
        health_checks.model_storage_away(NOW)
    opened = Incident.objects.get(key="model_storage_away")
    assert opened.resolved_at is None
    assert "InvalidAccessKeyId" in opened.facts["reason"]

    health_checks.model_storage_away(NOW + timedelta(minutes=1))

    opened.refresh_from_db()
    assert opened.resolved_at is not None


def test_a_folder_of_copies_that_can_t_be_read_hides_no_state_of_the_bucket(
    champion: ModelVersion,
    bucket: Bucket,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MODEL_STORAGE = tmp_path

    def refuse(folder: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    checks = (health_checks.model_storage_away, health_checks.unused_copies)

    run_checks(NOW, [], lambda now: None, host_checks=checks)

    [incident] = Incident.objects.all()
    assert incident.key == "watchdog_check_failed:unused_copies"
    assert "PermissionError" in incident.facts["error"]


def test_a_machine_that_reaches_the_bucket_does_not_end_what_another_one_reports(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(host: str, minute: int) -> None:
        monkeypatch.setattr(socket, "gethostname", lambda: host)
        health_checks.model_storage_away(NOW + timedelta(minutes=minute))

    for minute in (0, 2):
        with bucket.refusing(403, "InvalidAccessKeyId"):
            check("web-1", minute)
        check("web-2", minute + 1)
    [opened] = Incident.objects.all()
    still_open = opened.resolved_at is None
    check("web-1", 4)

    opened.refresh_from_db()
    assert still_open
    assert opened.resolved_at is not None


def problems(*, deploy: bool) -> list[tuple[str | None, str]]:
    found = checks.run_checks(include_deployment_checks=deploy, tags=["settings"])
    return [
        (one.id, f"{one.msg} {one.hint}") for one in found if one.id in {"moovitamix.W010", "moovitamix.E005"}
    ]


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """No file of more than 100 bytes can be written below the folder."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def file_in_the_way(folder: Path) -> Iterator[None]:
    """The folder can't be opened."""
    folder.rename(folder.with_name("moved"))
    folder.write_bytes(b"")
    yield
    folder.unlink()
    folder.with_name("moved").rename(folder)


@pytest.mark.parametrize(
    ("fault", "reason"), [(full_disk, "File too large"), (file_in_the_way, "exists|Not a directory")]
)
def test_the_previous_model_serves_while_a_download_can_t_be_written(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path,
    fault: Callable[[Path], AbstractContextManager[None]], reason: str,
) -> None:  # fmt: skip
    newer = small_version(champion, "2026w01.1", tmp_path / "one")
    folder = tmp_path / "two"
    artifact_storage.fetch(champion, folder)
    registry.promote(newer, reason="better", by="a test", verify=no_verification)

    with fault(folder), pytest.raises(artifact.ArtifactUnavailable, match=reason):
        artifact_storage.fetch(newer, folder)
    with full_disk(folder):
        loaded = ModelLoader(folder).current_model()

    assert loaded.model is not None
    assert loaded.model.version == champion
    assert loaded.degraded is not None
    assert "File too large" in loaded.degraded
    artifact_storage.read(newer, folder)


def test_a_download_succeeds_although_other_copies_can_t_be_cleaned_up(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = small_version(champion, "2026w01.1", tmp_path, role=ModelVersion.Role.RETIRED)
    small_version(champion, "2026w01.2", tmp_path)
    is_dir = Path.is_dir

    def is_dir_and_then_gone(path: Path, **options: bool) -> bool:
        """As if another process deleted the copy after this one found it."""
        found = is_dir(path, **options)
        if path == tmp_path / gone.label:
            shutil.rmtree(path, ignore_errors=True)
        return found

    monkeypatch.setattr(Path, "is_dir", is_dir_and_then_gone)

    artifact_storage.read(champion, tmp_path)

    assert not (tmp_path / gone.label).exists()


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-1] + b"!")]
)
def test_a_backup_takes_from_a_damaged_copy_what_the_bucket_confirms(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    version = small_version(champion, "2026w01.1", tmp_path / "one")
    damage(tmp_path / "one" / version.label / "labels.npy")

    names = artifact_storage.copy_files(version.label, tmp_path / "one", tmp_path / "backup")

    assert names == ["labels.npy", "manifest.json", "song_ids.npy"]
    artifact.verify_files(tmp_path / "backup", version.artifact_sha256)


def test_a_backup_takes_intact_files_from_the_copy_and_leaves_out_what_the_bucket_lost(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    version = small_version(champion, "2026w01.1", tmp_path / "one")
    flip_a_bit(bucket, f"{version.label}/labels.npy")

    artifact_storage.copy_files(version.label, tmp_path / "one", tmp_path / "backup")
    artifact.verify_files(tmp_path / "backup", version.artifact_sha256)
    bucket.remove(f"{version.label}/manifest.json")

    assert artifact_storage.copy_files(version.label, tmp_path / "one", tmp_path / "other") == []


def test_an_upload_of_a_taken_label_harms_no_artifact_of_the_other_database(
    champion: ModelVersion, bucket: Bucket, tmp_path: Path
) -> None:
    ours = {"training": artifact_folders.training_signature(TrainingRun.objects.get())}
    bucket.put("2026w01.1/training", b"1 2026-01-01T00:00:00+00:00 elsewhere 1")
    bucket.put("2026w01.1/manifest.json", b"{}")
    before = bucket.names("2026w01.1")

    with pytest.raises(artifact.ArtifactExists):
        artifact_storage.write(tmp_path / "2026w01.1", {}, ours)
    assert not (tmp_path / "2026w01.1").exists()
    # As if the process had been killed before it removed the folder.
    artifact.write_arrays(tmp_path / "2026w01.1", {}, ours)
    artifact_folders.prepare_storage(tmp_path)

    assert not (tmp_path / "2026w01.1").exists()
    assert bucket.names("2026w01.1") == before


def test_a_failed_restore_deletes_only_what_it_uploaded(
    champion: ModelVersion,
    bucket: Bucket,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backup, "_snapshot", lambda: nullcontext("default"))
    small_version(champion, "2026w01.1", tmp_path / "one")
    last = small_version(champion, "2099w01.1", tmp_path / "one")
    made = backup.make_backup(tmp_path / "backups", tmp_path / "one", NOW)
    for name in bucket.names():
        bucket.remove(name)
    for model in reversed(backup._models()):
        model._default_manager.all()._raw_delete("default")
    upload, taken = artifact_storage.upload, [f"{last.label}/training", "2099w02.1/training"]

    def upload_beside_another_database(path: Path) -> None:
        for name in taken:
            bucket.put(name, b"another database")
        upload(path)

    monkeypatch.setattr(artifact_storage, "upload", upload_beside_another_database)

    settings.MODEL_STORAGE = tmp_path / "two"
    with pytest.raises(CommandError, match=rf"{last.label} already\. .* Name an empty one in MODEL_STORAGE"):
        call_command("restore", made.folder)

    assert bucket.names() == taken
    assert list((tmp_path / "two").iterdir()) == []


def test_check_names_what_is_missing(
    bucket: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problems(deploy=True) == []
    assert bucket.names() == []
    with bucket.refusing(403, "SignatureDoesNotMatch"):
        assert problems(deploy=False) == []
        [(code, text)] = problems(deploy=True)
    assert code == "moovitamix.E005"
    assert "SignatureDoesNotMatch" in text
    assert "AWS_SECRET_ACCESS_KEY" in text
    assert SECRET_KEY not in text

    monkeypatch.setitem(sys.modules, "storages.backends.s3", None)
    monkeypatch.delitem(sys.modules, "moovitamix.backends.s3_models")
    settings.STORAGES = dict(settings.STORAGES)
    [(code, text)] = problems(deploy=True)
    assert code == "moovitamix.W010"
    assert "pip install '.[s3]'" in text
