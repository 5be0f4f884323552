"""Sends waiting notifications, each by one process, and retries them for up to a day."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet

from ingestion.alerts.channels import Channel, MessageContent, NotSent
from ingestion.alerts.incidents import Condition, sync_scope
from ingestion.models import Notification

logger = logging.getLogger(__name__)

State = Notification.State
Event = Notification.Event
UNSENT: Final = (State.WAITING, State.SENDING)
# The timeouts of a channel add up to less, so a process that claimed a notification earlier is dead.
CLAIM_TIMEOUT: Final = timedelta(minutes=5)
GIVE_UP_AFTER: Final = timedelta(hours=24)
LONGEST_PAUSE: Final = timedelta(minutes=60)
# A day of failures has about 28 attempts; what waited in silence for a day has had none.
MIN_ATTEMPTS: Final = 20
# Rounds start every minute; a slow service must not delay the other channels for longer than this.
ROUND_SECONDS: Final = 60.0
# A single failure is not reported. Three attempts take two minutes; with fewer, ten minutes must pass.
FAILURES: Final = 3
FAILING_FOR: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class DeliveryResult:
    sent: int = 0
    failed: int = 0
    waiting: int = 0


def deliver_notifications(
    now: datetime, channels: Sequence[Channel], off: Sequence[str] = ()
) -> DeliveryResult:
    """Send the due notifications by channel, oldest first; safe to run in several processes.

    Notifications of the channels that are `off` wait until these are on.
    If a process dies between sending and saving, the notification is sent again with the same Message-ID.
    """
    _fail_unconfigured_channels(now, [*(channel.name for channel in channels), *off])
    began = time.monotonic()

    def clock() -> datetime:
        return now + timedelta(seconds=time.monotonic() - began)

    sent = failed = 0
    for channel in channels:
        more_sent, more_failed = _deliver_by(channel, clock)
        sent, failed = sent + more_sent, failed + more_failed
    sync_scope(
        "delivery_failing", _failing_channels(clock(), [channel.name for channel in channels]), clock()
    )
    return DeliveryResult(sent, failed, count_unsent())


def count_unsent() -> int:
    return Notification.objects.filter(state__in=UNSENT).count()


def send_test_message(now: datetime, channel: Channel, subject: str, content: MessageContent) -> Notification:
    """Send one test message without retries; a success also resolves the channel's incident."""
    notification = Notification.objects.create(
        event=Event.TEST, channel=channel.name, subject=subject, content=content, state=State.SENDING,
        created_at=now, due_at=now, claimed_at=now, claim=str(uuid4()), attempts=1,
    )  # fmt: skip
    try:
        _send(channel, notification)
    except NotSent as error:
        Notification.objects.filter(pk=notification.pk, claim=notification.claim).update(
            state=State.FAILED, error=str(error)
        )
    else:
        _mark_sent(notification, now)
    notification.refresh_from_db()
    return notification


def _deliver_by(channel: Channel, clock: Callable[[], datetime]) -> tuple[int, int]:
    sent = failed = 0
    until = clock() + timedelta(seconds=ROUND_SECONDS)
    for pk in list(_due(channel.name, clock()).values_list("pk", flat=True)):
        notification = _claim(pk, clock()) if clock() < until else None
        if notification is None:
            continue
        try:
            _send(channel, notification)
        except NotSent as error:
            failed += 1
            _schedule_retry(notification, error, clock())
            if error.down:
                break
        else:
            sent += 1
            _mark_sent(notification, clock())
    return sent, failed


def _due(channel: str, at: datetime) -> QuerySet[Notification]:
    earlier = Notification.objects.filter(
        incident=OuterRef("incident"), channel=OuterRef("channel"), state__in=UNSENT, pk__lt=OuterRef("pk")
    )
    return Notification.objects.filter(_ready(at), ~Exists(earlier), channel=channel).order_by("pk")


def _ready(at: datetime) -> Q:
    return Q(state=State.WAITING, due_at__lte=at) | Q(state=State.SENDING, claimed_at__lte=at - CLAIM_TIMEOUT)


