"""System checks: what is safe on one machine and wrong where others can reach it."""

import re
import sys
from pathlib import Path

import pytest
from django.core import checks
from pytest_django import Settings

from tests.support.builders.original_database import make_original_database
from tests.support.project import ROOT, Project

SECRET = "a-key-that-nobody-else-knows-4b1c8f0e7a5d2936-4b1c8f0e7a5d"


def problems() -> list[str | None]:
    return [message.id for message in checks.run_checks() if (message.id or "").startswith("moovitamix.")]


def test_the_defaults_are_fine_on_one_machine(settings: Settings) -> None:
    settings.DEBUG = True
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

    assert problems() == []


def test_a_site_with_a_key_of_its_own_is_fine_for_everybody(settings: Settings) -> None:
    settings.DEBUG, settings.SECRET_KEY, settings.HTTPS = False, SECRET, True
    settings.ALLOWED_HOSTS = ["music.example.org"]

    assert problems() == []


@pytest.mark.parametrize(("is_allowed", "expected"), [(False, ["moovitamix.E004"]), (True, [])])
def test_a_public_site_without_https_is_an_error_unless_it_is_allowed(
    settings: Settings, is_allowed: bool, expected: list[str]
) -> None:
    settings.DEBUG, settings.SECRET_KEY, settings.HTTPS = False, SECRET, False
    settings.ALLOWED_HOSTS, settings.ALLOW_HTTP = ["localhost", "10.0.0.5"], is_allowed

    assert problems() == expected


@pytest.mark.parametrize(
    ("hosts", "debug", "key", "expected"),
    [
        ([], False, SECRET, ["moovitamix.E001"]),
        (["localhost", "music.example.org"], True, SECRET, ["moovitamix.E002"]),
        (["*"], False, "", ["moovitamix.E003"]),
        (["*"], True, "", ["moovitamix.E002", "moovitamix.E003"]),
    ],
)
def test_each_mistake_that_others_can_reach_is_an_error(
    settings: Settings, hosts: list[str], debug: bool, key: str, expected: list[str]
) -> None:
    settings.ALLOWED_HOSTS, settings.DEBUG, settings.HTTPS = hosts, debug, True
    settings.SECRET_KEY = key or settings.INSECURE_KEY

    assert problems() == expected


@pytest.mark.slow
def test_the_known_key_stops_a_public_site_and_says_how_to_make_another(sqlite_project: Project) -> None:
    done = sqlite_project.manage("check", check=False, ALLOWED_HOSTS="music.example.org")

    assert done.returncode == 1
    assert "(moovitamix.E003) SECRET_KEY is the default, which is public" in done.stderr
    assert "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'" in done.stderr


def test_a_short_key_of_a_public_site_is_a_warning(settings: Settings) -> None:
    settings.DEBUG, settings.SECRET_KEY, settings.HTTPS = False, "short", True
    settings.ALLOWED_HOSTS = ["music.example.org"]

    assert problems() == ["moovitamix.W001"]


@pytest.mark.slow
def test_a_misspelt_variable_is_named_with_the_one_that_was_meant(sqlite_project: Project) -> None:
    (sqlite_project.folder / "my.env").write_text("SHEDULED_TIME=03:00\n")

    done = sqlite_project.manage(
        "check", ENV_FILE=str(sqlite_project.folder / "my.env"), DATABASE_NAMES="other.db", TERM_PROGRAM="x"
    )

    assert "SHEDULED_TIME is not a setting and is ignored." in done.stderr
    assert "Did you mean SCHEDULED_TIME?" in done.stderr
    assert "TERM_PROGRAM" not in done.stderr


def test_a_database_of_the_original_project_is_a_warning_and_is_not_written(
    sqlite_project: Project, tmp_path: Path
) -> None:
    old = make_original_database(tmp_path / "old.db")
    before = old.read_bytes()

    done = sqlite_project.manage("migrate", "--verbosity=0", DATABASE_NAME=str(old))

    assert "(moovitamix.W007)" in done.stderr
    assert f"The data is kept in {tmp_path / 'old.moovitamix.db'}." in done.stderr
    assert old.read_bytes() == before
    assert (tmp_path / "old.moovitamix.db").is_file()


@pytest.mark.parametrize(
    "command", [("-c", "import moovitamix.wsgi"), ("-m", "celery", "-A", "moovitamix", "worker")]
)
def test_web_servers_and_workers_refuse_unsafe_settings_too(
    sqlite_project: Project, command: tuple[str, ...]
) -> None:
    process = sqlite_project.start(sys.executable, *command, ALLOWED_HOSTS="music.example.org")

    said = process.communicate(timeout=600)[0]

    assert process.returncode != 0
    assert "SECRET_KEY is the default, which is public" in said
    assert "secrets.token_urlsafe(50)" in said


@pytest.mark.parametrize(("mode", "is_warned"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_file_of_secrets_that_others_can_read_is_a_warning(
    settings: Settings, tmp_path: Path, mode: int, is_warned: bool
) -> None:
    settings.DOTENV = tmp_path / ".env"
    settings.DOTENV.write_text("SECRET_KEY=x")
    settings.DOTENV.chmod(mode)

    assert ("moovitamix.W008" in problems()) is is_warned


@pytest.mark.parametrize(
    ("broker", "chosen", "is_warned"),
    [
        ("", None, False),
        ("redis://redis:6379", None, False),
        ("redis://redis:6379/14", None, False),
        ("redis://redis:6379/15", None, True),
        ("redis://redis:6379/15", "redis://redis:6379/15", False),
    ],
)
def test_a_default_cache_that_redis_does_not_have_is_a_warning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, broker: str, chosen: str | None, is_warned: bool
) -> None:
    settings.REDIS_URL = broker
    monkeypatch.delenv("CACHE_URL", raising=False)
    if chosen:
        monkeypatch.setenv("CACHE_URL", chosen)

    assert ("moovitamix.W009" in problems()) is is_warned


def test_the_settings_of_a_deployment_pass_every_check_of_django(sqlite_project: Project) -> None:
    example = (ROOT / "deploy" / "env.example").read_text()
    shipped = dict(re.findall(r"^([A-Z_]+)=(.*)$", example, re.MULTILINE))

    done = sqlite_project.manage(
        "check", "--deploy", "--fail-level=WARNING",
        **{**shipped, "SECRET_KEY": SECRET, "HTTPS": "true", "PROXY_COUNT": "1"},
    )  # fmt: skip

    assert "no issues" in done.stdout
