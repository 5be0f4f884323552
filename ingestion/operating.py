"""From settings to what keeps the service well, once for all doors: the watchdog's checks, and forgetting.

The checks are named in `WATCHDOG_CHECKS`; the recommender brings its own.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import redis
from celery import current_app
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils.module_loading import import_string

from ingestion import outage, retention
from ingestion.checks import data, parts, runs
from ingestion.configuration import alert_channels, send_alerts
from ingestion.followup import follow_up_all
from ingestion.pipeline import first_line
from ingestion.watchdog import Round, watch

logger = logging.getLogger(__name__)

# A worker on the same machine answers within a tenth of a second.
ANSWER_WITHIN: Final = 2.0
QUEUE: Final = "celery"
HEALTH: Final = "/health/ready/"


def round_of_the_watchdog(now: datetime) -> Round | None:
    """Look at everything, follow up the runs that are over, and tell; None where it was done a moment ago."""
    checks = [import_string(path) for path in settings.WATCHDOG_CHECKS]
    with outage_told(now):
        return watch(now, [*checks, follow_up_all], send_alerts)


@contextmanager
def outage_told(now: datetime) -> Iterator[None]:
    """Tell people where the database can't be used in here, and that it is back where it can."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        database_away(now, error)
        raise
    outage.back(now, _outage_file(), link=settings.SITE_URL + HEALTH, language=settings.LANGUAGE_CODE)


def database_away(now: datetime, error: Exception) -> None:
    """Tell people that the database can't be used, once it could not for some minutes."""
    reason = f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")
    outage.away(
        now, _outage_file(), reason, alert_channels(), link=settings.SITE_URL + HEALTH,
        remind_after=timedelta(hours=settings.ALERT_REMIND_HOURS), language=settings.LANGUAGE_CODE,
    )  # fmt: skip


def forget_now(now: datetime) -> dict[str, int]:
    """Delete what was kept long enough; how many rows of each kind."""
    return retention.forget(
        now,
        runs=timedelta(days=settings.KEEP_RUNS_DAYS),
        settled=timedelta(days=settings.KEEP_SETTLED_DAYS),
    )


def runs_started(now: datetime) -> None:
    runs.runs_started(now, timedelta(minutes=settings.START_GRACE_MINUTES))


def runs_finished(now: datetime) -> None:
    runs.runs_finished(now, timedelta(minutes=settings.MAX_RUN_MINUTES))


def beat_alive(now: datetime) -> None:
    parts.beat_alive(now)


def workers_alive(now: datetime) -> None:
    parts.workers_alive(now, a_worker_answers)


def queue_growing(now: datetime) -> None:
    parts.queue_growing(now, queue_length(), settings.MAX_QUEUE_LENGTH)


def data_fresh(now: datetime) -> None:
    data.data_fresh(now, timedelta(hours=settings.MAX_DATA_AGE_HOURS))


def disk_room(now: datetime) -> None:
    parts.disk_room(now, written_folders(), settings.LEAST_FREE_DISK_SHARE)


def a_worker_answers() -> bool:
    """Whether a worker says that it is there; False also where the broker can't be asked."""
    try:
        return bool(current_app.control.ping(timeout=ANSWER_WITHIN))
    except Exception as error:
        # Brokers' libraries raise whatever their connection raised.
        logger.warning("workers_not_asked reason=%s", type(error).__name__)
        return False


def _outage_file() -> Path:
    return Path(settings.VAR_DIR) / "database-away.json"


def queue_length() -> int:
    """How many tasks wait for a worker: messages in Redis, or files without it."""
    if settings.REDIS_URL:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=5) as client:
            return int(client.llen(QUEUE))
    folder = Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_in"])
    return sum(1 for _ in folder.glob(f"*.{QUEUE}.msg")) if folder.is_dir() else 0


def written_folders() -> dict[str, Path]:
    """Where this machine keeps something, by what it is; a database elsewhere looks after its own disk."""
    folders = {"staging": Path(settings.STAGING_DIR), "models": Path(settings.MODEL_STORAGE)}
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        folders = {"database": Path(database["NAME"]), **folders}
    if not settings.REDIS_URL:
        folders["broker"] = Path(settings.BROKER_DIR)
    return folders
