"""Are Beat and the workers there, do they keep up, and is there room on the disks?"""

import shutil
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.jobs import lock
from ingestion.jobs.heartbeats import SILENT_AFTER, add_facts, is_silent, latest_heartbeats
from ingestion.models import Heartbeat, IngestionRun

BEAT, WORKER, QUEUE, DISK = "beat_dead", "worker_gone", "queue_growing", "disk_nearly_full"
# A queue that for so long only grew, and by so much of its limit, will not get shorter by itself.
GROWING_FOR: Final = timedelta(minutes=10)
GROWING_SHARE: Final = 0.25
# More room than this is enough, however large the disk: the pages of a million rows take 2 GB.
ENOUGH_BYTES: Final = 20 * 10**9
CRITICAL_SHARE: Final = 0.03


def beat_alive(now: datetime) -> None:
    """Report that Beat fell silent, where it was ever there and no foreground scheduler took its place."""
    alive = latest_heartbeats()
    beat = alive.get(Heartbeat.Part.BEAT)
    if (
        beat is None
        or not is_silent(beat, now)
        or _is_scheduler_alive(alive.get(Heartbeat.Part.SCHEDULER), now)
    ):
        incidents.resolve(BEAT, now)
        return
    incidents.open_or_update(Condition(BEAT, BEAT, Severity.CRITICAL, _silence_facts(beat, now)), now)


def workers_alive(now: datetime, worker_responds: Callable[[], bool]) -> None:
    """Report that no worker takes what Beat sends; while Beat is silent too, nobody can tell.

    Args:
        answers: whether a worker answers when it is asked: one whose every process is at a long task does,
            and takes no other task meanwhile.
    """
    alive = latest_heartbeats()
    beat, worker = alive.get(Heartbeat.Part.BEAT), alive.get(Heartbeat.Part.WORKER)
    if is_silent(beat, now):
        return
    # Where no worker ever came, one is missed when Beat has been sending for long enough.
    too_early = worker is None and beat is not None and beat.since > now - SILENT_AFTER
    is_open = incidents.open_incidents().filter(key=WORKER).exists()
    # Asked once: where messages are files, every question to a dead worker leaves one.
    if not is_silent(worker, now) or too_early or (not is_open and worker_responds()):
        incidents.resolve(WORKER, now)
        return
    facts = _silence_facts(worker, now) if worker else {}
    incidents.open_or_update(Condition(WORKER, WORKER, Severity.CRITICAL, facts), now)


def queue_growing(now: datetime, length: int, limit: int) -> None:
    """Report a queue that is too long, or only grew for ten minutes; not where no worker is there."""
    watchdog = latest_heartbeats().get(Heartbeat.Part.WATCHDOG)
    kept = watchdog.facts.get("queue", []) if watchdog else []
    past = [[at, n] for at, n in kept if datetime.fromisoformat(at) > now - 2 * GROWING_FOR]
    add_facts(Heartbeat.Part.WATCHDOG, queue=[*past, [now.isoformat(), length]])
    if incidents.open_incidents().filter(key=WORKER).exists():
        return
    if length <= limit and not _only_grew([*past, [now.isoformat(), length]], now, GROWING_SHARE * limit):
        incidents.resolve(QUEUE, now, facts={"length": length})
        return
    facts = {"length": length, "limit": limit}
    incidents.open_or_update(Condition(QUEUE, QUEUE, Severity.WARNING, facts), now)


def disk_room(
    now: datetime, folders: Mapping[str, Path], least_share: float, enough_bytes: int = ENOUGH_BYTES
) -> None:
    """Report the disks with less room than this share of them; folders on one disk are one incident.

    Args:
        folders: by what is kept there; one that is not there yet is looked for in its parents.
        enough: bytes; a disk with more room than this has enough.
    """
    disks: dict[int, Condition | None] = {}
    for name, folder in folders.items():
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        disks.setdefault(there.stat().st_dev, _nearly_full(name, there, least_share, enough_bytes))
    incidents.sync_scope(DISK, [disk for disk in disks.values() if disk is not None], now)


def _is_scheduler_alive(scheduler: Heartbeat | None, now: datetime) -> bool:
    """A foreground scheduler gives no sign of life while it runs an ingestion; the run itself does."""
    run = lock.find_running(IngestionRun)
    if scheduler is None or run is None:
        return not is_silent(scheduler, now)
    return not is_silent(scheduler, now) or (run.host, run.pid) == (scheduler.host, scheduler.pid)


def _silence_facts(pulse: Heartbeat, now: datetime) -> dict[str, Any]:
    age = (now - pulse.at).total_seconds()
    return {"last_seen_at": pulse.at.isoformat(), "age_seconds": age, "host": pulse.host}


def _only_grew(past: list[list[Any]], now: datetime, by: float) -> bool:
    """Whether what was measured never shrank since before `GROWING_FOR`, and grew by at least so much."""
    old = [n for at, n in past if datetime.fromisoformat(at) <= now - GROWING_FOR]
    new = [n for at, n in past if datetime.fromisoformat(at) > now - GROWING_FOR]
    if not old:
        return False
    lengths = [old[-1], *new]
    return lengths == sorted(lengths) and lengths[-1] - lengths[0] >= by


def _nearly_full(name: str, path: Path, least_share: float, enough: int) -> Condition | None:
    room = shutil.disk_usage(path)
    share = room.free / room.total if room.total else 1.0
    if share >= least_share or room.free >= enough:
        return None
    facts = {"free_share": share, "free_bytes": room.free, "limit_share": least_share, "path": str(path)}
    severity = Severity.CRITICAL if share < CRITICAL_SHARE else Severity.WARNING
    return Condition(f"{DISK}:{name}", DISK, severity, facts)
