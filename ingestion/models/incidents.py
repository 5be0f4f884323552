"""Incidents and the notifications sent about them."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext as _

from ingestion.models.runs import IngestionRun


class Incident(models.Model):
    """A problem, from its detection until it is resolved; one open row per key."""

    class Severity(models.TextChoices):
        WARNING = "warning"
        CRITICAL = "critical"
        # Shown on pages; nobody is notified, and the service counts as healthy.
        NOTICE = "notice"

    key = models.CharField(
        max_length=120, help_text="Kind and subject of the problem, such as data_stale:songs."
    )
    kind = models.CharField(max_length=40, help_text="Selects the message text.")
    severity = models.CharField(max_length=8, choices=Severity.choices)
    opened_at = models.DateTimeField("first seen", db_index=True)
    seen_at = models.DateTimeField("last seen")
    count = models.PositiveIntegerField("times seen", default=1)
    facts = models.JSONField(default=dict, help_text="The numbers that triggered it, as last seen.")
    run = models.ForeignKey(
        IngestionRun, models.SET_NULL, null=True, blank=True, related_name="incidents",
        help_text="Run in which it was last seen.",
    )  # fmt: skip
    link = models.CharField(max_length=200, blank=True, help_text="Path of the page with details.")
    told_at = models.DateTimeField(
        "last notified",
        null=True,
        blank=True,
        help_text="When a notification about the open incident was last created.",
    )
    end_told_at = models.DateTimeField(
        "resolution notified",
        null=True,
        blank=True,
        help_text="When the notification that it is resolved was created.",
    )
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)
    muted_until = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True, db_index=True)
    resolved_by_run = models.ForeignKey(
        IngestionRun, models.SET_NULL, null=True, blank=True, related_name="resolved_incidents"
    )
    resolution = models.JSONField(default=dict, blank=True, help_text="The numbers that resolved it.")

    class Meta:
        ordering: ClassVar = [models.F("resolved_at").desc(nulls_first=True), "-seen_at"]
        permissions: ClassVar = [("handle_incident", "Can acknowledge and mute incidents")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["key"], name="incident_one_open_a_key", condition=Q(resolved_at=None)
            ),
            models.CheckConstraint(
                name="incident_acknowledged_by_somebody",
                condition=Q(acknowledged_at=None, acknowledged_by="")
                | (Q(acknowledged_at__isnull=False) & ~Q(acknowledged_by="")),
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["told_at"],
                name="incident_to_tell_of",
                condition=Q(resolved_at=None) | Q(end_told_at=None),
            )
        ]

    def __str__(self) -> str:
        return _("Incident {number}: {key}").format(number=self.pk, key=self.key)


class Notification(models.Model):
    """A message to one channel; the process that changes `state` from waiting to sending sends it."""

    class Event(models.TextChoices):
        OPENED = "opened"
        REMINDER = "reminder"
        RESOLVED = "resolved"
        TEST = "test"

    class State(models.TextChoices):
        WAITING = "waiting"
        SENDING = "sending"
        SENT = "sent"
        FAILED = "failed", "given up"

    incident = models.ForeignKey(
        Incident, models.CASCADE, null=True, blank=True, related_name="notifications",
        help_text="Empty for a test notification.",
    )  # fmt: skip
    event = models.CharField(max_length=8, choices=Event.choices)
    channel = models.CharField(
        max_length=40, help_text="email, slack, or other-1 for the first of ALERT_URLS."
    )
    subject = models.CharField(max_length=200)
    content = models.JSONField(help_text="The message: sentences, numbers, what to do, link.")
    state = models.CharField(max_length=7, choices=State.choices, default=State.WAITING)
    created_at = models.DateTimeField(db_index=True)
    due_at = models.DateTimeField(help_text="Earliest time of the next attempt.")
    attempts = models.PositiveIntegerField(default=0)
    claimed_at = models.DateTimeField(null=True, blank=True)
    claim = models.CharField(
        max_length=36, blank=True, editable=False, help_text="ID of the process that sends it."
    )
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, help_text="Why the last attempt failed.")

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            # Two processes may see the same incident open or resolve; only the first may notify.
            models.UniqueConstraint(
                fields=["incident", "event", "channel"],
                name="notification_once",
                condition=Q(event__in=("opened", "resolved")),
            ),
            models.CheckConstraint(
                name="notification_sent_iff_sent_at",
                condition=Q(state="sent", sent_at__isnull=False) | (~Q(state="sent") & Q(sent_at=None)),
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["due_at"], name="notification_to_send", condition=Q(state__in=("waiting", "sending"))
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_event_display()}, {self.channel}: {self.subject}"
