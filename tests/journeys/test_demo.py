"""The demo: everything starts, is there to look at, and stops."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import requests

from tests.support.project import ROOT, Project, wait_for_line

SMALL = ("--songs=60", "--listeners=20", "--days=5")


def start(project: Project, folder: Path, *arguments: str) -> "tuple[subprocess.Popen[str], str]":
    process = project.start(
        sys.executable, str(ROOT / "manage.py"), "demo", f"--folder={folder}", *SMALL, *arguments
    )
    return process, wait_for_line(process, "Ctrl-C stops everything.")


def address(said: str, what: str) -> str:
    found = re.search(rf"{what}\s+(http://127\.0\.0\.1:\d+\S*)", said)
    assert found is not None, said
    return found[1]


def test_the_demo_shows_ingested_data_to_who_logs_in_and_stops_on_ctrl_c(
    sqlite_project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process, said = start(sqlite_project, folder, f"--web-port={port}", "--source-port=0")
        admin = address(said, "web admin")

    children = psutil.Process(process.pid).children(recursive=True)
    login = re.search(r"log in as\s+(\w+) / (\S+)", said)
    assert login is not None
    session = requests.Session()
    page = session.get(f"{admin}login/", timeout=10)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert token is not None
    fields = {"username": login[1], "password": login[2], "csrfmiddlewaretoken": token[1]}
    overview = session.post(f"{admin}login/?next=/admin/", data=fields, timeout=10)
    songs = session.get(f"{admin}ingestion/song/", timeout=10)
    logo = session.get(f"{admin.removesuffix('admin/')}static/logo.svg", timeout=10)
    session.close()

    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=30)[0]

    assert f":{port}/" not in admin
    assert "The last run succeeded" in overview.text
    assert songs.text.count("field-artist") > 10
    assert logo.status_code == 200
    assert "Stopped." in rest
    assert process.returncode == 0
    assert len(children) >= 2
    assert psutil.wait_procs(children, timeout=10)[1] == []
    # The user's own database holds nothing of it.
    assert sqlite_project.shell("from ingestion.models import *; print(Song.objects.count())") == "0"


def test_a_second_demo_goes_on_with_what_is_there_and_shows_no_password(
    sqlite_project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    arguments = ("demo", f"--folder={folder}", "--once", "--web-port=0", "--source-port=0", *SMALL)

    first = sqlite_project.manage(*arguments).stdout
    second = sqlite_project.manage(*arguments).stdout

    password = re.search(r"admin / (\S+)", first)
    assert password is not None
    assert password[1] not in second
    assert "with the password shown at the first start" in second
    assert re.search(r"\d+ songs: 0 new, 0 changed", second)
    assert not any(password[1].encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())
