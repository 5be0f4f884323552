"""Environment variables and .env: their values, and the errors if they are invalid."""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import time
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from moovitamix.environment import Environment, find_home, is_original_project_file
from tests.support.project import ROOT, Project

# What a message expects of a time zone.
ZONE_EXPECTED = "a time zone's name, such as UTC or Europe/Paris"
TEMPLATE_EXPECTED = "a URL that starts with https:// and has one of {id}, {name}"
Read = Callable[[Environment], Any]


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


@pytest.mark.parametrize(
    ("value", "read", "expected"),
    [
        ("  spaced ", lambda env: env.text("NAME"), "spaced"),
        ("$5f-is-no-other-variable", lambda env: env.text("NAME"), "$5f-is-no-other-variable"),
        ("a, b,,c ", lambda env: env.string_list("NAME"), ["a", "b", "c"]),
        ("Yes", lambda env: env.flag("NAME"), True),
        ("", lambda env: env.flag("NAME", default=True), False),
        ("12", lambda env: env.integer("NAME", 3), 12),
        ("var/models", lambda env: env.s3_location("NAME"), None),
        ("s3://bucket", lambda env: env.s3_location("NAME"), ("bucket", "")),
        ("s3://my.bucket/a/b-1_2/", lambda env: env.s3_location("NAME"), ("my.bucket", "a/b-1_2")),
        ("1e3", lambda env: env.number("NAME", 3), 1000.0),
        ("0.05", lambda env: env.share("NAME", 1), 0.05),
        ("23:59", lambda env: env.time_of_day("NAME", "02:00"), time(23, 59)),
        ("Europe/Paris", lambda env: env.time_zone("NAME", "UTC"), "Europe/Paris"),
        ("fr", lambda env: env.choice("NAME", "en", ("en", "fr")), "fr"),
        ("http://host:8001/", lambda env: env.url("NAME", "", ("http",)), "http://host:8001"),
        ("", lambda env: env.url("NAME", "http://host", ("http",)), ""),
        ("unix:///run/redis.sock", lambda env: env.url("NAME", "", ("unix",)), "unix:///run/redis.sock"),
        ("/data", lambda env: env.path("NAME", "var"), Path("/data")),
        ("https://a.org/?s={id}", lambda env: env.url_template("NAME", ("id",)), "https://a.org/?s={id}"),
    ],
)
def test_a_variable_is_read_as_what_it_is(
    env: Environment, monkeypatch: pytest.MonkeyPatch, value: str, read: Read, expected: Any
) -> None:
    monkeypatch.setenv("NAME", value)

    found = read(env)

    assert found == expected


