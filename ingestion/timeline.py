"""What a run does when, and how far it is: kept on the run's row, written with its heartbeat."""

import time
from collections import defaultdict
from typing import Any, Final

from django.utils import timezone

from ingestion.models import IngestionRun

# The columns that every heartbeat writes besides its time.
TOLD: Final = ("stage", "stage_done", "stage_total", "stages")


class Timeline:
    """The stages of one run, in order; changes the run's attributes and writes nothing itself."""

    def __init__(self, run: IngestionRun) -> None:
        self._run = run
        self._began = time.monotonic()
        self._resource = ""
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def begin(self, name: str, resource: str = "") -> None:
        """End the stage before and begin this one, which is work on `resource` or on none."""
        self.end()
        self._began, self._resource = time.monotonic(), resource
        self._run.stage, self._run.stage_done, self._run.stage_total = name, 0, 0
        stage: dict[str, Any] = {
            "name": name,
            "started_at": timezone.now().isoformat(timespec="milliseconds"),
            "seconds": None,
        }
        self._run.stages.append(stage)

    def end(self) -> None:
        """The stage is over; a run that dies leaves its last one without seconds."""
        if not self._run.stages or self._run.stages[-1]["seconds"] is not None:
            return
        seconds = time.monotonic() - self._began
        self._run.stages[-1]["seconds"] = round(seconds, 3)
        self._seconds[self._resource] += seconds

    def progress(self, done: int, total: int) -> None:
        """Rows done in this stage, of how many."""
        self._run.stage_done, self._run.stage_total = done, total

    def seconds_of(self, resource: str) -> float | None:
        """How long the ended stages of a resource took; None if none did."""
        return self._seconds.get(resource)
