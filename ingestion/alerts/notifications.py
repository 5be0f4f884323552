"""Which incidents somebody has to be told of, and by which channels: makes the messages, sends none."""

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
# A warning keeps until the next day; what is critical has its own setting.
WARNING_REMINDER_INTERVAL: Final = timedelta(days=1)
OPENED_NOTIFICATIONS: Final = Notification.objects.filter(incident=OuterRef("pk"), event=Event.OPENED)


def create_notifications(
    now: datetime, channels: Sequence[str], *, remind_after: timedelta, site_url: str, language: str
) -> int:
    """How many messages were made: of what is new, what is still critical, and what is over.

    Nobody is reminded of what is acknowledged or muted. The end is told where the beginning was. Without
    channels nothing is marked as told: whoever adds one later hears of what is open then.
    """
    if not channels:
        return 0
    made = 0
    for incident in _incidents_to_notify(now, remind_after):
        made += _notify_open(incident, now, channels, site_url, language)
    over = Incident.objects.filter(Exists(OPENED_NOTIFICATIONS), resolved_at__isnull=False, end_told_at=None)
    for incident in over.order_by("resolved_at", "pk"):
        made += _notify_resolved(incident, now, channels, site_url, language)
    return made


def _incidents_to_notify(now: datetime, remind_after: timedelta) -> QuerySet[Incident]:
    """Open incidents that nobody was told of, or not for long."""
    long_ago = Q(severity="critical", told_at__lte=now - remind_after) | Q(
        severity="warning", told_at__lte=now - WARNING_REMINDER_INTERVAL
    )
    heard = Q(muted_until=None) | Q(muted_until__lte=now)
    return Incident.objects.filter(
        Q(told_at=None) | long_ago, heard, resolved_at=None, acknowledged_at=None
    ).order_by("opened_at", "pk")


@transaction.atomic
def _notify_open(
    incident: Incident, now: datetime, channels: Sequence[str], site_url: str, language: str
) -> int:
    names = [name for name in channels if incident.key != f"delivery_failing:{name}"]
    mine = Incident.objects.filter(
        pk=incident.pk, told_at=incident.told_at, resolved_at=None, acknowledged_at=None
    )
    # Whoever changes `told_at` tells; a second teller finds it changed.
    if not names or not mine.update(told_at=now):
        return 0
    routine = incident.told_at is not None
    incident.refresh_from_db()
    old = set(incident.notifications.filter(event=Event.OPENED).values_list("channel", flat=True))
    unsent = incident.notifications.filter(state__in=(State.WAITING, State.SENDING))
    # A reminder on top of a message that still waits would arrive together with it.
    waiting = set(unsent.values_list("channel", flat=True)) if routine else set()
    events = {name: Event.REMINDER if old else Event.OPENED for name in names if name not in waiting}
    return _create_notifications(incident, events, now, site_url, language)


@transaction.atomic
def _notify_resolved(
    incident: Incident, now: datetime, channels: Sequence[str], site_url: str, language: str
) -> int:
    if not Incident.objects.filter(pk=incident.pk, end_told_at=None).update(end_told_at=now):
        return 0
    told = set(incident.notifications.values_list("channel", flat=True))
    return _create_notifications(
        incident, {name: Event.RESOLVED for name in channels if name in told}, now, site_url, language
    )


def _create_notifications(
    incident: Incident, events: dict[str, Event], now: datetime, site_url: str, language: str
) -> int:
    page = incident.link or reverse("admin:ingestion_incident_change", args=[incident.pk])
    made = []
    for channel, event in events.items():
        subject, content = render_message(incident, event, site_url + page, language)
        made.append(
            Notification(incident=incident, event=event, channel=channel, subject=subject, content=content,
                         created_at=now, due_at=now)
        )  # fmt: skip
    return len(Notification.objects.bulk_create(made))
