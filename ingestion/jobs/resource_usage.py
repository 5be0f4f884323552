"""What a run costs: CPU seconds and memory of this process, with its threads."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from threading import Event, Thread
from typing import Final

import psutil
from django.db import DatabaseError, connection

from ingestion.jobs.lock import JobHeartbeat, LockLost


class ResourceMeter:
    """Measures from its making on.

    Memory is sampled: a peak between two samples is not seen, one that lasts is.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._started = time.monotonic()
        self._cpu_before = self._cpu()
        self.peak_memory = 0
        self.sample()

    def sample(self) -> None:
        self.peak_memory = max(self.peak_memory, self._process.memory_info().rss)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def cpu_seconds(self) -> float:
        return self._cpu() - self._cpu_before

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system


logger = logging.getLogger(__name__)
# A stage may take minutes, in which others must see that this training lives; far below the lease.
HEARTBEAT_SECONDS: Final = 20.0  # seconds
# A look costs 30 us; a matrix that decides the peak lives longer than this.
SAMPLE_SECONDS: Final = 0.1  # seconds


@contextmanager
def run_heartbeat_thread(heartbeat: JobHeartbeat, meter: ResourceMeter) -> Iterator[None]:
    """While inside, another thread beats the heart and looks at the memory."""
    ended = Event()
    # In a copy of this thread's context, so that its log lines name the training.
    thread = Thread(
        target=copy_context().run,
        args=(_beat_and_sample, heartbeat, meter, ended),
        name="training_alive",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _beat_and_sample(heartbeat: JobHeartbeat, meter: ResourceMeter, ended: Event) -> None:
    looks = 0
    while not ended.wait(SAMPLE_SECONDS):
        meter.sample()
        looks += 1
        if looks % round(HEARTBEAT_SECONDS / SAMPLE_SECONDS):
            continue
        try:
            heartbeat.send()
        except (LockLost, DatabaseError) as error:
            # The work itself finds out at its next stage.
            logger.warning("training_heartbeat_failed reason=%r", str(error))
        finally:
            connection.close()
