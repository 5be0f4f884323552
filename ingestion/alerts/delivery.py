"""Send the messages that wait: each by one sender, again and again until it is out or a day is over."""

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
# No send takes so long: its timeouts add up to less. Whoever claimed a message before that is dead.
CLAIM_TIMEOUT: Final = timedelta(minutes=5)
GIVE_UP_AFTER: Final = timedelta(hours=24)
LONGEST_PAUSE: Final = timedelta(minutes=60)
# A slow service must not keep a round, which comes every minute, from the other channels for long.
ROUND_SECONDS: Final = 60.0
# One hiccup is no news; three attempts are two minutes, and a channel with little to do shows after ten.
FAILURES: Final = 3
FAILING_FOR: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class DeliveryResult:
    """What one round did: messages sent, attempts that failed, and messages that wait after it."""

    sent: int = 0
    failed: int = 0
    waiting: int = 0


def deliver_notifications(now: datetime, channels: Sequence[Channel]) -> DeliveryResult:
    """Send what is due, each channel for itself, oldest first; safe beside other deliverers.

    A message that was sent, and whose sender died before it could write so, is sent a second time with the
    same Message-ID; no message is lost. A channel that keeps failing is an incident of its own.
    """
    _fail_unconfigured_channels(now, [channel.name for channel in channels])
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
    return DeliveryResult(sent, failed, Notification.objects.filter(state__in=UNSENT).count())


def send_test_message(now: datetime, channel: Channel, subject: str, content: MessageContent) -> Notification:
    """One test message, sent at once or failed for good; a success ends the channel's incident."""
    message = Notification.objects.create(
        event=Event.TEST, channel=channel.name, subject=subject, content=content, state=State.SENDING,
        created_at=now, due_at=now, claimed_at=now, claim=str(uuid4()), attempts=1,
    )  # fmt: skip
    try:
        _send(channel, message)
    except NotSent as error:
        Notification.objects.filter(pk=message.pk, claim=message.claim).update(
            state=State.FAILED, error=str(error)
        )
    else:
        _mark_sent(message, now)
    message.refresh_from_db()
    return message


def _deliver_by(channel: Channel, clock: Callable[[], datetime]) -> tuple[int, int]:
    """How many messages this channel took, and how many it did not."""
    sent = failed = 0
    until = clock() + timedelta(seconds=ROUND_SECONDS)
    for pk in list(_due(channel.name, clock()).values_list("pk", flat=True)):
        message = _claim(pk, clock()) if clock() < until else None
        if message is None:
            continue
        try:
            _send(channel, message)
        except NotSent as error:
            failed += 1
            _schedule_retry(message, error, clock())
            if error.down:
                break
        else:
            sent += 1
            _mark_sent(message, clock())
    return sent, failed


def _due(channel: str, at: datetime) -> QuerySet[Notification]:
    """What is to be sent now, oldest first; of one incident only the oldest message."""
    earlier = Notification.objects.filter(
        incident=OuterRef("incident"), channel=OuterRef("channel"), state__in=UNSENT, pk__lt=OuterRef("pk")
    )
    return Notification.objects.filter(_ready(at), ~Exists(earlier), channel=channel).order_by("pk")


def _ready(at: datetime) -> Q:
    return Q(state=State.WAITING, due_at__lte=at) | Q(state=State.SENDING, claimed_at__lte=at - CLAIM_TIMEOUT)


def _claim(pk: int, at: datetime) -> Notification | None:
    """The message, ours to send; None if somebody else was faster."""
    claim = str(uuid4())
    claimed = Notification.objects.filter(_ready(at), pk=pk).update(
        state=State.SENDING, claim=claim, claimed_at=at, attempts=F("attempts") + 1
    )
    return Notification.objects.select_related("incident").get(pk=pk, claim=claim) if claimed else None


def _send(channel: Channel, message: Notification) -> None:
    """Send it, as `NotSent` whatever goes wrong."""
    try:
        channel.send(message.subject, {**message.content, **_message_ids(message)})
    except NotSent:
        raise
    except Exception as error:
        # Its text may hold anything, also an address with its password.
        raise NotSent(f"An error nobody expected: {type(error).__name__}", down=True) from None


def _message_ids(message: Notification) -> dict[str, str]:
    """What makes a second copy of a message known as one, and keeps those of an incident together."""
    # The time tells installations apart that count from one.
    names = {"id": f"<message-{message.pk}-{message.created_at:%Y%m%d%H%M%S%f}@moovitamix>"}
    if message.incident is not None:
        opened = f"{message.incident.opened_at:%Y%m%d%H%M%S%f}"
        names["thread"] = f"<incident-{message.incident_id}-{opened}@moovitamix>"
    return names


def _mark_sent(message: Notification, at: datetime) -> None:
    Notification.objects.filter(pk=message.pk, claim=message.claim).update(
        state=State.SENT, sent_at=at, error=""
    )
    logger.info("message_sent id=%s event=%s channel=%s", message.pk, message.event, message.channel)


def _schedule_retry(message: Notification, error: NotSent, at: datetime) -> None:
    """To be tried again later, or never."""
    over = at - message.created_at >= GIVE_UP_AFTER
    Notification.objects.filter(pk=message.pk, claim=message.claim).update(
        state=State.FAILED if over else State.WAITING,
        due_at=at + max(_retry_delay(message.attempts), timedelta(seconds=error.retry_after)),
        error=str(error),
    )
    level = logging.ERROR if over else logging.WARNING
    logger.log(
        level, "message_not_sent id=%s channel=%s attempt=%s error=%r",
        message.pk, message.channel, message.attempts, str(error),
    )  # fmt: skip


def _retry_delay(attempts: int) -> timedelta:
    """1, 2, 4 ... 60 minutes, a fifth shorter or longer, so that senders do not come all at once."""
    doubled = timedelta(minutes=2.0 ** min(attempts - 1, 10))
    return min(doubled, LONGEST_PAUSE) * random.uniform(0.8, 1.2)


def _fail_unconfigured_channels(now: datetime, names: Sequence[str]) -> None:
    """Messages by channels that are not configured any more wait for a day, like all others."""
    Notification.objects.filter(state__in=UNSENT, created_at__lte=now - GIVE_UP_AFTER).exclude(
        channel__in=names
    ).update(state=State.FAILED, error="The channel is not configured any more")


def _failing_channels(at: datetime, names: Sequence[str]) -> list[Condition]:
    """The channels that did not take anything for long, as conditions."""
    return [condition for name in names if (condition := _failing_channel(at, name)) is not None]


def _failing_channel(at: datetime, name: str) -> Condition | None:
    """What was tried since the last success tells: nothing else needs to be kept."""
    by_it = Notification.objects.filter(channel=name)
    last = by_it.filter(state=State.SENT).aggregate(at=Max("sent_at"))["at"]
    tried = by_it.exclude(state=State.SENT).exclude(error="")
    tried = tried.filter(claimed_at__gt=last) if last else tried
    failed = list(tried.order_by("created_at").values("created_at", "attempts", "error", "claimed_at"))
    if not failed:
        return None
    since = max(failed[0]["created_at"], last) if last else failed[0]["created_at"]
    # Of a message from before the last success nobody knows how many tries came after it; one did.
    failures = sum(row["attempts"] if last is None or row["created_at"] >= last else 1 for row in failed)
    if failures < FAILURES and at - since < FAILING_FOR:
        return None
    error = max(failed, key=lambda row: row["claimed_at"] or since)["error"]
    facts = {"failures": failures, "failing_since_at": since.isoformat(), "error": error}
    return Condition(f"delivery_failing:{name}", "delivery_failing", "critical", facts)
