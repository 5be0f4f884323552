"""BLAS and OpenMP compute on one thread, whenever their libraries are loaded."""

import os
import subprocess
import sys

CODE = """
import numpy
from threadpoolctl import threadpool_info
from recommender.engine.native_threads import one_native_thread
def count():
    return sorted({one["num_threads"] for one in threadpool_info()})
with one_native_thread():
    print(count())
import sklearn.cluster
with one_native_thread():
    print(count())
# BLAS has at most one thread a core.
print(max(count()))
"""


def test_a_library_that_is_loaded_later_is_limited_too_and_the_others_are_free_again() -> None:
    threads = {"OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "3"}

    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **threads},
    )

    assert done.stdout.splitlines() == ["[1]", "[1]", "3"]
