"""Retries while the database is locked, full or unreachable, so that a short outage does not end a job."""

import logging
import re
import sqlite3
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

# A database server restarts within half a minute; a longer outage needs a person.
PATIENCE: Final = 120.0  # seconds
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 5.0
# Classes of SQLSTATE codes: connection lost, no resources (full disk), server restarts.
PASSING_CLASSES: Final = ("08", "53", "57P")
# Lock not available, deadlock, serialization failure.
PASSING_CODES: Final = {"55P03", "40P01", "40001"}
PASSING_SQLITE_CODES: Final = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
}  # fmt: skip

# Disk full, read-only transaction.
UNWRITABLE_CODES: Final = {"53100", "25006"}
UNWRITABLE_SQLITE_CODES: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR}


def is_passing(error: BaseException) -> bool:
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    cause: Any = error.__cause__
    if isinstance(cause, sqlite3.Error):
        # The lowest byte is the primary code.
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in PASSING_SQLITE_CODES
    # An error without a code means that the server did not answer.
    code = getattr(cause, "sqlstate", None)
    return code is None or code in PASSING_CODES or code.startswith(PASSING_CLASSES)


def is_unwritable(error: BaseException) -> bool:
    """Whether the database answers but can't store anything: its disk is full or it is read-only."""
    cause: Any = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in UNWRITABLE_SQLITE_CODES
    return getattr(cause, "sqlstate", None) in UNWRITABLE_CODES


def lift_statement_limits() -> None:
    """Remove the time limit of web requests from this thread's database statements."""
    connection.close()
    own = connection.settings_dict
    given = own["OPTIONS"].get("options", "")
    options = re.sub(r"-c (statement|lock)_timeout=\d+", "", given).strip()
    connection.settings_dict = {
        **own,
        "OPTIONS": {**own["OPTIONS"], **({"options": options} if given else {})},
    }


def with_patience(work: Callable[[], R], patience: float = PATIENCE) -> R:
    """Retry `work` for `patience` seconds while the database is locked, full or unreachable.

    It must be safe to repeat. Within a transaction it is called only once.
    """
    deadline, pause = time.monotonic() + patience, FIRST_PAUSE
    while True:
        try:
            return work()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or not is_passing(error) or time.monotonic() + pause > deadline:
                raise
            logger.warning("database_unavailable waiting=%.2fs reason=%r", pause, first_line(error))
        connection.close_if_unusable_or_obsolete()
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def patient(query: Callable[P, R]) -> Callable[P, R]:
    @wraps(query)
    def wait(*args: P.args, **kwargs: P.kwargs) -> R:
        return with_patience(lambda: query(*args, **kwargs))

    return wait


def first_line(error: BaseException) -> str:
    """The error's first line; PostgreSQL quotes the row in the others, which may hold personal data."""
    return str(error).partition("\n")[0]
