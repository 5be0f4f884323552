"""Run a full retrain and print what it took. Usage: python -m benchmarks.recommendations.retrain_run."""

import sys
import time

import django
import orjson

django.setup()

from benchmarks.memory import peak_memory
from recommender.models import TrainingRun
from recommender.retraining import retrain_now


def main() -> None:
    before = time.perf_counter()
    run = retrain_now(trigger=TrainingRun.Trigger.COMMAND)
    if run.status != TrainingRun.Status.SUCCEEDED:
        sys.exit(f"The training did not succeed: {run.status}, {run.error}")
    # The training samples its memory with that of its processes; a short peak of this one is in the other.
    memory = max(run.version.peak_memory if run.version else 0, peak_memory())
    figures = {
        "seconds": time.perf_counter() - before, "peak_memory": memory, "cpu_seconds": run.cpu_seconds,
    }  # fmt: skip
    sys.stdout.buffer.write(orjson.dumps(figures))


if __name__ == "__main__":
    main()
