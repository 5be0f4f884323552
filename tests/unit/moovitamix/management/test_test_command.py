"""`manage.py test`, and what it gives every test."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection

from moovitamix.management.commands.test import parallel_options
from tests.support.project import ROOT, Project

# The servers of this session: to start others takes as long as everything else in these tests.
SERVERS = {"TEST_DATABASE_URL": os.environ["DATABASE_URL"], "TEST_REDIS_URL": os.environ["REDIS_URL"]}


def test_help_teaches_how_to_run_what_is_wanted(sqlite_project: Project) -> None:
    done = sqlite_project.manage("test", "--help")

    assert done.stdout.startswith("usage: manage.py test [pytest arguments]\n")
    assert "manage.py test -k schedule -x " in done.stdout


@pytest.mark.slow
def test_arguments_go_to_pytest_and_its_exit_code_comes_back_from_any_folder(sqlite_project: Project) -> None:
    wrong = sqlite_project.manage("test", "-n0", "tests/nothing", check=False, timeout=600, **SERVERS)
    none = sqlite_project.manage(
        "test", "-n0", "tests/contract", "-k", "no_such_test", check=False, timeout=600, **SERVERS
    )

    assert wrong.returncode == 4
    assert "file or directory not found: tests/nothing" in wrong.stderr
    assert none.returncode == 5


@pytest.mark.slow
def test_settings_of_a_developer_do_not_reach_the_tests(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BASE_URL=http://from.file.example.org\n")
    theirs = {
        "ENV_FILE": str(tmp_path / ".env"),
        "SCHEDULED_TIME": "nonsense",
        "DATABASE_URL": "postgres://production.example.org/music",
        "SLACK_WEBHOOK_URL": "https://hooks.example.org/services/x",
    }
    asked = f"{Path(__file__).relative_to(ROOT)}::test_the_settings_are_those_of_the_tests"

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", asked],
        env={**os.environ, **SERVERS, **theirs} | {"DJANGO_SETTINGS_MODULE": ""},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_settings_are_those_of_the_tests() -> None:
    assert settings.BASE_URL == "http://127.0.0.1:8001"
    assert settings.SLACK_WEBHOOK_URL == ""
    assert settings.SCHEDULED_TIME.isoformat() == "02:00:00"
    assert not settings.VAR_DIR.is_relative_to(ROOT)
    assert not settings.STAGING_DIR.is_relative_to(ROOT)
    assert connection.vendor == "postgresql"


@pytest.mark.parametrize(
    ("arguments", "spread"),
    [
        ((), True),
        (("--fast",), True),
        (("tests/unit", "-x"), True),
        (("tests/unit/moovitamix/management/test_test_command.py::test_x", "-x"), False),
        (("-n", "3"), False),
        (("-n0",), False),
        (("tests/unit", "--pdb"), False),
        (("--version",), False),
    ],
)
def test_the_tests_use_all_cores_unless_the_arguments_say_otherwise(
    arguments: tuple[str, ...], spread: bool
) -> None:
    options = parallel_options(list(arguments))

    assert any(option.startswith("--numprocesses=") for option in options) == spread


@pytest.mark.slow
def test_fast_leaves_out_journeys_slow_tests_trained_models_and_installations() -> None:
    files = (
        "tests/journeys/alerts/test_alerts_full_disk.py",
        "tests/unit/moovitamix/management/test_test_command.py",
        "tests/unit/tooling/test_project_fixture.py",
        "tests/integration/recommender/training/test_training_on_both_databases.py",
        "tests/integration/recommender/serving/test_replay.py",
    )

    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--fast", "--collect-only", "-q", *files],
        env={**os.environ, **SERVERS, "DJANGO_SETTINGS_MODULE": ""},
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip

    assert "test_the_settings_are_those_of_the_tests" in listed
    assert "test_fast_leaves_out" not in listed
    assert "test_alerts_full_disk" not in listed
    assert "test_a_command_that_fails" not in listed
    assert "test_a_fallback_list_replays" not in listed
    assert "test_an_unknown_list_can_not_be_replayed" in listed
    assert "[sqlite" not in listed
    assert "deselected" in listed


@pytest.mark.parametrize("turn", ["first", "second"])
def test_no_test_finds_what_another_has_cached(turn: str) -> None:
    assert cache.get("song") is None
    cache.set("song", turn)


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_a_test_that_reaches_for_the_network_fails() -> None:
    with pytest.raises(RuntimeError, match=r'host "192\.0\.2\.1"'):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
