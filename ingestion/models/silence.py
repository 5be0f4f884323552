"""What keeps alerts silent: channels that are switched off, and maintenance windows."""

from datetime import timedelta
from typing import ClassVar, Final

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext as _

# A longer silence would be forgotten. For more time, add another window.
LONGEST_WINDOW: Final = timedelta(days=7)


class AlertChannel(models.Model):
    """A channel of the configuration, so that it can be switched off; the watchdog adds new ones."""

    name = models.CharField(
        max_length=40, unique=True, help_text="email, slack, or other-1 for the first of ALERT_URLS."
    )
    # A keyed hash of its URL, which is secret; empty for e-mail.
    receiver = models.CharField(max_length=16, blank=True, db_default="", editable=False)
    active = models.BooleanField(default=True, help_text="Without this, the channel sends no alerts.")

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class MaintenanceWindow(models.Model):
    """A time without alerts. Incidents are recorded meanwhile; those still open are notified at its end."""

    starts_at = models.DateTimeField("start")
    ends_at = models.DateTimeField("end", db_index=True)
    reason = models.CharField(max_length=200)
    created_by = models.CharField(max_length=150, editable=False)

    class Meta:
        ordering: ClassVar = ["-starts_at", "-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="maintenance_window_ends_after_start", condition=Q(ends_at__gt=F("starts_at"))
            )
        ]

    def __str__(self) -> str:
        return _("Maintenance window {number}").format(number=self.pk)
