"""implicit's ALS on the plays in the database. Usage: python -m benchmarks._als."""

import sys
import time

import django
import orjson

django.setup()

from implicit.als import AlternatingLeastSquares  # noqa: E402

from benchmarks.memory import peak_memory  # noqa: E402
from recommender.matrices import read_training_data  # noqa: E402


def main() -> None:
    before = time.perf_counter()
    data = read_training_data()
    model = AlternatingLeastSquares(factors=64, iterations=15, random_state=7, use_gpu=False)
    model.fit(data.plays.matrix(), show_progress=False)
    sys.stdout.buffer.write(
        orjson.dumps({"seconds": time.perf_counter() - before, "peak_memory": peak_memory()})
    )


if __name__ == "__main__":
    main()
