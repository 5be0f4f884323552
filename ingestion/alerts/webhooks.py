"""Sends webhooks about finished runs, incidents and promotions: signed, and retried until accepted.

Deliveries are created from stored rows of these events, so no event is lost if a process dies.
"""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
import requests
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce, NullIf

from ingestion.models import Incident, IngestionRun, Webhook, WebhookDelivery, WebhookEvent
from ingestion.models.webhooks import NEWS

logger = logging.getLogger(__name__)

State = WebhookDelivery.State
Severity = Incident.Severity
TIMEOUT: Final = 10.0
CLAIM_TIMEOUT: Final = timedelta(minutes=5)
GIVE_UP_AFTER: Final = timedelta(hours=24)
LONGEST_PAUSE: Final = timedelta(minutes=60)
# Rounds start every minute, and slow receivers must not make them overlap.
ROUND_SECONDS: Final = 45.0


@dataclass(frozen=True)
class Event:
    kind: WebhookEvent
    pk: int
    at: datetime
    data: Mapping[str, Any]

    @property
    def event_id(self) -> str:
        return f"{self.kind}:{self.pk}"

    @property
    def body(self) -> str:
        content = {"id": self.event_id, "event": str(self.kind), "at": self.at, "data": self.data}
        return orjson.dumps(content).decode()


# Events since a time; each app brings its own (WEBHOOK_EVENTS).
EventSource = Callable[[datetime], Iterable[Event]]


def run_and_incident_events(since: datetime) -> Iterator[Event]:
    for run in IngestionRun.objects.filter(finished_at__gte=since):
        finished_at = run.finished_at or since  # for the type checker: the filter leaves out None
        data = {
            "run": run.pk, "status": run.status, "trigger": run.trigger, "started_at": run.started_at,
            "finished_at": finished_at, "error": run.error,
        }  # fmt: skip
        yield Event(WebhookEvent.RUN_FINISHED, run.pk, finished_at, data)
    for incident in Incident.objects.filter(Q(opened_at__gte=since) | Q(resolved_at__gte=since)):
        data = {
            "incident": incident.pk, "key": incident.key, "kind": incident.kind,
            "severity": incident.severity, "opened_at": incident.opened_at,
        }  # fmt: skip
        opened = Event(WebhookEvent.INCIDENT_OPENED, incident.pk, incident.opened_at, data)
        # Nobody is notified of a notice, but a warning may have been announced before it became one.
        is_notice = incident.severity == Severity.NOTICE
        if not is_notice:
            yield opened
        if incident.resolved_at is not None and (not is_notice or _was_queued(opened)):
            resolved = data | {"resolved_at": incident.resolved_at}
            yield Event(WebhookEvent.INCIDENT_RESOLVED, incident.pk, incident.resolved_at, resolved)


def _was_queued(event: Event) -> bool:
    return WebhookDelivery.objects.filter(event_id=event.event_id).exists()


def send_webhooks(now: datetime, sources: Sequence[EventSource]) -> int:
    """Queue new events and send what is due; return how many were accepted. Safe in several processes."""
    _fail_expired(now)
    webhooks = list(Webhook.objects.filter(active=True))
    if not webhooks:
        return 0
    since = max(now - NEWS, min(webhook.created_at for webhook in webhooks))
    events = [event for source in sources for event in source(since)]
    rows = [
        WebhookDelivery(
            webhook=webhook, event=event.kind, event_id=event.event_id, body=event.body, created_at=now,
            due_at=now,
        )
        for webhook in webhooks
        for event in sorted(events, key=lambda one: one.at)
        if event.kind in webhook.events and event.at >= max(since, webhook.created_at)
    ]  # fmt: skip
    known = set(
        WebhookDelivery.objects.filter(event_id__in=[event.event_id for event in events]).values_list(
            "webhook", "event_id"
        )
    )
    WebhookDelivery.objects.bulk_create(
        [row for row in rows if (row.webhook_id, row.event_id) not in known], ignore_conflicts=True
    )
    return _send_due(now)


