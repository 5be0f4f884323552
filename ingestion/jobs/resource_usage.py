"""Measures what a job costs: wall-clock seconds, CPU seconds and peak memory; returns freed memory."""

import ctypes
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from threading import Event, Thread
from typing import Final

import psutil
from django.db import DatabaseError, connection

from ingestion.jobs.lock import JobHeartbeat, LockLost

logger = logging.getLogger(__name__)

# A sample costs 30 us, and the large matrices that cause the peak exist for longer than this interval.
SAMPLE_SECONDS: Final = 0.1
# Far below the lock's timeout of five minutes; one stage of a training may take minutes.
HEARTBEAT_SECONDS: Final = 20.0


class ResourceMonitor:
    """Measures this process with its threads and ended children, from its creation on.

    `peak_memory` (bytes) is the largest sample; a shorter peak is missed.
    """

    def __init__(self, running_children: Callable[[], Iterable[int]] = tuple) -> None:
        """Start to measure this process.

        Args:
            running_children: ids of processes whose private memory counts too.
        """
        self._process = psutil.Process()
        self._running_children = running_children
        self._started = time.monotonic()
        self._cpu_before = self._cpu()
        self.peak_memory = 0
        self.sample()

    def sample(self) -> None:
        children = sum(_private_memory(pid) for pid in self._running_children())
        self.peak_memory = max(self.peak_memory, self._process.memory_info().rss + children)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def cpu_seconds(self) -> float:
        return self._cpu() - self._cpu_before

    @contextmanager
    def sample_in_background(self, heartbeat: JobHeartbeat | None = None) -> Iterator[None]:
        """Sample memory in a thread until the block ends, and send `heartbeat` regularly."""
        ended = Event()
        # A copy of this thread's context, so that the thread's log lines name the job.
        thread = Thread(
            target=copy_context().run,
            args=(self._run_loop, heartbeat, ended),
            name="resource_monitor",
            daemon=True,
        )
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.sample()

    def _run_loop(self, heartbeat: JobHeartbeat | None, ended: Event) -> None:
        last_sent = time.monotonic()
        while not ended.wait(SAMPLE_SECONDS):
            self.sample()
            if heartbeat is not None and time.monotonic() - last_sent >= HEARTBEAT_SECONDS:
                last_sent = time.monotonic()
                _send_heartbeat(heartbeat)

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system + times.children_user + times.children_system


def return_freed_memory() -> None:
    """Give memory that this process has freed back to the operating system, where the C library is glibc.

    glibc keeps what is freed between blocks that are still used: half a gigabyte after a stage of a training
    of a million plays. Takes about 10 ms.
    """
    if os.name == "posix":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # macOS and musl have none
        if trim is not None:
            trim(0)


def _private_memory(pid: int) -> int:
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - getattr(memory, "shared", 0))


def _send_heartbeat(heartbeat: JobHeartbeat) -> None:
    try:
        heartbeat.send()
    except (LockLost, DatabaseError) as error:
        # The job gets the same error from its own next heartbeat, and ends.
        logger.warning("job_heartbeat_failed reason=%r", str(error))
    finally:
        # Each thread has its own connection.
        connection.close()
