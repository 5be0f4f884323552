"""Fit implicit's ALS on the plays in the database. Usage: python -m benchmarks.recommendations.als_fit."""

import sys
import time

import django
import orjson

django.setup()

from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from benchmarks.memory import peak_memory
from recommender.training.dataset import read_training_data


def main() -> None:
    before = time.perf_counter()
    # implicit accepts only scipy's older matrix type.
    plays = csr_matrix(read_training_data().plays.matrix())
    read = time.perf_counter()
    # As implicit recommends: BLAS threads would compete with its own.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(factors=64, iterations=15, random_state=7, use_gpu=False)
        model.fit(plays, show_progress=False)
    done = time.perf_counter()
    figures = {
        "seconds": done - before,
        "fit_seconds": done - read,
        "peak_memory": peak_memory(),
        "cpu_seconds": time.process_time(),
    }
    sys.stdout.buffer.write(orjson.dumps(figures))


if __name__ == "__main__":
    main()