def _claim(pk: int, at: datetime) -> Notification | None:
    """Mark the notification as being sent, and return it; None if another process was first."""
    claim = str(uuid4())
    claimed = Notification.objects.filter(_ready(at), pk=pk).update(
        state=State.SENDING, claim=claim, claimed_at=at, attempts=F("attempts") + 1
    )
    return Notification.objects.select_related("incident").get(pk=pk, claim=claim) if claimed else None


def _send(channel: Channel, notification: Notification) -> None:
    try:
        channel.send(notification.subject, {**notification.content, **_message_ids(notification)})
    except NotSent:
        raise
    except Exception as error:
        # The error's text may hold a URL with its password.
        raise NotSent(f"Unexpected error: {type(error).__name__}", down=True) from None


def _message_ids(notification: Notification) -> dict[str, str]:
    # The time distinguishes installations, whose primary keys all start at 1.
    ids = {"id": f"<message-{notification.pk}-{notification.created_at:%Y%m%d%H%M%S%f}@moovitamix>"}
    if notification.incident is not None:
        opened = f"{notification.incident.opened_at:%Y%m%d%H%M%S%f}"
        ids["thread"] = f"<incident-{notification.incident_id}-{opened}@moovitamix>"
    return ids


def _mark_sent(notification: Notification, at: datetime) -> None:
    Notification.objects.filter(pk=notification.pk, claim=notification.claim).update(
        state=State.SENT, sent_at=at, error=""
    )
    logger.info(
        "notification_sent id=%s event=%s channel=%s",
        notification.pk, notification.event, notification.channel,
    )  # fmt: skip


def _schedule_retry(notification: Notification, error: NotSent, at: datetime) -> None:
    over = at - notification.created_at >= GIVE_UP_AFTER and notification.attempts >= MIN_ATTEMPTS
    Notification.objects.filter(pk=notification.pk, claim=notification.claim).update(
        state=State.FAILED if over else State.WAITING,
        due_at=at + max(_retry_delay(notification.attempts), timedelta(seconds=error.retry_after)),
        error=str(error),
    )
    level = logging.ERROR if over else logging.WARNING
    logger.log(
        level, "notification_not_sent id=%s channel=%s attempt=%s error=%r",
        notification.pk, notification.channel, notification.attempts, str(error),
    )  # fmt: skip


def _retry_delay(attempts: int) -> timedelta:
    """The wait before the next attempt: 1, 2, 4 ... 60 minutes, varied by up to 20 % to spread retries."""
    doubled = timedelta(minutes=2.0 ** min(attempts - 1, 10))
    return min(doubled, LONGEST_PAUSE) * random.uniform(0.8, 1.2)


def _fail_unconfigured_channels(now: datetime, names: Sequence[str]) -> None:
    """Give up notifications of removed channels, but only after `GIVE_UP_AFTER`: a channel may return."""
    Notification.objects.filter(state__in=UNSENT, created_at__lte=now - GIVE_UP_AFTER).exclude(
        channel__in=names
    ).update(state=State.FAILED, error="The channel is no longer configured")


def _failing_channels(at: datetime, names: Sequence[str]) -> list[Condition]:
    return [condition for name in names if (condition := _failing_channel(at, name)) is not None]


def _failing_channel(at: datetime, name: str) -> Condition | None:
    notifications = Notification.objects.filter(channel=name)
    last = notifications.filter(state=State.SENT).aggregate(at=Max("sent_at"))["at"]
    tried = notifications.exclude(state=State.SENT).exclude(error="")
    tried = tried.filter(claimed_at__gt=last) if last else tried
    failed = list(tried.order_by("created_at").values("created_at", "attempts", "error", "claimed_at"))
    if not failed:
        return None
    since = max(failed[0]["created_at"], last) if last else failed[0]["created_at"]
    # For a notification created before the last success, only its latest attempt surely came after it.
    failures = sum(row["attempts"] if last is None or row["created_at"] >= last else 1 for row in failed)
    if failures < FAILURES and at - since < FAILING_FOR:
        return None
    error = max(failed, key=lambda row: row["claimed_at"] or since)["error"]
    facts = {"failures": failures, "failing_since_at": since.isoformat(), "error": error}
    return Condition(f"delivery_failing:{name}", "delivery_failing", "critical", facts)
