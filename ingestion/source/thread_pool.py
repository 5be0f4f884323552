"""Threads that fetch pages for one reader, who is never left waiting in silence."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Event

from ingestion.source.connection import SourceConnection
from ingestion.source.response import PageResponse

# The reader's heartbeat is promised once a second; twice as often leaves room for a slow one.
TICK_SECONDS = 0.5
# A thread may open a connection just after all were cut; so they are cut again until all are home.
ABORT_RETRY_SECONDS = 0.02


class FetchPool:
    """As many threads as lines; whoever submits decides how far they may run ahead."""

    def __init__(
        self,
        fetch: Callable[[SourceConnection, int], PageResponse],
        connections: Sequence[SourceConnection],
        *,
        stop: Event,
        on_wait: Callable[[], None] | None,
        clock: Callable[[], float],
    ) -> None:
        self._fetch = fetch
        self._connections = connections
        self._free = deque(connections)
        self._stop = stop
        self._on_wait = on_wait
        self._clock = clock
        self._last_tick = clock()
        self._running: set[Future[PageResponse]] = set()
        self._done: SimpleQueue[Future[PageResponse]] = SimpleQueue()
        self._pool = ThreadPoolExecutor(len(connections), thread_name_prefix="source")

    def submit(self, number: int) -> None:
        """Have this page fetched."""
        # In a copy of the reader's context, so that log lines name the reader's work.
        future = self._pool.submit(copy_context().run, self._fetch_on_free_connection, number)
        self._running.add(future)
        future.add_done_callback(self._done.put)

    def next_page(self) -> PageResponse:
        """The next page to land; its error is raised here."""
        if self._clock() - self._last_tick >= TICK_SECONDS:
            self._tick()
        while True:
            try:
                future = self._done.get(timeout=TICK_SECONDS)
            except Empty:
                self._tick()
                continue
            self._running.discard(future)
            return future.result()

    def close(self) -> None:
        """End every wait, join every thread, close every socket. Twice does no harm."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        # Not done: those that run. `wait` alone would wait for ever for the cancelled ones.
        while left := [future for future in self._running if not future.done()]:
            for line in self._connections:
                line.abort()
            wait(left, timeout=ABORT_RETRY_SECONDS)
        self._pool.shutdown(wait=True)
        for line in self._connections:
            line.close()

    def _fetch_on_free_connection(self, number: int) -> PageResponse:
        line = self._free.pop()
        try:
            return self._fetch(line, number)
        finally:
            self._free.append(line)

    def _tick(self) -> None:
        self._last_tick = self._clock()
        for line in self._connections:
            line.abort_if_overdue()
        if self._on_wait is not None:
            self._on_wait()