def replay(deliveries: Iterable[WebhookDelivery], now: datetime) -> int:
    """Send deliveries of active webhooks again at the next round, even accepted ones; return how many."""
    pks = [delivery.pk for delivery in deliveries]
    return (
        WebhookDelivery.objects.filter(pk__in=pks, webhook__active=True)
        .exclude(state=State.SENDING)
        .update(state=State.WAITING, created_at=now, due_at=now, attempts=0, error="", sent_at=None)
    )


def sign(body: str, secret: str, at: datetime) -> str:
    """The value of the header MoovitaMix-Signature."""
    seconds = int(at.timestamp())
    digest = hmac.new(secret.encode(), f"{seconds}.{body}".encode(), hashlib.sha256)
    return f"t={seconds},v1={digest.hexdigest()}"


def _fail_expired(now: datetime) -> None:
    """Give up deliveries that waited for a day, such as those of an inactive webhook."""
    expired = WebhookDelivery.objects.filter(_ready(now), created_at__lt=now - GIVE_UP_AFTER)
    unsent = Value("It was not sent within a day")
    expired.update(state=State.FAILED, error=Coalesce(NullIf(F("error"), Value("")), unsent))


def _send_due(now: datetime) -> int:
    began, sent = time.monotonic(), 0

    def clock() -> datetime:
        return now + timedelta(seconds=time.monotonic() - began)

    unreachable = set[int]()
    due = WebhookDelivery.objects.filter(_ready(now), webhook__active=True).order_by("pk")
    for pk, webhook_id in list(due.values_list("pk", "webhook")):
        if time.monotonic() - began > ROUND_SECONDS:
            break
        delivery = None if webhook_id in unreachable else _claim(pk, clock())
        if delivery is None:
            continue
        if error := _post(delivery, clock()):
            unreachable.add(webhook_id)
            _schedule_retry(delivery, error, clock())
        else:
            sent += 1
            WebhookDelivery.objects.filter(pk=pk).update(state=State.SENT, sent_at=clock(), error="")
    return sent


def _ready(now: datetime) -> Q:
    return Q(state=State.WAITING, due_at__lte=now) | Q(
        state=State.SENDING, claimed_at__lte=now - CLAIM_TIMEOUT
    )


def _claim(pk: int, now: datetime) -> WebhookDelivery | None:
    claimed = WebhookDelivery.objects.filter(_ready(now), pk=pk).update(
        state=State.SENDING, claimed_at=now, attempts=F("attempts") + 1
    )
    # None also if its webhook is deleted at this moment.
    return WebhookDelivery.objects.select_related("webhook").filter(pk=pk).first() if claimed else None


def _post(delivery: WebhookDelivery, now: datetime) -> str:
    """Send a delivery; return '' if it was accepted, else why not, without the possibly secret address."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "MoovitaMix",
        "MoovitaMix-Event": delivery.event,
        "MoovitaMix-Delivery": delivery.event_id,
        "MoovitaMix-Signature": sign(delivery.body, delivery.webhook.secret, now),
    }
    try:
        answer = requests.post(
            delivery.webhook.url, data=delivery.body.encode(), headers=headers, timeout=TIMEOUT,
            allow_redirects=False, stream=True,
        )  # fmt: skip
        answer.close()
    except requests.RequestException as error:
        return f"The receiver cannot be reached: {type(error).__name__}"
    return "" if answer.ok and answer.status_code < 300 else f"The receiver answered {answer.status_code}"


def _schedule_retry(delivery: WebhookDelivery, error: str, now: datetime) -> None:
    pause = min(timedelta(minutes=2 ** min(delivery.attempts - 1, 10)), LONGEST_PAUSE)
    gives_up = now + pause - delivery.created_at > GIVE_UP_AFTER
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        state=State.FAILED if gives_up else State.WAITING, due_at=now + pause, error=error
    )
    logger.warning(
        "webhook_failed webhook=%s event=%s attempts=%s error=%r",
        delivery.webhook_id, delivery.event_id, delivery.attempts, error,
    )  # fmt: skip
