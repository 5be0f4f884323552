"""Typed readers of environment variables and `.env`.

A reader takes the variable's name and a default. An invalid value raises `ImproperlyConfigured` with
the name, the value and what is expected; parts of the value that may hold a password are masked.
"""

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import time, timedelta
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ
from django.core.exceptions import ImproperlyConfigured

Number = TypeVar("Number", int, float)

TRUE_WORDS: Final = {"1", "true", "yes", "on"}
FALSE_WORDS: Final = {"0", "false", "no", "off", ""}
# Finds one missing, doubled or swapped letter in a short name; does not match PATH or TERM.
SIMILARITY_CUTOFF: Final = 0.85
LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")


def find_home(checkout: Path) -> Path:
    """The folder that relative paths start from: the checkout or, if installed, the current folder."""
    return checkout if (checkout / "manage.py").exists() else Path.cwd()


class Environment:
    """Reads variables from the environment, then from `ENV_FILE` or `.env` in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._asked: set[str] = set()
        named = self.text("ENV_FILE")
        dotenv = Path(named) if named else home / ".env"
        # The file that was read, if any.
        self.dotenv = dotenv if named or dotenv.exists() else None
        if self.dotenv is not None:
            _read_dotenv(self.dotenv)

    def text(self, name: str, default: str = "") -> str:
        self._asked.add(name)
        # Not environ.Env.str, which reads a SECRET_KEY that begins with $ as the name of another variable.
        return os.environ.get(name, default).strip()

    def misspelled_variables(self) -> dict[str, str]:
        """Unknown variables that resemble a setting, each with that setting's name."""
        found = {}
        for name in sorted(set(os.environ) - self._asked):
            meant = get_close_matches(name, self._asked - set(os.environ), n=1, cutoff=SIMILARITY_CUTOFF)
            if meant:
                found[name] = meant[0]
        return found

    def string_list(self, name: str, default: tuple[str, ...] = ()) -> list[str]:
        return [word.strip() for word in self.text(name, ",".join(default)).split(",") if word.strip()]

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.text(name, str(default)).lower()
        if value not in TRUE_WORDS | FALSE_WORDS:
            raise malformed_value_error(name, value, "true or false")
        return value in TRUE_WORDS

    def integer(self, name: str, default: int, *, minimum: int = 0, maximum: int = 2**31) -> int:
        return self._number(name, default, int, minimum, maximum, "a whole number")

    def number(self, name: str, default: float, *, minimum: float = 0.0, maximum: float = 1e12) -> float:
        return self._number(name, default, float, minimum, maximum, "a number")

    def share(self, name: str, default: float) -> float:
        return self._number(name, default, float, 0.0, 1.0, "a share")

    def _number(
        self,
        name: str,
        default: Number,
        cast: Callable[[str], Number],
        minimum: Number,
        maximum: Number,
        what: str,
    ) -> Number:
        value = self.text(name, str(default))
        expected = f"{what} from {minimum:.16g} to {maximum:.16g}"
        try:
            number = cast(value)
        except ValueError:
            raise malformed_value_error(name, value, expected) from None
        if not minimum <= number <= maximum:
            raise malformed_value_error(name, value, expected)
        return number

    def octal(self, name: str, default: str) -> int:
        value = self.text(name, default)
        if not re.fullmatch(r"[0-7]{1,4}", value):
            raise malformed_value_error(name, value, "an octal number such as 077")
        return int(value, 8)

    def time_of_day(self, name: str, default: str) -> time:
        value = self.text(name, default)
        match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value)
        if match is None:
            raise malformed_value_error(name, value, "a time of day as HH:MM, such as 02:00")
        return time(int(match[1]), int(match[2]))

    def retention(self, name: str) -> timedelta | None:
        """How long rows are kept, from text such as 30, 30d, 36h or forever; None if nothing is set."""
        value = self.text(name).lower()
        if not value:
            return None
        match = re.fullmatch(r"(\d{1,5})(h|d)?", value)
        if value != "forever" and (match is None or not int(match[1])):
            raise malformed_value_error(name, value, "days such as 30, hours such as 36h, or forever")
        if match is None:
            return timedelta.max
        return timedelta(hours=int(match[1])) if match[2] == "h" else timedelta(days=int(match[1]))

    def time_zone(self, name: str, default: str) -> str:
        value = self.text(name, default)
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise malformed_value_error(
                name, value, "a time zone's name, such as UTC or Europe/Paris"
            ) from None
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise malformed_value_error(name, value, f"one of {', '.join(choices)}")
        return value

    def choices(self, name: str, choices: tuple[str, ...]) -> list[str]:
        """Read comma-separated values out of `choices`, by default all of them; none for an empty text."""
        values = self.string_list(name, choices) if self.text(name, "-") else []
        if unknown := [value for value in values if value not in choices]:
            raise malformed_value_error(name, ",".join(unknown), f"some of {', '.join(choices)}")
        return values

    def url(self, name: str, default: str, schemes: tuple[str, ...], *, required: bool = False) -> str:
        value = self.text(name, default)
        if not value and not required:
            return ""
        if not _is_url(value, schemes):
            raise malformed_value_error(
                name, _masked(value), f"a URL that starts with {' or '.join(s + '://' for s in schemes)}"
            )
        return value.rstrip("/") if schemes[0] == "http" else value

    def url_template(self, name: str, fields: tuple[str, ...]) -> str:
        """Read an address with at least one of the fields in braces: https:

        example.org/songs/{id}.
        """
        value = self.text(name)
        used = re.findall(r"\{([^{}]*)\}", value)
        if value and not (used and set(used) <= set(fields) and _is_url(value, ("http", "https"))):
            named = ", ".join(f"{{{field}}}" for field in fields)
            raise malformed_value_error(
                name, value, f"a URL that starts with https:// and has one of {named}"
            )
        return value

    def path(self, name: str, default: str) -> Path:
        value = self.text(name, default)
        if not value or "\0" in value:
            raise malformed_value_error(name, value, "a path")
        return (self.home / Path(value).expanduser()).resolve()

    def s3_location(self, name: str) -> tuple[str, str] | None:
        """The bucket and prefix of an address such as s3://bucket/prefix; None for a path."""
        value = self.text(name)
        if not value.lower().startswith("s3:"):
            return None
        match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/[\w.=-]+)*/?", value)
        if match is None or any(part in {".", ".."} for part in value.split("/")):
            raise malformed_value_error(
                name, _masked(value), "a folder, or s3://bucket/prefix without credentials and options"
            )
        return match[1], value.removeprefix(f"s3://{match[1]}").strip("/")

    def ca_certificates(self) -> str:
        """The path in `REQUESTS_CA_BUNDLE`, else in `SSL_CERT_FILE`; empty for the default authorities."""
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            value = self.text(name)
            if value and not Path(value).exists():
                raise malformed_value_error(name, value, "a PEM file of certificates, or a folder of them")
            if value:
                return value
        return ""

    def database_settings(self) -> dict[str, Any]:
        """Django's settings for `DATABASE_URL`, else for the SQLite file `DATABASE_NAME`."""
        url = self.text("DATABASE_URL")
        if not url:
            return {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(self.path("DATABASE_NAME", "music_data.db")),
            }
        expected = "a URL such as postgres://user:password@host:5432/name or sqlite:////folder/file.db"
        if not _is_url(url, ("postgres", "postgresql", "sqlite")):
            raise malformed_value_error("DATABASE_URL", _masked(url), expected)
        config: dict[str, Any] = dict(environ.Env.db_url_config(url))
        if not config.get("NAME"):
            raise malformed_value_error("DATABASE_URL", _masked(url), expected)
        if url.startswith("sqlite"):
            config["NAME"] = str((self.home / config["NAME"]).resolve())
        if "prepare_threshold" in config.get("OPTIONS", {}):
            # Otherwise values are part of the statement's text, and no statement is repeated.
            config["OPTIONS"]["server_side_binding"] = True
        # The host may be the folder of a unix socket, with each / written as %2F.
        config["HOST"] = unquote(config["HOST"])
        return config

    def email_settings(self) -> dict[str, Any]:
        """Django's `EMAIL_...` settings from `EMAIL_URL`; by default, mails are printed."""
        # Compose passes an empty line of its file as an empty variable.
        url = self.text("EMAIL_URL") or "consolemail://"
        try:
            return dict(environ.Env.email_url_config(url))
        except (KeyError, ValueError, environ.ImproperlyConfigured):
            expected = "a URL such as smtp+tls://user:password@host:587, or consolemail://"
            raise malformed_value_error("EMAIL_URL", _masked(url), expected) from None


