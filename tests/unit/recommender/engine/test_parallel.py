"""Two threads give the same results as one."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial

import pytest
from threadpoolctl import threadpool_info

from recommender.engine.parallel import submit_inline, two_workers

MIX = """
import hashlib, numpy as np
from scipy.sparse import csr_array
from recommender.engine.data import Catalogue, TrainingSet
from recommender.engine.mix.fit import fit_mix
draw = np.random.default_rng(1)
unknown = np.full(300, np.nan)
catalogue = Catalogue(
    np.arange(300), [f"Artist {n % 90}" for n in range(300)], [""] * 300, [""] * 300,
    [f"style {n % 8}" for n in range(300)], unknown, unknown, {}, np.ones(300, dtype=bool),
)
plays = csr_array((draw.random((200, 300)) < 0.05).astype(np.float32))
arrays = fit_mix(TrainingSet(catalogue, plays)).arrays()
print(hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest())
"""


def squares(numbers: range) -> list[Callable[[], int]]:
    return [partial(pow, number, 2) for number in numbers]


def test_results_keep_the_order_of_the_items() -> None:
    with two_workers() as begin:
        first, second = begin(squares(range(50))), begin(squares(range(50, 60)))
        found = [second(), first()]

    assert found == [[n * n for n in range(50, 60)], [n * n for n in range(50)]]
    assert submit_inline(squares(range(3)))() == [0, 1, 4]


def test_the_caller_runs_an_item_that_has_not_started() -> None:
    is_free, has_begun = threading.Event(), threading.Event()

    def held_up() -> str:
        has_begun.set()
        assert is_free.wait(60)
        return threading.current_thread().name

    with two_workers() as begin:
        long, short = begin([held_up]), begin([lambda: threading.current_thread().name])
        assert has_begun.wait(60)
        asked = short()
        is_free.set()
        other = long()

    assert asked == [threading.current_thread().name]
    assert other != asked


def test_an_error_in_either_thread_reaches_the_caller() -> None:
    def fails() -> int:
        raise ZeroDivisionError("nothing to divide by")

    with two_workers() as begin:
        found = begin([fails, *squares(range(3))])

        with pytest.raises(ZeroDivisionError, match="nothing to divide by"):
            found()


def test_an_item_uses_one_blas_thread() -> None:
    with two_workers():
        widths = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    assert widths == {1}


@pytest.mark.slow
def test_one_and_four_blas_threads_give_the_same_bits() -> None:
    found = [
        subprocess.run(
            [sys.executable, "-c", MIX], capture_output=True, text=True, check=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": width, "OMP_NUM_THREADS": width},
        ).stdout
        for width in ("1", "4")
    ]  # fmt: skip

    assert len(found[0]) == 65
    assert found[0] == found[1]
