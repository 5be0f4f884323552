"""A full disk: the run fails with the reason, and the watchdog warns before; on a small disk."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.support.project import ROOT, Project
from tests.support.servers.alert_receivers import AlertRecipients

MANAGE = f"{sys.executable} {ROOT / 'manage.py'}"


def with_disk(folder: Path, size: str, then: str) -> list[str]:
    """A shell command that sees `folder` as a disk of this size; other processes do not."""
    script = f"mount -t tmpfs -o size={size} tmpfs {folder} && {then}"
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", script]


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """A folder that `with_disk` can turn into a small disk."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        shutil.which("unshare") is None
        or subprocess.run(with_disk(folder, "64k", "true"), check=False).returncode
    ):
        pytest.skip("this machine lets nobody mount a disk of their own")
    return folder


def said(project: Project, command: list[str], **variables: Any) -> tuple[int, str]:
    process = project.start(*command, **variables)
    output = process.communicate(timeout=600)[0]
    return process.returncode, output


def found(project: Project) -> tuple[int, list[str]]:
    project.shell(
        "from ingestion.models import Heartbeat, HostRound\n"
        "for model in (Heartbeat, HostRound): model.objects.all().delete()"
    )
    done = project.manage("watchdog", "--json", check=False)
    return done.returncode, [one["key"] for one in json.loads(done.stdout)["incidents"]]


def test_a_run_on_a_full_disk_fails_and_is_told_of_until_there_is_room(
    sqlite_project: Project, people: AlertRecipients, staging: Path, world: World
) -> None:
    sqlite_project.environment.update(people.settings())
    with DemoServer(world) as server:
        variables = {"BASE_URL": server.url, "STAGING_DIR": str(staging)}
        code, words = said(
            sqlite_project, with_disk(staging, "64k", f"exec {MANAGE} runingest --json"), **variables
        )
        told, mail, heard = found(sqlite_project), people.last_mail_text(), people.new_subjects()
        sqlite_project.manage("runingest", BASE_URL=server.url)

    assert code == 1
    assert "No space left on device" in words
    assert "STAGING_DIR" in words
    assert told == (1, ["run"])
    assert heard == ["Critical: The ingestion run failed"]
    assert "No space left on device" in mail
    assert people.new_subjects() == ["Resolved: The ingestion run failed"]
    assert "Run 2 resolved it." in people.last_mail_text()
    assert found(sqlite_project) == (0, [])


def test_a_disk_that_is_nearly_full_is_told_of_before(
    sqlite_project: Project, people: AlertRecipients, staging: Path
) -> None:
    sqlite_project.environment.update(people.settings())
    fill = f"head -c 1020000 /dev/zero > {staging}/old"
    command = with_disk(staging, "1m", f"{fill} && exec {MANAGE} watchdog")

    code, words = said(sqlite_project, command, STAGING_DIR=str(staging))
    (told,) = people.new_subjects()
    after = found(sqlite_project)

    assert code == 1
    assert told.startswith("Critical: Disk nearly full (staged pages): 2")
    assert "Disk nearly full (staged pages): 2" in words
    assert "% free" in words
    assert after == (0, [])
    assert people.new_subjects() == [told.replace("Critical", "Resolved")]