@pytest.mark.parametrize(
    ("value", "read", "expected"),
    [
        ("maybe", lambda env: env.flag("NAME"), "true or false"),
        ("3.5", lambda env: env.integer("NAME", 3, minimum=1, maximum=64), "a whole number from 1 to 64"),
        ("65", lambda env: env.integer("NAME", 3, minimum=1, maximum=64), "a whole number from 1 to 64"),
        ("-1", lambda env: env.integer("NAME", 3), "a whole number from 0 to 2147483648"),
        ("nan", lambda env: env.number("NAME", 3, maximum=600), "a number from 0 to 600"),
        ("5%", lambda env: env.share("NAME", 0), "a share from 0 to 1"),
        ("24:00", lambda env: env.time_of_day("NAME", "02:00"), "a time of day as HH:MM, such as 02:00"),
        (
            "Mars/Base",
            lambda env: env.time_zone("NAME", "UTC"),
            ZONE_EXPECTED,
        ),
        (
            "../../etc",
            lambda env: env.time_zone("NAME", "UTC"),
            ZONE_EXPECTED,
        ),
        ("de", lambda env: env.choice("NAME", "en", ("en", "fr")), "one of en, fr"),
        ("", lambda env: env.path("NAME", "var"), "a path"),
        (
            "https://example.org/{song}",
            lambda env: env.url_template("NAME", ("id", "name")),
            TEMPLATE_EXPECTED,
        ),
        ("https://example.org/", lambda env: env.url_template("NAME", ("id", "name")), TEMPLATE_EXPECTED),
        ("spotify:{id}", lambda env: env.url_template("NAME", ("id", "name")), TEMPLATE_EXPECTED),
    ],
)
def test_a_value_that_cannot_be_read_is_named_with_what_was_expected(
    env: Environment, monkeypatch: pytest.MonkeyPatch, value: str, read: Read, expected: str
) -> None:
    monkeypatch.setenv("NAME", value)

    with pytest.raises(ImproperlyConfigured) as caught:
        read(env)

    assert str(caught.value) == f"NAME={value!r} can't be read: expected {expected}."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("localhost:8001", "localhost:8001"),
        ("http://host:port", "http://host:port"),
        ("http://", "http://"),
        ("ftp://user:secret@host", "ftp://***@host"),
        ("http://user:sec/ret@host:x", "http://***@host:x"),
        ("http://user:sec:ret@@host:x", "http://***@host:x"),
        ("http://host name/services/secret", "http://host name/***"),
        ("hooks.example.org/services/secret", "hooks.example.org/***"),
        ("ftp://host?token=secret", "ftp://host/***"),
    ],
)
def test_an_address_that_cannot_be_read_is_shown_without_what_may_be_secret(
    env: Environment, monkeypatch: pytest.MonkeyPatch, value: str, shown: str
) -> None:
    monkeypatch.setenv("NAME", value)

    with pytest.raises(ImproperlyConfigured) as caught:
        env.url("NAME", "", ("http", "https"))

    expected = "expected a URL that starts with http:// or https://."
    assert str(caught.value) == f"NAME={shown!r} can't be read: {expected}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://user:s3:cret@host:x/name", "postgres://***@host:x/***"),
        ("postgres://user:s3cret@host", "postgres://***@host"),
        ("mysql://user:s3cret@host/name", "mysql://***@host/***"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_a_database_that_cannot_be_read_is_shown_without_its_password(
    env: Environment, monkeypatch: pytest.MonkeyPatch, url: str, shown: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    with pytest.raises(ImproperlyConfigured) as caught:
        env.database_settings()

    assert str(caught.value).startswith(f"DATABASE_URL={shown!r} can't be read: expected a URL such as ")


def test_a_mail_server_that_cannot_be_read_is_shown_without_its_password(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAIL_URL", "smtp+tls://user:s3cret@host:x")

    with pytest.raises(ImproperlyConfigured, match=re.escape("EMAIL_URL='smtp+tls://***@host:x' can't")):
        env.email_settings()


def test_a_postgresql_url_keeps_its_password_port_and_options(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://user:p%40ss@host:5433/name?sslmode=require")

    found = env.database_settings()

    assert found["ENGINE"] == "django.db.backends.postgresql"
    assert (found["USER"], found["PASSWORD"]) == ("user", "p@ss")
    assert (found["HOST"], found["PORT"], found["NAME"]) == ("host", 5433, "name")
    assert found["OPTIONS"] == {"sslmode": "require"}


def test_a_postgresql_url_may_name_the_folder_of_a_socket(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://user@%2Frun%2Fpostgresql/name")

    assert env.database_settings()["HOST"] == "/run/postgresql"


def test_the_certificates_that_other_programs_trust_are_trusted_too(
    env: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = str(tmp_path), str(ROOT / "README.md")
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    found = [env.ca_certificates()]

    monkeypatch.setenv("SSL_CERT_FILE", second)
    found.append(env.ca_certificates())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", first)
    found.append(env.ca_certificates())

    assert found == ["", second, first]


@pytest.mark.slow
def test_certificates_that_are_not_there_stop_only_who_needs_them(sqlite_project: Project) -> None:
    wanted: dict[str, Any] = {"REQUESTS_CA_BUNDLE": "/nowhere/ca.pem"}

    plain = sqlite_project.manage("check", check=False, BASE_URL="http://127.0.0.1:8001", **wanted)
    safe = sqlite_project.manage("check", check=False, BASE_URL="https://127.0.0.1:8001", **wanted)

    expected = "expected a PEM file of certificates, or a folder of them.\n"
    assert plain.returncode == 0
    assert safe.returncode == 1
    assert safe.stderr == f"REQUESTS_CA_BUNDLE='/nowhere/ca.pem' can't be read: {expected}"


def test_relative_paths_start_from_home_wherever_a_command_runs(
    env: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir("/")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    by_name = env.database_settings()["NAME"]
    monkeypatch.setenv("DATABASE_URL", "sqlite:///folder/file.db")

    assert by_name == str(tmp_path / "music_data.db")
    assert env.database_settings()["NAME"] == str(tmp_path / "folder" / "file.db")
    assert env.path("NOT_SET", "var") == tmp_path / "var"


def test_home_is_the_checkout_or_where_an_installed_command_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    assert find_home(ROOT) == ROOT
    assert find_home(tmp_path / "site-packages") == tmp_path


def write_dotenv(monkeypatch: pytest.MonkeyPatch, file: Path, text: str | bytes) -> None:
    """Write a .env file, and remove its variables at the end of the test."""
    for name in ("ENV_FILE", "BASE_URL", "NAME"):
        # Set first, so that the end of the test takes away what .env brings.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_a_dotenv_fills_in_what_the_environment_does_not_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_dotenv(monkeypatch, tmp_path / ".env", "# a comment\nexport BASE_URL='http://file'\nNAME=file\n")
    monkeypatch.setenv("NAME", "environment")

    env = Environment(tmp_path)

    assert (env.text("BASE_URL"), env.text("NAME")) == ("http://file", "environment")


def test_a_dotenv_with_a_byte_order_mark_keeps_its_first_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_dotenv(monkeypatch, tmp_path / ".env", b"\xef\xbb\xbfBASE_URL=http://file\r\nNAME=1\r\n")

    env = Environment(tmp_path)

    assert (env.text("BASE_URL"), env.text("NAME")) == ("http://file", "1")


def test_another_file_can_be_named_and_is_read_instead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_dotenv(monkeypatch, tmp_path / ".env", "NAME=usual\n")
    write_dotenv(monkeypatch, tmp_path / "other.env", "NAME=other\n")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "other.env"))

    assert Environment(tmp_path).text("NAME") == "other"


def test_a_named_file_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "none.env"))

    with pytest.raises(ImproperlyConfigured, match=r"none\.env can't be read: .*No such file"):
        Environment(tmp_path)


def test_a_dotenv_that_is_no_text_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_dotenv(monkeypatch, tmp_path / ".env", b"NAME=caf\xe9\n")

    with pytest.raises(ImproperlyConfigured, match=r"\.env can't be read: 'utf-8' codec"):
        Environment(tmp_path)


def test_the_example_names_every_variable_that_the_settings_read() -> None:
    settings = (ROOT / "moovitamix" / "settings.py").read_text()
    read = set(re.findall(r'env\.\w+\("(\w+)"', settings)) | {"DATABASE_URL", "DATABASE_NAME", "EMAIL_URL"}

    named = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert sorted(named) == sorted(read)


def test_a_command_with_a_wrong_setting_ends_in_one_line(sqlite_project: Project) -> None:
    done = sqlite_project.manage("check", check=False, SCHEDULED_TIME="2 am")

    expected = "SCHEDULED_TIME='2 am' can't be read: expected a time of day as HH:MM, such as 02:00.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        (["songs (id, name)", "users (id)", "listening_history (id)"], True),
        (["users (id)"], True),
        (["django_migrations (id)", "songs (id, name)"], True),
        (["django_migrations (id)", "songs (id, unavailable_at)", "users (id)"], False),
        (["somebody_else (id)"], False),
        ([], False),
    ],
)
def test_a_database_of_the_original_project_is_recognised_by_its_tables(
    tmp_path: Path, tables: list[str], expected: bool
) -> None:
    file = tmp_path / "music_data.db"
    with closing(sqlite3.connect(file)) as database:
        for table in tables:
            database.execute(f"CREATE TABLE {table}")

    assert is_original_project_file(file) is expected
