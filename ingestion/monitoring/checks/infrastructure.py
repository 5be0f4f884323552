"""Watchdog checks of Celery Beat, workers, the task queue and the disks."""

import logging
import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import redis
from celery import current_app
from django.conf import settings

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.jobs.heartbeats import SILENT_AFTER, add_facts, is_silent, latest_heartbeats
from ingestion.models import Heartbeat
from ingestion.monitoring.parts import PartState, part_states

logger = logging.getLogger(__name__)

BEAT, WORKER, WATCHDOG = "beat_dead", "worker_gone", "watchdog_dead"
QUEUE, DISK = "queue_growing", "disk_nearly_full"
# A queue that grew for this long, by this share of its limit, will not shrink by itself.
GROWING_FOR: Final = timedelta(minutes=10)
GROWING_SHARE: Final = 0.25
# This much free space is enough on any disk: the pages of a million rows take 2 GB.
ENOUGH_BYTES: Final = 20 * 10**9
CRITICAL_SHARE: Final = 0.03
# A worker on the same machine answers within 0.1 s.
WORKER_PING_TIMEOUT: Final = 2.0
PROCESS_STARTED: Final = time.monotonic()


def beat_alive(now: datetime) -> None:
    """Report that Beat stopped, or never started, if no foreground scheduler replaces it."""
    beat = _part(Heartbeat.Part.BEAT, now)
    if beat is None or not beat.is_problem:
        incidents.resolve(BEAT, now)
        return
    facts = _silence_facts(beat.heartbeat, now)
    incidents.open_or_update(Condition(BEAT, BEAT, Severity.CRITICAL, facts), now)


def workers_alive(now: datetime) -> None:
    """Report that no worker runs tasks; unknown while Beat, which sends them, is silent.

    A worker whose processes are all busy with long tasks records no heartbeat but answers a ping.
    """
    heartbeats = latest_heartbeats()
    beat, worker = heartbeats.get(Heartbeat.Part.BEAT), heartbeats.get(Heartbeat.Part.WORKER)
    if is_silent(beat, now):
        return
    # If there never was a worker, one is missing once Beat has been running for long enough.
    too_early = worker is None and beat is not None and beat.since > now - SILENT_AFTER
    is_open = incidents.open_incidents().filter(key=WORKER).exists()
    # Pinged once per incident: with files as broker, every ping to a dead worker leaves a file.
    if not is_silent(worker, now) or too_early or (not is_open and is_worker_responding()):
        incidents.resolve(WORKER, now)
        return
    facts = _silence_facts(worker, now)
    incidents.open_or_update(Condition(WORKER, WORKER, Severity.CRITICAL, facts), now)


def watchdog_alive(now: datetime) -> None:
    """Report that the watchdog stopped or never started.

    Beat and the readiness endpoint open this incident; the watchdog resolves it.
    """
    watchdog = _part(Heartbeat.Part.WATCHDOG, now)
    if watchdog is None or not watchdog.is_problem:
        incidents.resolve(WATCHDOG, now)
        return
    facts = _silence_facts(watchdog.heartbeat, now)
    incidents.open_or_update(Condition(WATCHDOG, WATCHDOG, Severity.CRITICAL, facts), now)


def report_missing_watchdog(now: datetime) -> None:
    """Report a stopped watchdog from Beat and web processes, five minutes after their own start.

    After a machine was off, its watchdog needs up to two minutes.
    """
    if time.monotonic() - PROCESS_STARTED >= SILENT_AFTER.total_seconds():
        watchdog_alive(now)


def queue_growing(now: datetime) -> None:
    """Report a queue longer than MAX_QUEUE_LENGTH, or one that only grew for ten minutes.

    If there is no worker, only `workers_alive` reports it.
    """
    length, limit = queue_length(), settings.MAX_QUEUE_LENGTH
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


def disk_room(now: datetime) -> None:
    """Report disks with free space below both LEAST_FREE_DISK_SHARE and ENOUGH_BYTES.

    Folders on the same disk share one incident.
    """
    disks: dict[int, Condition | None] = {}
    for name, folder in data_folders().items():
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        disks.setdefault(existing.stat().st_dev, _nearly_full(name, existing))
    incidents.sync_scope_here(DISK, [disk for disk in disks.values() if disk is not None], now)


def is_worker_responding() -> bool:
    """Whether a worker answers a ping; False also if the broker is unavailable."""
    try:
        return bool(current_app.control.ping(timeout=WORKER_PING_TIMEOUT))
    except Exception as error:
        # Broker libraries raise any exception of their connection.
        logger.warning("worker_ping_failed reason=%s", type(error).__name__)
        return False


def queue_length() -> int:
    """The number of waiting tasks in all queues: messages in Redis, or files without Redis."""
    names = [queue.name for queue in settings.CELERY_TASK_QUEUES]
    if settings.REDIS_URL:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=5) as client:
            return sum(int(client.llen(name)) for name in names)
    folder = Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_in"])
    return sum(1 for name in names for _ in folder.glob(f"*.{name}.msg")) if folder.is_dir() else 0


def data_folders() -> dict[str, Path]:
    """The folders that this machine writes to, by content."""
    folders = {"staging": Path(settings.STAGING_DIR), "models": Path(settings.MODEL_STORAGE)}
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        folders = {"database": Path(database["NAME"]), **folders}
    if not settings.REDIS_URL:
        folders["broker"] = Path(settings.BROKER_DIR)
    return folders


def _part(part: str, now: datetime) -> PartState | None:
    return part_states(settings.EXPECTED_PARTS, latest_heartbeats(), now).get(part)


def _silence_facts(heartbeat: Heartbeat | None, now: datetime) -> dict[str, Any]:
    """How long the component has been silent, as facts; empty if it never ran."""
    if heartbeat is None:
        return {}
    age = (now - heartbeat.at).total_seconds()
    return {"last_seen_at": heartbeat.at.isoformat(), "age_seconds": age, "host": heartbeat.host}


def _only_grew(past: list[list[Any]], now: datetime, by: float) -> bool:
    old = [n for at, n in past if datetime.fromisoformat(at) <= now - GROWING_FOR]
    new = [n for at, n in past if datetime.fromisoformat(at) > now - GROWING_FOR]
    if not old:
        return False
    lengths = [old[-1], *new]
    return lengths == sorted(lengths) and lengths[-1] - lengths[0] >= by


def _nearly_full(name: str, path: Path) -> Condition | None:
    usage, limit = shutil.disk_usage(path), settings.LEAST_FREE_DISK_SHARE
    share = usage.free / usage.total if usage.total else 1.0
    if share >= limit or usage.free >= ENOUGH_BYTES:
        return None
    facts = {"free_share": share, "free_bytes": usage.free, "limit_share": limit, "path": str(path)}
    severity = Severity.CRITICAL if share < CRITICAL_SHARE else Severity.WARNING
    return Condition(f"{DISK}:{name}", DISK, severity, facts)
