"""Threads that fetch pages for one reader, who is never left waiting in silence."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Event

from ingestion.source.connection import Line
from ingestion.source.response import Answer

# The reader's heartbeat is promised once a second; twice as often leaves room for a slow one.
BEAT_SECONDS = 0.5
# A thread may open a connection just after all were cut; so they are cut again until all are home.
CUT_AGAIN_SECONDS = 0.02


class Crew:
    """As many threads as lines; whoever submits decides how far they may run ahead."""

    def __init__(
        self,
        fetch: Callable[[Line, int], Answer],
        lines: Sequence[Line],
        *,
        stop: Event,
        on_wait: Callable[[], None] | None,
        clock: Callable[[], float],
    ) -> None:
        self._fetch = fetch
        self._lines = lines
        self._free = deque(lines)
        self._stop = stop
        self._on_wait = on_wait
        self._clock = clock
        self._last_beat = clock()
        self._running: set[Future[Answer]] = set()
        self._done: SimpleQueue[Future[Answer]] = SimpleQueue()
        self._pool = ThreadPoolExecutor(len(lines), thread_name_prefix="source")

    def submit(self, number: int) -> None:
        """Have this page fetched."""
        # In a copy of the reader's context, so that log lines name the reader's work.
        future = self._pool.submit(copy_context().run, self._work, number)
        self._running.add(future)
        future.add_done_callback(self._done.put)

    def next(self) -> Answer:
        """The next page to land; its error is raised here."""
        if self._clock() - self._last_beat >= BEAT_SECONDS:
            self._beat()
        while True:
            try:
                future = self._done.get(timeout=BEAT_SECONDS)
            except Empty:
                self._beat()
                continue
            self._running.discard(future)
            return future.result()

    def close(self) -> None:
        """End every wait, join every thread, close every socket. Twice does no harm."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        # Not done: those that run. `wait` alone would wait for ever for the cancelled ones.
        while left := [future for future in self._running if not future.done()]:
            for line in self._lines:
                line.cut()
            wait(left, timeout=CUT_AGAIN_SECONDS)
        self._pool.shutdown(wait=True)
        for line in self._lines:
            line.close()

    def _work(self, number: int) -> Answer:
        line = self._free.pop()
        try:
            return self._fetch(line, number)
        finally:
            self._free.append(line)

    def _beat(self) -> None:
        self._last_beat = self._clock()
        for line in self._lines:
            line.cut_if_overdue()
        if self._on_wait is not None:
            self._on_wait()
