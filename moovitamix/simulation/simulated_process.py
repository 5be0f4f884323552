"""Parts of every process of a simulation: its start, a clock that can be set, caches, tasks that may fail.

It imports nothing that trains, since processes that only serve should start fast.
"""

import gc
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.utils import timezone

from recommender.experiments import assignment
from recommender.registry import model_loader

logger = logging.getLogger(__name__)


def prepare_process() -> None:
    """Keep what was imported out of the garbage collector, and let the system write the database's file."""
    gc.freeze()
    gc.enable()
    # If the machine stops, an unfinished simulation is of no use.
    connection_created.connect(_skip_syncs)
    connection.close()


def _skip_syncs(connection: BaseDatabaseWrapper, **_: object) -> None:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=OFF")


def write_database() -> None:
    """Write everything to the database's file, and wait until the disk has it.

    Raises:
        DatabaseError: another process still reads the database.
    """
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        is_busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if is_busy:
        raise DatabaseError("The simulation's database is still in use, and was not written completely.")
    # SQLite itself waits for the disk only if it has just copied something.
    with Path(connection.settings_dict["NAME"]).open("rb+") as file:
        os.fsync(file.fileno())


class SimulatedClock:
    """A clock that can be moved forward and otherwise runs at normal speed."""

    def __init__(self, start: datetime) -> None:
        self._moment = start
        self._since = time.monotonic()

    def __call__(self) -> datetime:
        return self._moment + timedelta(seconds=time.monotonic() - self._since)

    def move_to(self, moment: datetime) -> None:
        """Move forward, never back."""
        self._moment, self._since = max(moment, self()), time.monotonic()

    @contextmanager
    def replace_system_time(self) -> Iterator[None]:
        """Replace `timezone.now` in the whole process, which must do nothing but simulate."""
        real = timezone.now
        timezone.now = self
        try:
            yield
        finally:
            timezone.now = real


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def run_logging_errors(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:
        logger.exception("task_failed task=%s", getattr(work, "name", work))


def clear_process_caches(storage: Path) -> None:
    """Clear caches that last seconds or minutes, because simulated steps are hours apart."""
    cache.clear()
    assignment.RUNNING_EXPERIMENTS.invalidate()
    model_loader.loader_for(storage).reload()
