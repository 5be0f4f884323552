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

from ingestion import retention
from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.alerts.webhooks import replay, run_and_incident_events, send_webhooks, sign
from ingestion.models import AuditEntry, IngestionRun, Webhook, WebhookDelivery
from recommender.monitoring.webhook_events import promotion_events
from recommender.registry import registry
from tests.support.builders.experiments import make_version
from tests.support.documents import code_blocks
from tests.support.project import ROOT
from tests.support.servers.alert_receivers import SECRET, WebhookServer

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


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
    assert AuditEntry.objects.filter(target=f"Webhook {webhook.pk}: http://127.0.0.1").count() == 1
    assert webhook.secret in page
    assert WebhookDelivery.objects.get().state == "waiting"


@pytest.mark.parametrize("from_list", [False, True])
def test_a_used_webhook_is_deleted_with_an_audit_entry_without_its_path(
    receiver: WebhookServer, client: Client, django_user_model: type[User], from_list: bool
) -> None:
    client.force_login(django_user_model.objects.create_superuser("ada"))
    webhook = make_webhook(receiver)
    make_run()
    send()

    if from_list:
        chosen = {"action": "delete_selected", "_selected_action": [webhook.pk], "post": "yes"}
        client.post(reverse("admin:ingestion_webhook_changelist"), chosen)
    else:
        client.post(reverse("admin:ingestion_webhook_delete", args=[webhook.pk]), {"post": "yes"})

    assert (Webhook.objects.count(), WebhookDelivery.objects.count()) == (0, 0)
    entry = AuditEntry.objects.get(action="webhook_changed")
    assert (entry.actor, entry.target) == ("ada", f"Webhook {webhook.pk} deleted: http://127.0.0.1")


def test_deliveries_are_kept_as_long_as_their_events_could_be_sent_again(receiver: WebhookServer) -> None:
    make_webhook(receiver)
    make_run()
    send()

    retention.delete_expired(NOW + 1.5 * DAY, runs=730 * DAY, settled=DAY)

    assert send(NOW + 1.5 * DAY) == 0
    gone = retention.delete_expired(NOW + 3 * DAY + MINUTE, runs=730 * DAY, settled=DAY)
    assert gone["webhook_deliveries"] == 1


def test_each_delivery_is_signed_and_retried_at_its_own_time(
    receiver: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0.0]
    monkeypatch.setattr("ingestion.alerts.webhooks.time.monotonic", lambda: passed[0])
    make_webhook(receiver)
    make_run()
    make_run()

    def answer_slowly(_: dict[str, Any]) -> None:
        passed[0] += 20
        receiver.status = 200 if len(receiver.requests) == 1 else 500

    receiver.before_answer = answer_slowly

    send()

    signed_at = [headers["MoovitaMix-Signature"].partition(",")[0] for headers, _body in receiver.requests]
    start = int(NOW.timestamp())
    assert signed_at == [f"t={start}", f"t={start + 20}"]
    sent, failed = WebhookDelivery.objects.order_by("pk")
    assert sent.sent_at == NOW + timedelta(seconds=20)
    assert failed.claimed_at == NOW + timedelta(seconds=20)
    assert failed.due_at == NOW + timedelta(seconds=40) + MINUTE


def test_deliveries_of_an_inactive_webhook_fail_after_a_day_and_are_not_sent_again(
    receiver: WebhookServer, client: Client, django_user_model: type[User]
) -> None:
    client.force_login(django_user_model.objects.create_superuser("ada"))
    make_webhook(receiver)
    make_run()
    receiver.status = 500
    send()
    Webhook.objects.update(active=False)

    states = []
    for now in (NOW + DAY, NOW + DAY + MINUTE):
        send(now)
        states.append(WebhookDelivery.objects.get().state)
    chosen = {"action": "send_again", "_selected_action": [WebhookDelivery.objects.get().pk]}
    page = client.post(reverse("admin:ingestion_webhookdelivery_changelist"), chosen, follow=True)

    assert states == ["waiting", "failed"]
    assert WebhookDelivery.objects.get().error == "The receiver answered 500"
    assert WebhookDelivery.objects.get().state == "failed"
    assert "Not sent again, because their webhook is inactive: 1" in page.content.decode()


def test_a_notice_is_not_sent_but_the_end_of_an_announced_incident_is(receiver: WebhookServer) -> None:
    make_webhook(receiver)
    incidents.open_or_update(Condition("a:songs", "data_stale", "notice"), NOW)
    warning = incidents.open_or_update(Condition("b:songs", "data_stale", "warning"), NOW)
    send()
    incidents.open_or_update(Condition("b:songs", "data_stale", "notice"), NOW)
    incidents.resolve("a:songs", NOW)
    incidents.resolve("b:songs", NOW)

    send(NOW + MINUTE)

    assert [body["id"] for body in receiver.received] == [
        f"incident.opened:{warning.pk}", f"incident.resolved:{warning.pk}",
    ]  # fmt: skip


def test_the_documented_verifier_accepts_our_signature_and_refuses_malformed_ones() -> None:
    (block,) = [text for text in code_blocks(ROOT / "docs" / "api.md", "python") if "def is_ours" in text]
    names: dict[str, Any] = {}
    exec(compile(block, "api.md", "exec"), names)  # noqa: S102
    signature, now = sign("{}", SECRET, NOW), NOW.timestamp()

    malformed = ["", "t=1", "t=x,v1=00", "t=1,v1=00,v0=00", signature[:-1] + "\xe9"]
    accepted = [names["is_ours"](one, b"{}", SECRET, now) for one in [signature, *malformed]]

    assert accepted == [True] + [False] * 5
    assert not names["is_ours"](signature, b"{}", SECRET, now + 300)
