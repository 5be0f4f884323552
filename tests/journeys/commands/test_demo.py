"""The demo: everything starts, can be opened, and stops."""

import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from moovitamix.management import processes
from moovitamix.management.processes import child_process, wait_for_url
from tests.support.project import ROOT, Project, wait_for_line

SMALL = ("--weeks=0", "--songs=60", "--listeners=20", "--days=5")


def start(project: Project, folder: Path, *arguments: str) -> "tuple[subprocess.Popen[str], str]":
    process = project.start(
        sys.executable, str(ROOT / "manage.py"), "demo", f"--folder={folder}", *SMALL, *arguments
    )
    return process, wait_for_line(process, "Ctrl-C stops everything.")


def address(said: str, what: str) -> str:
    found = re.search(rf"{what}\s+(http://127\.0\.0\.1:\d+\S*)", said)
    assert found is not None, said
    return found[1]


def _log_in(session: requests.Session, admin: str, login: "re.Match[str] | None") -> requests.Response:
    assert login is not None
    page = session.get(f"{admin}login/", timeout=120)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert token is not None
    fields = {"username": login[1], "password": login[2], "csrfmiddlewaretoken": token[1]}
    return session.post(f"{admin}login/?next=/admin/", data=fields, timeout=120)


def test_the_demo_shows_ingested_data_stops_on_ctrl_c_and_goes_on_with_what_is_there(
    sqlite_project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process, first = start(sqlite_project, folder, f"--web-port={port}", "--source-port=0")
        admin = address(first, "web admin")

    children = psutil.Process(process.pid).children(recursive=True)
    session = requests.Session()
    login = re.search(r"log in as\s+(\w+) / (\S+)", first)
    overview = _log_in(session, admin, login)
    songs = session.get(f"{admin}ingestion/song/", timeout=120)
    logo = session.get(f"{admin.removesuffix('admin/')}static/logo.svg", timeout=120)
    session.close()

    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=600)[0]

    # The password is shown as soon as it is set: what comes after may be interrupted.
    assert first.index("user admin with the password") < first.index("Ingesting")
    assert f":{port}/" not in admin
    assert re.search(r"Run \d+ succeeded", overview.text)
    assert songs.text.count("field-artist") > 10
    assert logo.status_code == 200
    assert "Stopped." in rest
    assert process.returncode == 0
    assert len(children) >= 2
    assert psutil.wait_procs(children, timeout=600)[1] == []
    # The user's own database holds nothing of it.
    assert sqlite_project.shell("from ingestion.models import *; print(Song.objects.count())") == "0"

    second = sqlite_project.manage(
        "demo", f"--folder={folder}", "--once", "--web-port=0", "--source-port=0", *SMALL, timeout=600
    ).stdout

    assert login is not None
    assert login[2] not in second
    assert "with the password shown at the first start" in second
    assert re.search(r"\d+ songs: 0 new, 0 changed", second)
    assert not any(login[2].encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_demo_that_was_stopped_before_it_showed_its_password_shows_another_one(
    sqlite_project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    database = str(folder / "demo.db")
    shutil.copyfile(tmp_path / "music_data.db", database)
    sqlite_project.manage(
        "createsuperuser", "--noinput", "--username=admin", "--email=admin@example.org",
        DATABASE_NAME=database, DJANGO_SUPERUSER_PASSWORD="never-seen",
    )  # fmt: skip

    create = (
        "from pathlib import Path\n"
        "from moovitamix.management.demo_installation import DemoInstallation\n"
        f"made = DemoInstallation(Path({str(folder)!r}))\nmade.create_admin()\n"
        "print(made.results['password'])"
    )
    said = sqlite_project.manage("shell", "--no-imports", "-c", create, DATABASE_NAME=database).stdout

    password = re.search(r"user admin with the password (\S+),", said)
    assert password is not None
    assert password[1] == said.splitlines()[-1]
    code = "from django.contrib.auth.models import User; print(User.objects.get().check_password('%s'))"
    who = sqlite_project.manage("shell", "--no-imports", "-c", code % password[1], DATABASE_NAME=database)
    assert who.stdout == "True\n"


def test_what_the_demo_starts_is_not_asked_for_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setattr(processes, "START_TIMEOUT", 60.0)
    idle = [sys.executable, "-c", "import threading; threading.Event().wait()"]

    with DemoServer(World(songs=5, listeners=2, days=1)) as server:
        with child_process(idle, {}, subprocess.DEVNULL) as process:
            wait_for_url(server.url, process, tmp_path / "log")
            was_running = process.poll() is None

    assert was_running


def test_a_demo_whose_settings_are_wrong_says_what_to_mend_and_starts_no_web(
    sqlite_project: Project, tmp_path: Path
) -> None:
    static = str(ROOT / "moovitamix" / "static")
    arguments = ("demo", f"--folder={tmp_path}", "--once", "--source-port=0", *SMALL)

    done = sqlite_project.manage(*arguments, check=False, STATIC_ROOT=static)

    assert done.returncode == 1
    assert "(staticfiles.E002)" in done.stderr
    assert "failed; see its output above." in done.stderr
    assert "Starting the web" not in done.stdout


def test_simulated_weeks_are_served_with_their_source_and_not_simulated_twice(
    sqlite_project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "demo" / "simulated"
    arguments = ("demo", f"--folder={folder.parent}", "--web-port=0", "--source-port=0")
    sizes = ("--weeks=1", "--songs=60", "--listeners=10")

    first = sqlite_project.manage(*arguments, *sizes, "--once", timeout=600).stdout
    with closing(sqlite3.connect(folder / "rehearsal.db")) as connection, connection:
        connection.execute(FORGET_A_MIGRATION)
    process = sqlite_project.start(sys.executable, str(ROOT / "manage.py"), *arguments)
    second = wait_for_line(process, "Ctrl-C stops everything.")
    third = sqlite_project.manage(*arguments, "--weeks=8", check=False)
    with requests.Session() as session:
        _log_in(session, address(second, "web admin"), re.search(r"log in as\s+(\w+) / (\S+)", first))
        models = session.get(address(second, "models"), timeout=120)
    database: Any = {"DATABASE_NAME": str(folder / "rehearsal.db"), "VAR_DIR": str(folder)}
    source = address(second, "demo source").partition("/tracks")[0]
    imported = sqlite_project.manage("runingest", "--json", BASE_URL=source, **database).stdout
    missing = sqlite_project.manage("showmigrations", "ingestion", **database).stdout.count("[ ]")
    newest = sqlite_project.manage("shell", "--no-imports", "-c", NEWEST_SESSION, **database).stdout.strip()

    assert "without a planted cause" in first
    assert "These weeks were simulated earlier." in second
    assert third.returncode == 1
    assert "A demo is running in" in third.stderr
    # As if the weeks had been simulated by the previous version.
    assert missing == 0
    assert models.status_code == 200
    assert "mix" in models.text
    counts = json.loads(imported)["resources"]
    assert {(one["new"], one["changed"], one["missing"]) for one in counts.values()} == {(0, 0, 0)}
    # The weeks end with yesterday, before 07:00 UTC with the day before: nothing is stale or in the future.
    assert newest in {"1", "2"}


FORGET_A_MIGRATION = (
    "DELETE FROM django_migrations WHERE id = (SELECT MAX(id) FROM django_migrations WHERE app = 'ingestion')"
)
NEWEST_SESSION = """
from django.utils import timezone
from ingestion.models import ListeningHistory
newest = ListeningHistory.objects.order_by("-created_at").first()
print((timezone.now().date() - newest.created_at.date()).days)
"""


@pytest.mark.parametrize("weeks", ["-1", "105"])
def test_weeks_that_can_not_be_simulated_are_refused_before_anything_begins(
    weeks: str, sqlite_project: Project, tmp_path: Path
) -> None:
    done = sqlite_project.manage("demo", f"--weeks={weeks}", f"--folder={tmp_path / 'demo'}", check=False)

    assert done.returncode == 1
    assert "--weeks is from 0 to 104." in done.stderr
    assert not (tmp_path / "demo").exists()


def test_weeks_that_were_not_simulated_to_their_end_are_not_served(
    sqlite_project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "demo" / "simulated"
    folder.mkdir(parents=True)
    # A folder where the simulation wants its log.
    (folder / "rehearsal.log").mkdir()

    done = sqlite_project.manage("demo", "--weeks=1", f"--folder={tmp_path / 'demo'}", check=False)

    assert done.returncode == 1
    assert "The simulation did not finish" in done.stderr
    assert not (folder / "simulated-weeks").exists()