# Our tables have the same names.
ORIGINAL_TABLES: Final = {"songs", "users", "listening_history"}


def is_original_project_file(file: Path) -> bool:
    """Whether this is a SQLite file of the original project, with the same table names."""
    if not file.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            tables = {
                row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            columns = {row[1] for row in database.execute("PRAGMA table_info(songs)")}
    except sqlite3.Error:
        return False
    if "django_migrations" not in tables:
        # A run of the original project that stopped early may have left only some tables.
        return not tables.isdisjoint(ORIGINAL_TABLES)
    # Our own table of songs has this column from the first migration on.
    return bool(columns) and "unavailable_at" not in columns


def new_database_beside(file: Path) -> Path:
    return file.with_name(f"{file.stem}.moovitamix{file.suffix}")


def malformed_value_error(name: str, value: str, expected: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name}={value!r} can't be read: expected {expected}.")


def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises if the port is not a number
    except ValueError:
        return False
    has_target = bool(parts.path.strip("/") if parts.scheme in {"sqlite", "unix"} else parts.hostname)
    return parts.scheme in schemes and has_target and not re.search(r"\s", value)


def _masked(url: str) -> str:
    """The URL's scheme and host only, because the rest may hold a password or a token."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    _, at, location = rest.rpartition("@")
    host = re.split(r"[/?#]", location, maxsplit=1)[0]
    return scheme + separator + ("***@" if at else "") + host + ("/***" if host != location else "")


def _read_dotenv(file: Path) -> None:
    try:
        # Some editors write a byte order mark, which would become part of the first name.
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        # Without the file the defaults would apply, for example another database.
        raise ImproperlyConfigured(f"{file} can't be read: {error}") from None
    environ.Env.read_env(StringIO(text))


def next_redis_database(url: str) -> str:
    """The database with the next higher number on the same Redis; '' without a URL."""
    if not url:
        return ""
    scheme, host, path, query, fragment = urlsplit(url)
    number = path.strip("/") or "0"
    return urlunsplit((scheme, host, f"/{int(number) + 1}", query, fragment)) if number.isdecimal() else url
