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
from ingestion.alerts.channels import Channel, build_channels
from ingestion.alerts.delivery import DeliveryResult, deliver_notifications, send_test_message
from ingestion.alerts.messages.render import render_test_message
from ingestion.alerts.notifications import create_notifications
from ingestion.models import IngestionRun, Notification
from ingestion.monitoring.checks import freshness, runs, services
from ingestion.monitoring.run_review import follow_up_all
from ingestion.monitoring.watchdog import WatchdogResult, run_checks
from ingestion.pipeline import rejections, run_lifecycle
from ingestion.pipeline.healthchecks_ping import PingingProgress, ping_run_finished, send_ping
from ingestion.pipeline.ingest import IngestionOptions, IngestionProgress, first_line, ingest
from ingestion.pipeline.quality_gate import QualityLimits
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


def ingestion_options(**wanted: Any) -> IngestionOptions:
    """An order with the limits, zone and folders of the settings."""
    limits = QualityLimits(
        rejected=settings.MAX_REJECTED_SHARE,
        missing=settings.RESET_GONE_SHARE,
        reidentified=settings.RESET_CHANGED_SHARE,
    )
    return IngestionOptions(staging=settings.STAGING_DIR, limits=limits, zone=source_zone(), **wanted)


def source_zone() -> tzinfo:
    """The zone of the source's times that name none."""
    # UTC by its own object: times that are in it already are not converted, which saves 4 us a row.
    return UTC if settings.SOURCE_TIME_ZONE == "UTC" else ZoneInfo(settings.SOURCE_TIME_ZONE)


def ingest_now(callback: IngestionProgress | None = None, **wanted: Any) -> IngestionRun:
    """One run against `BASE_URL`, followed up however it ends; arguments as `Order`, raises as `ingest`."""
    ears = settings.HEALTHCHECKS_URL
    announced = PingingProgress(ears, callback or IngestionProgress()) if ears else callback
    try:
        run = ingest(source_client(), ingestion_options(**wanted), announced)
    except (run_lifecycle.AlreadyRunning, run_lifecycle.SlotTaken):
        raise
    except BaseException as error:
        review_and_notify()
        if not wanted.get("dry_run"):
            send_ping(ears, "fail", type(error).__name__)
        raise
    review_and_notify()
    ping_run_finished(ears, run)
    return run


def review_and_notify() -> None:
    """Follow up the runs that are over, and tell of it; what goes wrong is left to the watchdog."""
    try:
        now = timezone.now()
        follow_up_all(now)
        send_alerts(now)
    except Exception:
        logger.exception("follow_up_failed")


def replay_open_rejections() -> dict[str, int]:
    """Try the open rejections again; rows taken in, by resource.

    Raises:
        AlreadyRunning: a run is writing the catalogue.
    """
    return rejections.replay_open(source_zone(), run_lifecycle.require_idle)


def alert_channels() -> list[Channel]:
    """The channels that people are told by."""
    return build_channels(
        settings.ALERT_EMAILS, settings.EMAIL_FROM, settings.EMAIL_HOST_PASSWORD,
        settings.SLACK_WEBHOOK_URL, settings.ALERT_URLS,
    )  # fmt: skip


def send_alerts(now: datetime) -> DeliveryResult:
    """Make the messages that are due, and send what waits."""
    channels = alert_channels()
    create_notifications(
        now,
        [channel.name for channel in channels],
        remind_after=timedelta(hours=settings.ALERT_REMIND_HOURS),
        site_url=settings.SITE_URL,
        language=settings.LANGUAGE_CODE,
    )
    return deliver_notifications(now, channels)


def send_test_alerts(now: datetime) -> list[Notification]:
    """One test message by each channel, sent or failed with its reason."""
    tried = []
    for channel in alert_channels():
        subject, content = render_test_message(channel.name, settings.SITE_URL, settings.LANGUAGE_CODE)
        tried.append(send_test_message(now, channel, subject, content))
    return tried


# A worker on the same machine answers within a tenth of a second.
WORKER_PING_TIMEOUT: Final = 2.0
CELERY_QUEUE: Final = "celery"
HEALTH_PATH: Final = "/health/ready/"


def run_watchdog(now: datetime) -> WatchdogResult | None:
    """Look at everything, follow up the runs that are over, and tell; None where it was done a moment ago."""
    checks = [import_string(path) for path in settings.WATCHDOG_CHECKS]
    with alert_on_database_outage(now):
        return run_checks(now, [*checks, follow_up_all], send_alerts)


@contextmanager
def alert_on_database_outage(now: datetime) -> Iterator[None]:
    """Tell people where the database can't be used in here, and that it is back where it can."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        report_database_outage(now, error)
        raise
    database_outage.database_recovered(
        now, _outage_file(), link=settings.SITE_URL + HEALTH_PATH, language=settings.LANGUAGE_CODE
    )


def report_database_outage(now: datetime, error: Exception) -> None:
    """Tell people that the database can't be used, once it could not for some minutes."""
    reason = f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")
    database_outage.database_unavailable(
        now, _outage_file(), reason, alert_channels(), link=settings.SITE_URL + HEALTH_PATH,
        remind_after=timedelta(hours=settings.ALERT_REMIND_HOURS), language=settings.LANGUAGE_CODE,
    )  # fmt: skip


def delete_expired_rows(now: datetime) -> dict[str, int]:
    """Delete what was kept long enough; how many rows of each kind."""
    return retention.delete_expired(
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
    services.workers_alive(now, is_worker_responding)


def queue_growing(now: datetime) -> None:
    services.queue_growing(now, queue_length(), settings.MAX_QUEUE_LENGTH)


def data_fresh(now: datetime) -> None:
    freshness.data_fresh(now, timedelta(hours=settings.MAX_DATA_AGE_HOURS))


def disk_room(now: datetime) -> None:
    services.disk_room(now, data_folders(), settings.LEAST_FREE_DISK_SHARE)


def is_worker_responding() -> bool:
    """Whether a worker says that it is there; False also where the broker can't be asked."""
    try:
        return bool(current_app.control.ping(timeout=WORKER_PING_TIMEOUT))
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
            return int(client.llen(CELERY_QUEUE))
    folder = Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_in"])
    return sum(1 for _ in folder.glob(f"*.{CELERY_QUEUE}.msg")) if folder.is_dir() else 0


def data_folders() -> dict[str, Path]:
    """Where this machine keeps something, by what it is; a database elsewhere looks after its own disk."""
    folders = {"staging": Path(settings.STAGING_DIR), "models": Path(settings.MODEL_STORAGE)}
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        folders = {"database": Path(database["NAME"]), **folders}
    if not settings.REDIS_URL:
        folders["broker"] = Path(settings.BROKER_DIR)
    return folders
