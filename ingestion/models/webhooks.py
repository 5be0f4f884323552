"""Webhooks: addresses of other programs to which events are sent, and the deliveries."""

import secrets
from datetime import timedelta
from typing import ClassVar, Final

from django.core.validators import URLValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext as _

SECRET_BYTES = 32
# Events that nobody has looked for since then are too old to be news.
NEWS: Final = timedelta(days=2)


class WebhookEvent(models.TextChoices):
    RUN_FINISHED = "run.finished", "run finished"
    INCIDENT_OPENED = "incident.opened", "incident opened"
    INCIDENT_RESOLVED = "incident.resolved", "incident resolved"
    MODEL_PROMOTED = "model.promoted", "model promoted"


def all_events() -> list[str]:
    return list(WebhookEvent.values)


def make_secret() -> str:
    return secrets.token_hex(SECRET_BYTES)


class Webhook(models.Model):
    url = models.URLField("URL", max_length=500, validators=[URLValidator(schemes=["http", "https"])])
    events = models.JSONField(default=all_events)
    # In plain text, because each delivery is signed with it.
    secret = models.CharField(max_length=64, default=make_secret, editable=False)
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"Webhook {self.pk}"


class WebhookDelivery(models.Model):
    """One event for one webhook; it is sent again until the receiver accepts it, for a day."""

    class State(models.TextChoices):
        WAITING = "waiting"
        SENDING = "sending"
        SENT = "sent"
        FAILED = "failed"

    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="deliveries", db_index=False)
    event = models.CharField(max_length=20, choices=WebhookEvent.choices)
    # The same for every webhook and attempt, such as "run.finished:7".
    event_id = models.CharField("event ID", max_length=60)
    body = models.TextField(help_text="What is sent, byte for byte.")
    state = models.CharField(max_length=7, choices=State.choices, default=State.WAITING)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=200, blank=True)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["webhook", "event_id"], name="webhook_delivery_once"),
            models.CheckConstraint(
                name="webhook_delivery_sent_has_time",
                condition=Q(state="sent", sent_at__isnull=False) | ~Q(state="sent"),
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["due_at"], name="webhook_delivery_due", condition=Q(state__in=["waiting", "sending"])
            ),
        ]

    def __str__(self) -> str:
        return _("{event} to webhook {number}").format(event=self.event_id, number=self.webhook_id)
