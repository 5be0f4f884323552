"""Run one import in a fresh process and print what it took.

Usage: python -m benchmarks.imports.ingest_run [PROFILE].

Starting Python and Django is not measured. PROFILE: a file for the main thread's profile; the times are then
distorted.
"""

import cProfile
import sys
import time

import django
import orjson

django.setup()

from benchmarks.memory import peak_memory
from ingestion.models import IngestionRun, ResourceReport
from ingestion.services import ingest_now


def main(profile: str = "") -> None:
    before, cpu_before = time.perf_counter(), time.process_time()
    run = _run_with_profile(profile) if profile else ingest_now()
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu_before
    if run.status != IngestionRun.Status.SUCCEEDED:
        sys.exit(f"The run did not succeed: {run.status}, {run.error}")
    written = sum(ResourceReport.objects.filter(run=run).values_list("written", flat=True))
    figures = {
        "seconds": seconds, "cpu": cpu, "peak_memory": peak_memory(), "written": written,
        "received": run.received, "new": run.new, "unchanged": run.unchanged,
    }  # fmt: skip
    sys.stdout.buffer.write(orjson.dumps(figures))


def _run_with_profile(path: str) -> IngestionRun:
    profile = cProfile.Profile()
    run: IngestionRun = profile.runcall(ingest_now)
    profile.dump_stats(path)
    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
