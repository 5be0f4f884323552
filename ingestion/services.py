"""From settings to what a run needs, once for all doors: command, task, admin and scheduler."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import redis
from celery import current_app
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from django.utils.module_loading import import_string

from ingestion import retention
from ingestion.alerts import database_outage
from ingestion.alerts.channels import Channel, channels_of
from ingestion.alerts.delivery import Delivered, deliver, try_out
from ingestion.alerts.messages.render import trial_message
from ingestion.alerts.notifications import tell
from ingestion.models import IngestionRun, Notification
from ingestion.monitoring.checks import freshness, runs, services
from ingestion.monitoring.run_review import follow_up_all
from ingestion.monitoring.watchdog import Round, watch
from ingestion.pipeline import rejections, run_lifecycle
from ingestion.pipeline.healthchecks_ping import Announced, ping, tell_end
from ingestion.pipeline.ingest import Order, Watch, first_line, ingest
from ingestion.pipeline.quality_gate import Limits
from ingestion.source.client import SourceClient

logger = logging.getLogger(__name__)


def source_client(base_url: str = "") -> SourceClient:
    """A client of `BASE_URL`, or of another address with the same settings."""
    return SourceClient(
        base_url or settings.BASE_URL,
        token=settings.SOURCE_TOKEN or None,
        connections=settings.SOURCE_CONNECTIONS,
        connect_timeout=settings.SOURCE_CONNECT_TIMEOUT,
        read_timeout=settings.SOURCE_READ_TIMEOUT,
        attempts=settings.SOURCE_ATTEMPTS,
        max_requests_per_second=settings.MAX_REQUESTS_PER_SECOND or None,
        ca_file=settings.SOURCE_CA_FILE,
    )


def order(**wanted: Any) -> Order:
    """An order with the limits, zone and folders of the settings."""
    limits = Limits(
        rejected=settings.MAX_REJECTED_SHARE,
        gone=settings.RESET_GONE_SHARE,
        changed=settings.RESET_CHANGED_SHARE,
    )
    return Order(staging=settings.STAGING_DIR, limits=limits, zone=source_zone(), **wanted)


def source_zone() -> tzinfo:
    """The zone of the source's times that name none."""
    # UTC by its own object: times that are in it already are not converted, which saves 4 us a row.
    return UTC if settings.SOURCE_TIME_ZONE == "UTC" else ZoneInfo(settings.SOURCE_TIME_ZONE)


def ingest_now(watch: Watch | None = None, **wanted: Any) -> IngestionRun:
    """One run against `BASE_URL`, followed up however it ends; arguments as `Order`, raises as `ingest`."""
    ears = settings.HEALTHCHECKS_URL
    announced = Announced(ears, watch or Watch()) if ears else watch
    try:
        run = ingest(source_client(), order(**wanted), announced)
    except (run_lifecycle.AlreadyRunning, run_lifecycle.SlotTaken):
        raise
    except BaseException as error:
        follow_up_now()
        if not wanted.get("dry_run"):
            ping(ears, "fail", type(error).__name__)
        raise
    follow_up_now()
    tell_end(ears, run)
    return run


def follow_up_now() -> None:
    """Follow up the runs that are over, and tell of it; what goes wrong is left to the watchdog."""
    try:
        now = timezone.now()
        follow_up_all(now)
        send_alerts(now)
    except Exception:
        logger.exception("follow_up_failed")


def replay_now() -> dict[str, int]:
    """Try the open rejections again; rows taken in, by resource.

    Raises:
        AlreadyRunning: a run is writing the catalogue.
    """
    return rejections.replay(source_zone(), run_lifecycle.require_idle)


def alert_channels() -> list[Channel]:
    """The channels that people are told by."""
    return channels_of(
        settings.ALERT_EMAILS, settings.EMAIL_FROM, settings.EMAIL_HOST_PASSWORD,
        settings.SLACK_WEBHOOK_URL, settings.ALERT_URLS,
    )  # fmt: skip


def send_alerts(now: datetime) -> Delivered:
    """Make the messages that are due, and send what waits."""
    channels = alert_channels()
    tell(
        now,
        [channel.name for channel in channels],
        remind_after=timedelta(hours=settings.ALERT_REMIND_HOURS),
        site_url=settings.SITE_URL,
        language=settings.LANGUAGE_CODE,
    )
    return deliver(now, channels)


def try_alerts(now: datetime) -> list[Notification]:
    """One test message by each channel, sent or failed with its reason."""
    tried = []
    for channel in alert_channels():
        subject, content = trial_message(channel.name, settings.SITE_URL, settings.LANGUAGE_CODE)
        tried.append(try_out(now, channel, subject, content))
    return tried


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
    database_outage.back(
        now, _outage_file(), link=settings.SITE_URL + HEALTH, language=settings.LANGUAGE_CODE
    )


def database_away(now: datetime, error: Exception) -> None:
    """Tell people that the database can't be used, once it could not for some minutes."""
    reason = f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")
    database_outage.away(
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
    services.beat_alive(now)


def workers_alive(now: datetime) -> None:
    services.workers_alive(now, a_worker_answers)


def queue_growing(now: datetime) -> None:
    services.queue_growing(now, queue_length(), settings.MAX_QUEUE_LENGTH)


def data_fresh(now: datetime) -> None:
    freshness.data_fresh(now, timedelta(hours=settings.MAX_DATA_AGE_HOURS))


def disk_room(now: datetime) -> None:
    services.disk_room(now, written_folders(), settings.LEAST_FREE_DISK_SHARE)


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
