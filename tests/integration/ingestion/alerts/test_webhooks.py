"""Webhooks: each event reaches each receiver once, signed; it is sent again until accepted, or on request."""

import hashlib
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.alerts.webhooks import replay, run_and_incident_events, send_webhooks
from ingestion.models import IngestionRun, Webhook, WebhookDelivery
from recommender.monitoring.webhook_events import promotion_events
from recommender.registry import registry
from tests.support.builders.experiments import make_version
from tests.support.servers.alert_receivers import WebhookServer

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def receiver() -> Iterator[WebhookServer]:
    with WebhookServer() as server:
        yield server


def make_webhook(receiver: WebhookServer, **fields: Any) -> Webhook:
    webhook = Webhook.objects.create(url=receiver.url, **fields)
    Webhook.objects.update(created_at=NOW - MINUTE)
    return webhook


def make_run(at: datetime = NOW) -> IngestionRun:
    return IngestionRun.objects.create(
        status="succeeded", started_at=at - MINUTE, heartbeat_at=at, finished_at=at, pid=1,
        process_started=1.0,
    )  # fmt: skip


def send(now: datetime = NOW) -> int:
    return send_webhooks(now, [run_and_incident_events, promotion_events])


def test_a_receiver_gets_each_event_once_and_can_prove_who_sent_it(receiver: WebhookServer) -> None:
    webhook = make_webhook(receiver)
    run = make_run()
    make_run(NOW - 2 * MINUTE)  # before the webhook was made
    incident = incidents.open_or_update(Condition("data_stale:songs", "data_stale", "warning"), NOW)
    incidents.resolve("data_stale:songs", NOW + MINUTE)
    promotion = registry.promote(make_version("2026w47.1"), reason="Better.", by="ada", verify=lambda _: None)
    type(promotion).objects.update(at=NOW)

    sent = [send(NOW + MINUTE), send(NOW + 2 * MINUTE)]

    assert sent == [4, 0]
    assert {body["id"] for body in receiver.received} == {
        f"run.finished:{run.pk}", f"incident.opened:{incident.pk}", f"incident.resolved:{incident.pk}",
        f"model.promoted:{promotion.pk}",
    }  # fmt: skip
    assert receiver.received[0]["data"]["status"] == "succeeded"
    headers, body = receiver.requests[0]
    seconds, signature = (part.partition("=")[2] for part in headers["MoovitaMix-Signature"].split(","))
    expected = hmac.new(webhook.secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert signature == expected
    assert headers["MoovitaMix-Delivery"] == f"run.finished:{run.pk}"


def test_a_receiver_gets_only_the_events_that_it_wants(receiver: WebhookServer) -> None:
    make_webhook(receiver, events=["model.promoted"])
    make_run()

    assert (send(), WebhookDelivery.objects.count()) == (0, 0)


def test_a_refused_event_is_sent_again_until_a_day_has_passed(receiver: WebhookServer) -> None:
    make_webhook(receiver)
    make_run()
    receiver.status = 500
    tries, now = 0, NOW
    while tries < 100 and not WebhookDelivery.objects.filter(state="failed").exists():
        send(now)
        tries, now = tries + 1, WebhookDelivery.objects.get().due_at
    failed = WebhookDelivery.objects.get()

    assert failed.attempts == tries == 29
    assert failed.error == "The receiver answered 500"
    receiver.status = 200
    assert send(now) == 0
    assert replay([failed], now) == 1
    assert send(now) == 1
    assert len({headers["MoovitaMix-Delivery"] for headers, _body in receiver.requests}) == 1


def test_an_owner_adds_a_webhook_and_sends_a_delivery_again(
    receiver: WebhookServer, client: Client, django_user_model: type[User]
) -> None:
    client.force_login(django_user_model.objects.create_superuser("ada"))
    add = reverse("admin:ingestion_webhook_add")
    client.post(add, {"url": receiver.url, "events": ["run.finished"], "active": "on"})
    webhook = Webhook.objects.get()
    Webhook.objects.update(created_at=NOW - MINUTE)
    make_run()
    send()

    page = client.get(reverse("admin:ingestion_webhook_change", args=[webhook.pk])).content.decode()
    chosen = {"action": "send_again", "_selected_action": [WebhookDelivery.objects.get().pk]}
    client.post(reverse("admin:ingestion_webhookdelivery_changelist"), chosen)

    assert webhook.events == ["run.finished"]
    assert webhook.secret in page
    assert WebhookDelivery.objects.get().state == "waiting"
