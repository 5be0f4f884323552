"""Errors of settings, the database or the terminal are one sentence in every command."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.project import ROOT, Project

NOWHERE = "postgres://somebody:very-secret@127.0.0.1:1/music"


@pytest.mark.parametrize("command", ["runingest", "migrate", "retrain", "watchdog", "recommend 1"])
def test_a_database_that_is_not_there_is_told_with_its_place_and_no_password(
    command: str, sqlite_project: Project
) -> None:
    done = sqlite_project.manage(*command.split(), check=False, DATABASE_URL=NOWHERE)

    assert done.returncode == 1
    assert "The database music at 127.0.0.1:1 can't be used: connection failed" in done.stderr
    assert "Check that it is running and that DATABASE_URL is correct." in done.stderr
    assert "Traceback" not in done.stderr
    assert "very-secret" not in done.stdout + done.stderr


def test_a_folder_of_the_database_that_is_not_there_is_named(sqlite_project: Project) -> None:
    done = sqlite_project.manage("runingest", check=False, DATABASE_NAME="/nowhere/at/all.db")

    assert done.returncode == 1
    assert "The database /nowhere/at/all.db can't be used: unable to open" in done.stderr
    assert "that DATABASE_NAME is correct" in done.stderr


def test_who_wants_the_traceback_gets_it(sqlite_project: Project) -> None:
    done = sqlite_project.manage("runingest", "--traceback", check=False, DATABASE_NAME="/nowhere/at/all.db")

    assert "Traceback" in done.stderr


def test_an_empty_address_of_the_source_is_refused_at_the_start(sqlite_project: Project) -> None:
    done = sqlite_project.manage("runingest", check=False, BASE_URL="")

    assert done.returncode == 1
    assert done.stderr == "BASE_URL='' can't be read: expected a URL that starts with http:// or https://.\n"


@pytest.mark.parametrize("variable", [{"BASE_URL": ""}, {"DATABASE_URL": NOWHERE}])
def test_with_json_an_error_before_the_command_is_one_object(
    sqlite_project: Project, variable: dict[str, Any]
) -> None:
    done = sqlite_project.manage("runingest", "--json", check=False, **variable)

    facts = json.loads(done.stdout)
    assert done.returncode == facts["exit_code"] == 1
    assert facts["status"] == "failed"
    assert "very-secret" not in facts["error"]


def test_a_rate_that_can_not_be_read_is_named(sqlite_project: Project) -> None:
    done = sqlite_project.manage("check", check=False, API_FEEDBACK_RATE="often")

    assert done.returncode == 1
    assert done.stderr.startswith("API_FEEDBACK_RATE='often' can't be read: expected a number from 1")


def test_a_reader_that_goes_away_is_no_error(sqlite_project: Project) -> None:
    manage = [sys.executable, str(ROOT / "manage.py"), "demosource", "--help"]
    code = (
        "import os, subprocess, sys\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "sys.exit(subprocess.run(sys.argv[1:], stdout=write).returncode)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *manage], env=sqlite_project.environment, capture_output=True,
        text=True, timeout=600, check=False,
    )  # fmt: skip

    assert "Traceback" not in done.stderr
    assert done.returncode in {120, 141}


@pytest.mark.parametrize(
    ("port", "said"), [("taken", "can't be used"), ("99999", "--port is from 0 to 65535")]
)
def test_a_port_that_can_not_be_used_is_told(port: str, said: str, sqlite_project: Project) -> None:
    first = sqlite_project.start(
        sys.executable, str(ROOT / "manage.py"), "demosource", "--port=0", "--songs=20"
    )
    assert first.stdout is not None
    at = first.stdout.readline().partition("127.0.0.1:")[2].partition(":")[0]

    done = sqlite_project.manage(
        "demosource", f"--port={at if port == 'taken' else port}", "--songs=20", check=False
    )

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
