"""Threads that fetch pages; the consumer gets a callback while it waits."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Event

from ingestion.source.connection import SourceConnection
from ingestion.source.response import PageResponse

# `on_wait` must be called once a second; half a second leaves time for a slow call.
TICK_SECONDS = 0.5
# A thread may open a socket just after all were aborted, so `close` aborts again until all threads ended.
ABORT_RETRY_SECONDS = 0.02


class FetchPool:
    """A pool with one thread for each connection; the caller limits how many pages are in flight."""

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
        # A copy of the caller's context, so that the thread's log lines name the run.
        future = self._pool.submit(copy_context().run, self._fetch_on_free_connection, number)
        self._running.add(future)
        future.add_done_callback(self._done.put)

    def next_page(self) -> PageResponse:
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
        """End all waits, join all threads and close all sockets; may be called twice."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        # A future cancelled before it ran is done, but `wait` on it would never return.
        while unfinished := [future for future in self._running if not future.done()]:
            for connection in self._connections:
                connection.abort()
            wait(unfinished, timeout=ABORT_RETRY_SECONDS)
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    def _fetch_on_free_connection(self, number: int) -> PageResponse:
        connection = self._free.pop()
        try:
            return self._fetch(connection, number)
        finally:
            self._free.append(connection)

    def _tick(self) -> None:
        self._last_tick = self._clock()
        for connection in self._connections:
            connection.abort_if_overdue()
        if self._on_wait is not None:
            self._on_wait()
