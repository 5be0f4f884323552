"""Functions for entry points (commands, tasks, admin, scheduler); they read the settings."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from django.utils.module_loading import import_string
from requests.utils import get_environ_proxies, select_proxy

from ingestion import retention
from ingestion.alerts import database_outage
from ingestion.alerts.channels import Channel, build_channels, receiver_fingerprint
from ingestion.alerts.delivery import (
    DeliveryResult,
    count_unsent,
    deliver_notifications,
    send_test_message,
)
from ingestion.alerts.incidents import end_unannounced
from ingestion.alerts.messages.render import render_test_message
from ingestion.alerts.notifications import create_notifications
from ingestion.alerts.silence import Silence, read_silence, sync_channels
from ingestion.alerts.webhooks import send_webhooks
from ingestion.jobs.lock import describe_error
from ingestion.models import IngestionRun, Notification
from ingestion.monitoring.run_review import follow_up_all, sync_history_window
from ingestion.monitoring.watchdog import WatchdogResult, run_checks
from ingestion.personal_data import erase_missing_listeners
from ingestion.pipeline import rejections, run_lifecycle
from ingestion.pipeline.healthchecks_ping import PingingProgress, ping_run_finished, send_ping
from ingestion.pipeline.ingest import IngestionOptions, IngestionProgress, ingest
from ingestion.pipeline.quality_gate import QualityLimits
from ingestion.source.client import SourceClient

LOOPBACK_HOSTS: Final = {"localhost", "::1"}

logger = logging.getLogger(__name__)


def source_client(base_url: str = "") -> SourceClient:
    return SourceClient(
        base_url or settings.BASE_URL,
        token=settings.SOURCE_TOKEN or None,
        connections=settings.SOURCE_CONNECTIONS,
        connect_timeout=settings.SOURCE_CONNECT_TIMEOUT,
        read_timeout=settings.SOURCE_READ_TIMEOUT,
        attempts=settings.SOURCE_ATTEMPTS or None,
        patience=settings.SOURCE_PATIENCE,
        max_response_bytes=settings.SOURCE_MAX_RESPONSE_MB * 2**20,
        max_requests_per_second=settings.MAX_REQUESTS_PER_SECOND or None,
        ca_file=settings.SOURCE_CA_FILE,
        proxy=proxy_for(base_url or settings.BASE_URL),
    )


def proxy_for(url: str) -> str:
    """The proxy for this URL from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; empty if none."""
    host = urlsplit(url).hostname or ""
    if host in LOOPBACK_HOSTS or host.startswith("127."):
        return ""
    return select_proxy(url, get_environ_proxies(url)) or ""


def ingestion_options(**options: Any) -> IngestionOptions:
    limits = QualityLimits(
        rejected=settings.MAX_REJECTED_SHARE,
        missing=settings.RESET_GONE_SHARE,
        reidentified=settings.RESET_CHANGED_SHARE,
    )
    return IngestionOptions(
        staging=settings.STAGING_DIR, limits=limits, zone=source_zone(),
        history_retention=settings.HISTORY_RETENTION, **options,
    )  # fmt: skip


def source_zone() -> tzinfo:
    # Not ZoneInfo("UTC"): times that are already in UTC are then not converted, which saves 4 us a row.
    return UTC if settings.SOURCE_TIME_ZONE == "UTC" else ZoneInfo(settings.SOURCE_TIME_ZONE)


def ingest_now(callback: IngestionProgress | None = None, **options: Any) -> IngestionRun:
    """Run one ingestion from BASE_URL, then review it and send its alerts, however it ends.

    Takes the arguments of `IngestionOptions` and raises what `ingest` raises.
    """
    ping_url = settings.HEALTHCHECKS_URL
    progress = PingingProgress(ping_url, callback or IngestionProgress()) if ping_url else callback
    try:
        run = ingest(source_client(), ingestion_options(**options), progress)
    except (run_lifecycle.AlreadyRunning, run_lifecycle.SlotTaken):
        raise
    except BaseException as error:
        if not options.get("dry_run"):
            send_ping(ping_url, "fail", type(error).__name__)
        review_and_notify()
        raise
    # Before the messages, because a slow receiver must not delay the ping.
    ping_run_finished(ping_url, run)
    review_and_notify()
    return run


def review_and_notify() -> None:
    """Review finished runs and send alerts; if this fails, the watchdog repeats it."""
    try:
        now = timezone.now()
        follow_up_all(now)
        sync_history_window(now, is_promised=settings.HISTORY_RETENTION is not None)
        send_messages(now)
    except Exception:
        logger.exception("run_review_failed")


def replay_open_rejections() -> dict[str, int]:
    """Import open rejections that are valid now; return the imported rows by resource.

    Raises:
        AlreadyRunning: a run is writing to the catalogue.
    """
    return rejections.replay_open(source_zone(), run_lifecycle.require_idle)


def alert_channels() -> list[Channel]:
    return build_channels(
        settings.ALERT_EMAILS, settings.EMAIL_FROM, settings.EMAIL_HOST_PASSWORD,
        settings.SLACK_WEBHOOK_URL, settings.ALERT_URLS,
    )  # fmt: skip


def send_alerts(now: datetime) -> DeliveryResult:
    """Create and send notifications, but not by channels that are off, nor in a maintenance window."""
    configured = alert_channels()
    receivers = {channel.name: receiver_fingerprint(channel) for channel in configured}
    sync_channels(receivers)
    silence = read_silence(now)
    if silence.ends_at(now):
        return DeliveryResult(waiting=count_unsent())
    audible = silence.audible(receivers, now)
    off = [channel.name for channel in configured if channel.name not in audible]
    # A channel that is not tried any more has not been mended.
    end_unannounced("delivery_failing", [f"delivery_failing:{name}" for name in audible], now)
    create_notifications(
        now,
        audible,
        off,
        remind_after=timedelta(hours=settings.ALERT_REMIND_HOURS),
        site_url=settings.SITE_URL,
        language=settings.LANGUAGE_CODE,
    )
    return deliver_notifications(now, [channel for channel in configured if channel.name in audible], off)


def send_messages(now: datetime) -> DeliveryResult:
    """Send alerts to people, then events to the webhooks of other programs."""
    result = send_alerts(now)
    # The alerts may have taken a minute, and receivers refuse old signatures.
    send_webhooks(timezone.now(), [import_string(path) for path in settings.WEBHOOK_EVENTS])
    return result


def send_test_alerts(now: datetime) -> list[Notification]:
    """Send one test alert per channel; each contains its error if it failed."""
    tried = []
    for channel in alert_channels():
        subject, content = render_test_message(channel.name, settings.SITE_URL, settings.LANGUAGE_CODE)
        tried.append(send_test_message(now, channel, subject, content))
    return tried


HEALTH_PATH: Final = "/health/ready/"


def run_watchdog(now: datetime) -> WatchdogResult | None:
    """Run the watchdog's checks; None if other processes did so within the minute."""
    checks = [import_string(path) for path in settings.WATCHDOG_CHECKS]
    host_checks = [import_string(path) for path in settings.WATCHDOG_HOST_CHECKS]
    with alert_on_database_outage(now):
        return run_checks(now, [*checks, follow_up_all], send_messages, host_checks=host_checks)


