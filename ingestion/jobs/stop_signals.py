"""Stops a job cleanly on Ctrl-C, SIGTERM, SIGHUP, or when its process shuts down."""

import getpass
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

SIGNAL_NAMES: Final = {
    name: label
    for name, label in (("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGHUP"))
    if hasattr(signal, name)
}
SHUTDOWN: Final = "shutdown"
# `timeout` and some shells signal the process and its group; the two signals are one request.
SAME_REQUEST_SECONDS: Final = 2.0


# One byte of memory that a Celery worker and its forked children share.
_shutdown_flag = mmap.mmap(-1, 1)


def begin_shutdown() -> None:
    """Stop the jobs of this process, its threads and forked children at their next heartbeat."""
    _shutdown_flag[0] = 1


def is_shutting_down() -> bool:
    return bool(_shutdown_flag[0]) or not threading.main_thread().is_alive()


class StopRequested(KeyboardInterrupt):
    """A signal asked the job to stop; `kind` names the signal.

    A KeyboardInterrupt, because psycopg reacts by cancelling the query, and the connection stays usable.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(describe_stop(kind))
        self.kind = kind


class StopSignals:
    """Turns signals into `StopRequested` while a job can be interrupted.

    Earlier signals are kept until then. A second one, at least two seconds later, ends the process at once.
    """

    def __init__(self) -> None:
        self._is_interruptible = False
        self._requested = ""
        self._requested_at = 0.0
        self._number = 0
        self._previous: dict[int, Any] = {}

    @contextmanager
    def installed(self) -> Iterator["StopSignals"]:
        """Handle signals in this block; in a thread, which gets none, only `check` works.

        After the block, a signal that arrived has the effect that the program had set.
        """
        if threading.current_thread() is threading.main_thread():
            for name in SIGNAL_NAMES:
                number = getattr(signal, name)
                # An ignored signal (nohup, a Celery worker's Ctrl-C) stays ignored.
                if signal.getsignal(number) not in {signal.SIG_IGN, None}:
                    self._previous[number] = signal.signal(number, self._handle)
        try:
            yield self
        finally:
            previous = self._previous.get(self._number)
            self._restore()
            # For example, of a Celery worker that runs the job itself, or of the foreground scheduler.
            if callable(previous) and previous is not signal.default_int_handler:
                previous(self._number, None)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Raise `StopRequested` in this block, for an earlier signal at once."""
        self._is_interruptible = True
        try:
            if self._requested:
                self._raise()
            yield
        finally:
            self._is_interruptible = False

    def hold(self) -> None:
        """Do not interrupt the job any more: it is about to write its result."""
        self._is_interruptible = False

    def check(self) -> None:
        """Raise `StopRequested` after `begin_shutdown`, or if the main thread has ended."""
        if self._is_interruptible and is_shutting_down():
            self._requested = SHUTDOWN
            self._raise()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            if time.monotonic() - self._requested_at >= SAME_REQUEST_SECONDS:
                self._restore()
                signal.raise_signal(number)
            return
        self._number, self._requested_at = number, time.monotonic()
        self._requested = signal.Signals(number).name
        if self._is_interruptible:
            self._raise()

    def _raise(self) -> None:
        self._is_interruptible = False
        raise StopRequested(self._requested)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()


def describe_stop(kind: str) -> str:
    """Which signal stopped which process: "Stopped by SIGTERM (process 7 of user moovi on web-1)."."""
    cause = SIGNAL_NAMES.get(kind) or (
        "the shutdown of its process" if kind in {SHUTDOWN, "SystemExit"} else "Ctrl-C"
    )
    return f"Stopped by {cause} (process {os.getpid()} of user {_user()} on {socket.gethostname()})."


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
