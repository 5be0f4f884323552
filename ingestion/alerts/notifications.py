"""Creates notifications about incidents, one per channel; `delivery` sends them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.urls import reverse

from ingestion.alerts.messages.render import render_message
from ingestion.models import Incident, Notification

Event = Notification.Event
State = Notification.State
# For warnings; ALERT_REMIND_HOURS is for critical incidents.
WARNING_REMINDER_INTERVAL: Final = timedelta(days=1)
OPENED_NOTIFICATIONS: Final = Notification.objects.filter(incident=OuterRef("pk"), event=Event.OPENED)


def create_notifications(
    now: datetime,
    channels: Sequence[str],
    off: Sequence[str] = (),
    *,
    remind_after: timedelta,
    site_url: str,
    language: str,
) -> int:
    """Create notifications of new incidents, reminders and resolutions; return how many.

    Notices cause no notification, acknowledged and muted incidents no reminder. A resolution goes to the
    channels that announced the incident; for those that are `off` it waits until they are on. Without
    channels no incident counts as notified, so a channel added later announces it.
    """
    if not channels:
        return 0
    created = 0
    for incident in _incidents_to_notify(now, remind_after):
        created += _notify_open(incident, now, channels, site_url, language)
    resolved = Incident.objects.filter(
        Exists(OPENED_NOTIFICATIONS), resolved_at__isnull=False, end_told_at=None
    )
    for incident in resolved.order_by("resolved_at", "pk"):
        created += _notify_resolved(incident, now, [*channels, *off], site_url, language)
    return created


def _incidents_to_notify(now: datetime, remind_after: timedelta) -> QuerySet[Incident]:
    reminder_due = Q(severity="critical", told_at__lte=now - remind_after) | Q(
        severity="warning", told_at__lte=now - WARNING_REMINDER_INTERVAL
    )
    not_muted = Q(muted_until=None) | Q(muted_until__lte=now)
    due = Incident.objects.filter(
        Q(told_at=None) | reminder_due, not_muted, resolved_at=None, acknowledged_at=None
    )
    return due.exclude(severity=Incident.Severity.NOTICE).order_by("opened_at", "pk")


@transaction.atomic
def _notify_open(
    incident: Incident, now: datetime, channels: Sequence[str], site_url: str, language: str
) -> int:
    names = [name for name in channels if incident.key != f"delivery_failing:{name}"]
    unchanged = Incident.objects.filter(
        pk=incident.pk, told_at=incident.told_at, resolved_at=None, acknowledged_at=None
    )
    # Only the process that changes `told_at` creates the notifications.
    if not names or not unchanged.update(told_at=now):
        return 0
    is_reminder = incident.told_at is not None
    incident.refresh_from_db()
    announced = incident.notifications.filter(event=Event.OPENED).exists()
    unsent = incident.notifications.filter(state__in=(State.WAITING, State.SENDING))
    # A reminder would arrive together with the notification that is still waiting.
    waiting = set(unsent.values_list("channel", flat=True)) if is_reminder else set()
    events = {name: Event.REMINDER if announced else Event.OPENED for name in names if name not in waiting}
    return _create_notifications(incident, events, now, site_url, language)


@transaction.atomic
def _notify_resolved(
    incident: Incident, now: datetime, channels: Sequence[str], site_url: str, language: str
) -> int:
    if not Incident.objects.filter(pk=incident.pk, end_told_at=None).update(end_told_at=now):
        return 0
    notified = set(incident.notifications.values_list("channel", flat=True))
    return _create_notifications(
        incident, {name: Event.RESOLVED for name in channels if name in notified}, now, site_url, language
    )


def _create_notifications(
    incident: Incident, events: dict[str, Event], now: datetime, site_url: str, language: str
) -> int:
    page = incident.link or reverse("admin:ingestion_incident_change", args=[incident.pk])
    created = []
    for channel, event in events.items():
        subject, content = render_message(incident, event, site_url + page, language)
        created.append(
            Notification(incident=incident, event=event, channel=channel, subject=subject, content=content,
                         created_at=now, due_at=now)
        )  # fmt: skip
    return len(Notification.objects.bulk_create(created))