@contextmanager
def alert_on_database_outage(now: datetime) -> Iterator[None]:
    """Send alerts if the database fails in this block, and a resolution once it works."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        report_database_outage(now, error)
        raise
    database_outage.database_recovered(
        now, _outage_file(), link=settings.SITE_URL + HEALTH_PATH, language=settings.LANGUAGE_CODE
    )
    # A full disk must not stop Beat.
    with suppress(OSError):
        read_silence(now).save(_silence_file())


def report_database_outage(now: datetime, error: Exception) -> None:
    silence = Silence.load(_silence_file())
    configured = alert_channels()
    receivers = {channel.name: receiver_fingerprint(channel) for channel in configured}
    audible = silence.audible(receivers, now)
    channels = [channel for channel in configured if channel.name in audible]
    database_outage.database_unavailable(
        now, _outage_file(), describe_error(error), channels, link=settings.SITE_URL + HEALTH_PATH,
        remind_after=timedelta(hours=settings.ALERT_REMIND_HOURS), language=settings.LANGUAGE_CODE,
    )  # fmt: skip


def delete_expired_rows(now: datetime) -> dict[str, int]:
    """Delete old rows and personal data of listeners who left the source; return the numbers by table."""
    deleted = retention.delete_expired(
        now,
        runs=timedelta(days=settings.KEEP_RUNS_DAYS),
        settled=timedelta(days=settings.KEEP_SETTLED_DAYS),
    )
    erased = 0
    if settings.FORGET_LISTENERS_DAYS:
        erased = erase_missing_listeners(now - timedelta(days=settings.FORGET_LISTENERS_DAYS))
    return deleted | {"erased_listeners": erased}


def _outage_file() -> Path:
    return Path(settings.VAR_DIR) / "database-away.json"


def _silence_file() -> Path:
    return Path(settings.VAR_DIR) / "alert-silence.json"
