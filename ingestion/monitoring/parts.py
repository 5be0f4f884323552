"""Components of a running service (Beat, workers, the watchdog), and whether each of them runs."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from ingestion.jobs import lock
from ingestion.jobs.heartbeats import SILENT_AFTER, is_silent
from ingestion.models import Heartbeat, IngestionRun

RUNNING: Final = "running"
SILENT: Final = "silent"
# The component never ran, although the service has been in use for longer than a start takes.
MISSING: Final = "missing"
NOT_YET: Final = "not started yet"
# A foreground scheduler starts runs without Beat and workers.
REPLACED_BY_SCHEDULER: Final = (Heartbeat.Part.BEAT, Heartbeat.Part.WORKER)


class PartState(NamedTuple):
    """A component's state; `heartbeat` is None if it never ran."""

    part: str
    state: str
    heartbeat: Heartbeat | None

    @property
    def is_problem(self) -> bool:
        return self.state in {SILENT, MISSING}


def part_states(
    expected: Collection[str], heartbeats: Mapping[str, Heartbeat], now: datetime
) -> dict[str, PartState]:
    """The states of components that are expected or ever ran, without those that a scheduler replaces."""
    replaced = is_scheduler_alive(heartbeats.get(Heartbeat.Part.SCHEDULER), now)
    states = {}
    for part in (Heartbeat.Part.BEAT, Heartbeat.Part.WORKER, Heartbeat.Part.WATCHDOG):
        heartbeat = heartbeats.get(part)
        if replaced and part in REPLACED_BY_SCHEDULER:
            continue
        if heartbeat is not None:
            state = SILENT if is_silent(heartbeat, now) else RUNNING
        elif part in expected:
            state = MISSING if _is_in_use(heartbeats, now) else NOT_YET
        else:
            continue
        states[str(part)] = PartState(part, state, heartbeat)
    return states


def is_scheduler_alive(scheduler: Heartbeat | None, now: datetime) -> bool:
    """Whether the foreground scheduler runs, also while it ingests and sends no heartbeats."""
    if scheduler is None or not is_silent(scheduler, now):
        return scheduler is not None
    run = lock.find_running(IngestionRun)
    return run is not None and (run.host, run.pid) == (scheduler.host, scheduler.pid)


def _is_in_use(heartbeats: Mapping[str, Heartbeat], now: datetime) -> bool:
    """Whether the service has run for so long that every component should have started."""
    limit = now - SILENT_AFTER
    if any(heartbeat.since <= limit for heartbeat in heartbeats.values()):
        return True
    return IngestionRun.objects.filter(started_at__lte=limit).exists()
