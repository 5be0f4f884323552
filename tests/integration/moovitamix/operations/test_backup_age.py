"""The age of the newest backup is watched, if backups are set up."""

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.alerts.incidents import open_incidents
from moovitamix.operations.backup import MANIFEST
from moovitamix.tasks import backup_fresh

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def check(now: datetime) -> list[tuple[str, Any]]:
    backup_fresh(now)
    return list(open_incidents().values_list("kind", "facts__age_hours"))


def back_up(folder: Path, at: datetime) -> None:
    backup = folder / f"{at:%Y%m%dT%H%M%SZ}"
    backup.mkdir()
    (backup / MANIFEST).write_text(json.dumps({"made_at": at.isoformat()}))


def test_a_backup_that_is_missing_or_old_is_reported_until_there_is_a_new_one(
    settings: Any, tmp_path: Path
) -> None:
    settings.BACKUP_DIR = None
    not_set_up = check(NOW)
    settings.BACKUP_DIR = tmp_path
    missing = check(NOW)
    back_up(tmp_path, NOW)
    made = check(NOW)
    old = check(NOW + 27 * HOUR)
    back_up(tmp_path, NOW + 27 * HOUR)

    new = check(NOW + 28 * HOUR)

    assert not_set_up == []
    assert missing == [("backup_old", None)]
    assert made == []
    assert old == [("backup_old", 27.0)]
    assert new == []


def test_a_damaged_manifest_is_no_backup(settings: Any, tmp_path: Path) -> None:
    settings.BACKUP_DIR = tmp_path
    back_up(tmp_path, NOW)
    (next(tmp_path.iterdir()) / MANIFEST).write_text("{")

    assert check(NOW) == [("backup_old", None)]


def test_a_machine_without_backups_does_not_end_the_incident_of_the_one_that_makes_them(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_on(host: str, folder: Path | None, minute: int) -> list[tuple[str, Any]]:
        monkeypatch.setattr(socket, "gethostname", lambda: host)
        settings.BACKUP_DIR = folder
        return check(NOW + minute * HOUR / 60)

    found = check_on("worker", tmp_path, 0)
    elsewhere = check_on("web", None, 1)
    back_up(tmp_path, NOW)

    assert found == elsewhere == [("backup_old", None)]
    assert check_on("worker", tmp_path, 2) == []
