"""A piece of work that one process holds: its row is the lock, and lives while its heart beats.

Works for every table with the columns status, stage, heartbeat_at, finished_at, host, pid, process_started,
error_kind and error, whose partial UNIQUE allows one running row.
"""

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, Final

import psutil
from django.db import models
from django.utils import timezone

LOCK_TIMEOUT: Final = timedelta(minutes=5)
HEARTBEAT_INTERVAL: Final = 5.0  # seconds
RUNNING: Final = "running"
# What this thread is at work on, such as {"run": 7}: every line that it logs says so.
LOG_CONTEXT: Final[ContextVar[Mapping[str, object]]] = ContextVar("work", default={})  # noqa: B039


class LockLost(Exception):
    """This run was marked abandoned by another one, and must write nothing more."""


@contextmanager
def add_log_context(**names: object) -> Iterator[None]:
    """Until the end, log lines name this work beside what the thread was at work on before."""
    before = LOG_CONTEXT.set({**LOG_CONTEXT.get(), **names})
    try:
        yield
    finally:
        LOG_CONTEXT.reset(before)


def lock_owner() -> dict[str, Any]:
    """This process, as a row names who holds it."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
    }


def find_running(model: type[models.Model]) -> Any:
    """The row that holds the lock; None while nobody does."""
    return model._default_manager.filter(status=RUNNING).first()


class JobHeartbeat:
    """Beats for a run, and learns when the run is no longer ours.

    Args:
        told: the run's columns that every beat writes.
    """

    def __init__(self, run: Any, columns: Sequence[str] = ("stage",)) -> None:
        self._run = run
        self._columns = columns
        self._last_beat = time.monotonic()

    def send_if_due(self) -> None:
        """Write the heartbeat if the last one is some seconds old.

        Raises:
            RunLost: another run has taken over.
        """
        if time.monotonic() - self._last_beat >= HEARTBEAT_INTERVAL:
            self.send()

    def send(self) -> None:
        """Write the heartbeat; inside a transaction this also keeps others from taking over until its end."""
        alive = type(self._run).objects.filter(pk=self._run.pk, status=RUNNING)
        told = {name: getattr(self._run, name) for name in self._columns}
        if not alive.update(heartbeat_at=timezone.now(), **told):
            raise LockLost(f"Run {self._run.pk} was taken for dead and abandoned; it stops here.")
        self._last_beat = time.monotonic()


def finish_job(run: Any, status: str, **fields: Any) -> None:
    """End a run.

    Raises:
        RunLost: another run has taken over.
    """
    run.status, run.finished_at, run.stage = status, timezone.now(), ""
    for name, value in fields.items():
        setattr(run, name, value)
    values = {name: getattr(run, name) for name in ("status", "finished_at", "stage", *fields)}
    if not type(run).objects.filter(pk=run.pk, status=RUNNING).update(**values):
        raise LockLost(f"Run {run.pk} was taken for dead and abandoned; its end was not written.")


def abandon_dead_job(model: type[models.Model], now: datetime) -> None:
    """Free the lock of a process that is gone, or whose heart has not beaten for `LEASE`.

    Called inside a transaction.
    """
    held: Any = model._default_manager.select_for_update().filter(status=RUNNING).first()
    if held is None or (held.heartbeat_at > now - LOCK_TIMEOUT and is_process_alive(held)):
        return
    last = f"{held.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
    model._default_manager.filter(pk=held.pk).update(
        status="abandoned",
        finished_at=now,
        error_kind="abandoned",
        error=f"Its process ended without a word; its last heartbeat was at {last}, while it was "
        f"{held.stage or 'starting'}.",
    )


def is_process_alive(run: Any) -> bool:
    """Whether the run's process may still be there; on another machine nobody can tell."""
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
