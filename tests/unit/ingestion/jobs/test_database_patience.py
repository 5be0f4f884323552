"""Which database errors pass by themselves, and how long a job waits for them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import OperationalError, connection

from ingestion.jobs import database_patience
from ingestion.jobs.database_patience import is_passing, with_patience


def as_django_raises_it(cause: Exception) -> OperationalError:
    error = OperationalError(str(cause))
    error.__cause__ = cause
    return error


def test_a_locked_sqlite_file_passes_and_a_missing_table_does_not(tmp_path: Path) -> None:
    holder, waiting = (sqlite3.connect(tmp_path / "some.db", timeout=0) for _ in range(2))
    holder.execute("CREATE TABLE songs (id)")
    holder.execute("BEGIN EXCLUSIVE")

    with pytest.raises(sqlite3.OperationalError) as locked:
        waiting.execute("INSERT INTO songs VALUES (1)")
    holder.rollback()
    with pytest.raises(sqlite3.OperationalError) as missing:
        waiting.execute("SELECT * FROM artists")
    holder.close()
    waiting.close()

    assert is_passing(as_django_raises_it(locked.value))
    assert not is_passing(as_django_raises_it(missing.value))
    assert not is_passing(ValueError("database is locked"))


@pytest.fixture
def full_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """A database that holds a table and has room for nothing else."""
    monkeypatch.setattr(database_patience, "FIRST_PAUSE", 0.001)
    connection.close()  # a test before this one may have left it open
    with closing(sqlite3.connect(tmp_path / "full.db", isolation_level=None)) as database:
        database.execute("CREATE TABLE songs (name)")
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        yield database


def insert(database: sqlite3.Connection) -> int:
    try:
        return database.execute("INSERT INTO songs VALUES (?)", ["x" * 100_000]).rowcount
    except sqlite3.OperationalError as error:
        raise as_django_raises_it(error) from error


def test_a_query_waits_until_a_full_database_has_room(full_database: sqlite3.Connection) -> None:
    attempts: list[int] = []

    def work() -> int:
        attempts.append(1)
        if len(attempts) == 3:
            full_database.execute("PRAGMA max_page_count = 1000")
        return insert(full_database)

    assert with_patience(work) == 1
    assert len(attempts) == 3


def test_a_query_fails_if_the_database_is_still_full_when_the_patience_ends(
    full_database: sqlite3.Connection,
) -> None:
    with pytest.raises(OperationalError, match="full"):
        with_patience(lambda: insert(full_database), patience=0.01)
