"""Two threads at work on one training, and the same bits as from one.

numpy, scipy and BLAS let go of Python's lock while they compute. Each piece of work is computed by one
thread, and pieces are put together in their order: how many cores there are, and which thread came first,
leaves no trace.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
WorkItem = Callable[[], T]


class Submit(Protocol):
    """Begins pieces of work, which must not wait for one another."""

    def __call__(self, pieces: Iterable[WorkItem[T]]) -> Callable[[], list[T]]:
        """A function, to be called once, that brings the results in the order of the pieces."""


def submit_inline(pieces: Iterable[WorkItem[T]]) -> Callable[[], list[T]]:
    """Begin nothing before it is asked for."""
    return lambda: [piece() for piece in pieces]


@contextmanager
def two_workers() -> Iterator[Submit]:
    """While inside, another thread works on what was begun; who asks for it takes over what is not begun yet.

    All arithmetic inside is on one thread a piece: sums that threads share differ in the last bit from run to
    run, and threads that wait for each other on a busy machine cost more than they bring.
    """
    with threadpool_limits(1), ThreadPoolExecutor(1, "training_lane") as other:

        def begin(pieces: Iterable[WorkItem[T]]) -> Callable[[], list[T]]:
            begun = [(other.submit(piece), piece) for piece in pieces]
            return lambda: _collect_results(begun)

        try:
            yield begin
        finally:
            other.shutdown(wait=False, cancel_futures=True)


def _collect_results(submitted: list[tuple[Future[T], WorkItem[T]]]) -> list[T]:
    own = {place: piece() for place, (future, piece) in enumerate(submitted) if future.cancel()}
    return [own[place] if place in own else future.result() for place, (future, _) in enumerate(submitted)]
