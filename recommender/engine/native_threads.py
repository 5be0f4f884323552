"""One thread for the libraries that compute with several."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@contextmanager
def one_native_thread() -> Iterator[None]:
    """Let BLAS and OpenMP compute on one thread: sums split over threads differ in the last bit."""
    # scikit-learn brings an OpenMP of its own.
    with _controller("sklearn" in sys.modules).limit(limits=1):
        yield


@cache
def _controller(with_scikit_learn: bool) -> ThreadpoolController:
    # Kept, because it looks through all libraries of the process, which takes some milliseconds.
    return ThreadpoolController()
