"""One thread for the libraries that compute with several."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401  # loads the BLAS of numpy and that of scipy
from threadpoolctl import ThreadpoolController

# Imported last of what scikit-learn loads OpenMP with.
OPENMP_OF_SCIKIT_LEARN = "sklearn.utils._openmp_helpers"


@contextmanager
def one_native_thread() -> Iterator[None]:
    """Let BLAS and OpenMP compute on one thread: sums split over threads differ in the last bit."""
    with _controller(OPENMP_OF_SCIKIT_LEARN in sys.modules).limit(limits=1):
        yield


@cache
def _controller(with_scikit_learn: bool) -> ThreadpoolController:
    # Kept, because it looks through all libraries of the process, which takes some milliseconds.
    return ThreadpoolController()
