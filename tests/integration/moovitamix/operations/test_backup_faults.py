"""Backups that fail leave nothing behind, and manifests that others wrote are refused."""

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from ingestion.alerts.incidents import open_incidents
from ingestion.models import Incident
from moovitamix.operations import backup
from moovitamix.tasks import backup_fresh
from recommender import services
from recommender.engine import artifact
from recommender.models import ModelVersion
from tests.support.builders.experiments import make_version

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 29, 3, tzinfo=UTC)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup of an empty database and one model."""
    # A test may use no further connection; test_backup.py makes backups with one.
    monkeypatch.setattr(backup, "_snapshot", lambda: nullcontext("default"))
    storage = tmp_path / "models"
    (storage / "2026w48.1").mkdir(parents=True)
    (storage / "2026w48.1" / "centers.npy").write_bytes(b"a model")
    return backup.make_backup(tmp_path / "backups", storage, NOW).folder


def change_manifest(made: Path, **changes: Any) -> None:
    file = made / backup.MANIFEST
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.slow
def test_a_backup_that_fails_leaves_no_files(made: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not empty"):
        backup.make_backup(made.parent, tmp_path / "models", NOW)

    assert list(made.parent.iterdir()) == [made]


def test_what_a_killed_backup_left_is_deleted_after_a_day_and_never_counts(made: Path) -> None:
    killed, running = (
        made.parent / ".20261128T030000Z.unfinished",
        made.parent / ".20261129T030001Z.unfinished",
    )
    for folder in (killed, running):
        folder.mkdir()
        (folder / backup.MANIFEST).write_text(json.dumps({"made_at": "2026-11-29T09:00:00+00:00"}))
    os.utime(killed, (time.time() - 90_000,) * 2)

    assert backup.newest_backup(made.parent) == NOW
    assert backup.delete_old_backups(made.parent, 5) == [killed]
    assert set(made.parent.iterdir()) == {made, running}


def test_a_negative_number_of_backups_to_keep_deletes_none(made: Path) -> None:
    with pytest.raises(CommandError, match="--keep is at least 1"):
        call_command("backup", str(made.parent), keep=-1)

    assert list(made.parent.iterdir()) == [made]


@pytest.mark.parametrize("name", ["../outside.npy", "/outside.npy", "a/../../outside.npy"])
def test_a_manifest_can_not_write_outside_the_folder_of_models(made: Path, tmp_path: Path, name: str) -> None:
    change_manifest(made, files={name: "0" * 64})

    with pytest.raises(backup.BackupDamaged, match="outside the backup"):
        backup.restore_backup(made, tmp_path / "restored")


@pytest.mark.parametrize("text", ["[]", "null", "{", '{"format": 1}'])
def test_a_manifest_of_another_form_is_refused_and_no_newest_backup(made: Path, text: str) -> None:
    (made / backup.MANIFEST).write_text(text)

    with pytest.raises(backup.BackupDamaged):
        backup.verify_backup(made)
    assert backup.newest_backup(made.parent) is None


@pytest.mark.slow
def test_a_restore_that_fails_leaves_no_models(made: Path, tmp_path: Path) -> None:
    tables = json.loads((made / backup.MANIFEST).read_text())["tables"]
    tables["ingestion.song"]["rows"] += 1
    change_manifest(made, tables=tables)

    with pytest.raises(backup.BackupDamaged, match=r"ingestion\.song has 0 rows"):
        backup.restore_backup(made, tmp_path / "restored")

    assert list((tmp_path / "restored").iterdir()) == []
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (Path.unlink, "labels.npy"),
        (lambda file: file.write_bytes(b"another"), "labels.npy"),
        (lambda file: shutil.rmtree(file.parent), ""),
    ],
)
def test_a_damaged_model_is_left_out_of_the_backup_and_reported(
    made: Path, tmp_path: Path, settings: Any, damage: Callable[[Path], object], file: str
) -> None:
    storage = settings.MODEL_STORAGE = tmp_path / "models"
    settings.BACKUP_DIR = made.parent
    for number in (1, 2, 3):
        path = storage / f"2026w45.{number}"
        digest = artifact.write_arrays(path, {"labels": np.arange(9), "centers": np.arange(9)}, {})
        make_version(path.name, artifact_sha256=digest)
    # Being deleted, as the files of old versions are.
    ModelVersion.objects.filter(label="2026w45.3").update(files_deleted_at=NOW)
    for label in ("2026w45.2", "2026w45.3"):
        damage(storage / label / "labels.npy")

    with pytest.raises(
        CommandError, match=rf"^2026w45.2 is not in the backup: .*{storage}/2026w45.2"
    ) as refused:
        call_command("backup", str(made.parent))
    [incomplete] = set(made.parent.iterdir()) - {made}
    manifest = backup.verify_backup(incomplete)
    backup_fresh(timezone.now())
    reported = Incident.objects.get()
    services.delete_version_files("2026w45.2", reason="Nobody has them.", by="ada")
    shutil.rmtree(incomplete)
    call_command("backup", str(made.parent))
    backup_fresh(timezone.now())

    assert file in str(refused.value)
    assert {name.split("/")[0] for name in manifest["files"]} == {"2026w45.1", "2026w48.1"}
    assert (reported.key, reported.facts["version"]) == ("backup_incomplete", ["2026w45.2"])
    assert not open_incidents().exists()


def test_a_version_that_is_trained_during_a_backup_is_not_missed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_folder = backup._copy_folder

    def copy_while_a_training_ends(storage: Path, target: Path) -> set[str]:
        found = copy_folder(storage, target)
        make_version("2026w49.1")
        return found

    monkeypatch.setattr(backup, "_copy_folder", copy_while_a_training_ends)

    assert backup.make_backup(made.parent, tmp_path / "models", timezone.now()).damaged == {}
