"""Job lock: the row of the running job is the lock, so only one process at a time runs a job.

For every subclass of `JobRun`, whose partial UNIQUE constraint allows one running row. The next job that
needs the lock abandons a row whose process has ended or is silent for `LOCK_TIMEOUT`.
"""

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, Final

import psutil
from django.db import InterfaceError, OperationalError, connection, models
from django.utils import timezone

from ingestion.jobs.database_patience import first_line, is_passing

logger = logging.getLogger(__name__)

LOCK_TIMEOUT: Final = timedelta(minutes=5)
HEARTBEAT_INTERVAL: Final = 5.0  # seconds
RUNNING: Final = "running"
# The job of this thread, such as {"run": 7}; the log formatter adds it to every line.
LOG_CONTEXT: Final[ContextVar[Mapping[str, object]]] = ContextVar("work", default={})  # noqa: B039


class LockLost(Exception):
    """Another job marked this one as abandoned; it must stop writing."""


@contextmanager
def add_log_context(**names: object) -> Iterator[None]:
    before = LOG_CONTEXT.set({**LOG_CONTEXT.get(), **names})
    try:
        yield
    finally:
        LOG_CONTEXT.reset(before)


def lock_owner() -> dict[str, Any]:
    """Column values that identify this process."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
    }


def find_running(model: type[models.Model]) -> Any:
    return model._default_manager.filter(status=RUNNING).first()


class JobHeartbeat:
    """Sends a job's heartbeats; each also saves the job's `columns`."""

    def __init__(self, run: Any, columns: Sequence[str] = ("stage",)) -> None:
        self._run = run
        self._columns = columns
        self._last_sent = time.monotonic()

    def send_if_due(self) -> None:
        if time.monotonic() - self._last_sent >= HEARTBEAT_INTERVAL:
            self.try_send()

    def try_send(self) -> None:
        """Send a heartbeat, and ignore a database that is locked or unreachable.

        Raises:
            LockLost: the job was marked abandoned.
        """
        try:
            self.send()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or not is_passing(error):
                raise
            logger.warning("job_heartbeat_failed reason=%r", first_line(error))
            connection.close_if_unusable_or_obsolete()
            self._last_sent = time.monotonic()

    def send(self) -> None:
        """Send a heartbeat; in a transaction this also locks the row, so that no job can abandon it.

        Raises:
            LockLost: the job was marked abandoned.
        """
        running = type(self._run).objects.filter(pk=self._run.pk, status=RUNNING)
        saved = {name: getattr(self._run, name) for name in self._columns}
        if not running.update(heartbeat_at=timezone.now(), **saved):
            # A heartbeat of the monitor's thread may come just after this process finished the job.
            if self._run.status != RUNNING:
                return
            raise LockLost(f"Run {self._run.pk} was marked abandoned by another process; it stops here.")
        self._last_sent = time.monotonic()


def finish_job(run: Any, status: str, **fields: Any) -> None:
    """Write the final status and `fields`, which releases the lock.

    Does nothing if an earlier attempt wrote them and lost the database before the answer came.

    Raises:
        LockLost: the job was marked abandoned; nothing was written.
    """
    run.status, run.finished_at, run.stage = status, timezone.now(), ""
    for name, value in fields.items():
        setattr(run, name, value)
    values = {name: getattr(run, name) for name in ("status", "finished_at", "stage", *fields)}
    rows = type(run).objects.filter(pk=run.pk)
    if not rows.filter(status=RUNNING).update(**values) and not rows.filter(status=status).exists():
        raise LockLost(f"Run {run.pk} was marked abandoned by another process; its result was not saved.")


def describe_error(error: BaseException) -> str:
    """The error as "Type: first line"; its other lines may hold a listener's e-mail address."""
    return f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")


def abandon_dead_job(model: type[models.Model], now: datetime) -> None:
    running: Any = model._default_manager.select_for_update().filter(status=RUNNING).first()
    if running is None or (running.heartbeat_at > now - LOCK_TIMEOUT and is_process_alive(running)):
        return
    last = f"{running.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
    model._default_manager.filter(pk=running.pk).update(
        status="abandoned",
        finished_at=now,
        error_kind="abandoned",
        error=f"Its process ended without reporting a result. Last heartbeat: {last}, at stage: "
        f"{running.stage or 'starting'}.",
    )


def is_process_alive(run: Any) -> bool:
    """Whether the job's process runs; True on another host, which can't be checked."""
    if run.host != socket.gethostname():
        return True
    try:
        process = psutil.Process(run.pid)
        same = abs(process.create_time() - run.process_started) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
