"""Runs the ingestion in this process, and kills it with SIGKILL at its n-th heartbeat or progress call.

Usage: python -m tests.support.processes.killed_run N [SLOT]. Prints "survived" if the run ended before that.
"""

import os
import signal
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
django.setup()

from ingestion.jobs.lock import JobHeartbeat
from ingestion.models import IngestionRun
from ingestion.pipeline.ingest import IngestionProgress
from ingestion.services import ingest_now


def main(last: int, slot: str = "") -> None:
    left = [last]

    def count_down() -> None:
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    class Doom(IngestionProgress):
        def on_stage(self, run: IngestionRun, name: str) -> None:
            count_down()

        def on_progress(self, done: int, total: int) -> None:
            count_down()

    beat_now = JobHeartbeat.send

    def beat_and_count(heart: JobHeartbeat) -> None:
        beat_now(heart)
        count_down()

    # Every transaction begins with a heartbeat: killing there leaves it open, half-way.
    JobHeartbeat.send = beat_and_count  # type: ignore[method-assign, assignment]
    ingest_now(Doom(), slot=slot, trigger="schedule" if slot else "command")
    sys.stdout.write("survived\n")


main(int(sys.argv[1]), *sys.argv[2:])
