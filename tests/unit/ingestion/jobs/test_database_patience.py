"""Which database errors pass by themselves, and how long a job waits for them."""

import sqlite3
from pathlib import Path

import pytest
from django.db import OperationalError

from ingestion.jobs.database_patience import is_passing


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
