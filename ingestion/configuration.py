"""From settings to what a run needs, once for all doors: command, task, admin and scheduler."""

import logging
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone

from ingestion import rejections, runs
from ingestion.channels import Channel, channels_of
from ingestion.delivery import Delivered, deliver, try_out
from ingestion.followup import follow_up_all
from ingestion.models import IngestionRun, Notification
from ingestion.pinging import Announced, ping, tell_end
from ingestion.pipeline import Order, Watch, ingest
from ingestion.quality import Limits
from ingestion.source.client import SourceClient
from ingestion.telling import tell
from ingestion.texts import trial_message

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
    except (runs.AlreadyRunning, runs.SlotTaken):
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
    return rejections.replay(source_zone(), runs.require_idle)


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
