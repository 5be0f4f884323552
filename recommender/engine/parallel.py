"""Runs a training on two threads with bit-identical results.

Each item runs on one thread, and results keep the order of the items.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from recommender.engine.native_threads import one_native_thread

T = TypeVar("T")
WorkItem = Callable[[], T]


class Submit(Protocol):
    """Starts work items, which must not wait for each other."""

    def __call__(self, items: Iterable[WorkItem[T]]) -> Callable[[], list[T]]:
        """Start the items; the returned function, to be called once, gives the results in order."""


@contextmanager
def two_workers() -> Iterator[Submit]:
    """Yield a `Submit` with a second thread; the caller's thread runs items that have not started."""
    # BLAS gets one thread per item, because sums split over threads differ in the last bit from run to
    # run, and threads that wait for each other on a busy machine cost more than they gain. numpy, scipy
    # and BLAS release Python's lock while they compute.
    with one_native_thread(), ThreadPoolExecutor(1, "training_worker") as worker:

        def submit(items: Iterable[WorkItem[T]]) -> Callable[[], list[T]]:
            submitted = [(worker.submit(item), item) for item in items]
            return lambda: _collect_results(submitted)

        try:
            yield submit
        finally:
            worker.shutdown(wait=False, cancel_futures=True)


def available_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def submit_inline(items: Iterable[WorkItem[T]]) -> Callable[[], list[T]]:
    """A `Submit` without threads: items run when results are requested."""
    return lambda: [item() for item in items]


def _collect_results(submitted: list[tuple[Future[T], WorkItem[T]]]) -> list[T]:
    # An item that can be cancelled has not started, so this thread runs it instead of waiting.
    own = {place: item() for place, (future, item) in enumerate(submitted) if future.cancel()}
    return [own[place] if place in own else future.result() for place, (future, _) in enumerate(submitted)]
