"""The database is away: the one trouble that can't be a row, so whoever notices tells it from a file.

Each machine keeps its own file, and tells once, whatever number of its processes look.
"""

import fcntl
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self
from uuid import NAMESPACE_URL, uuid5

from ingestion.alerts.channels import Channel, NotSent
from ingestion.alerts.messages.render import render_message
from ingestion.models import Incident, Notification

logger = logging.getLogger(__name__)

KEY: Final = "database_away"
# A server that restarts is back by then.
GRACE: Final = timedelta(minutes=3)
Event = Notification.Event


@dataclass
class DatabaseOutage:
    """What a machine remembers of an outage.

    Attributes:
        since: when it was first noticed; told_at: when somebody was last told.
        channels: by which people were told that it began.
    """

    since: datetime
    error: str
    told_at: datetime | None = None
    channels: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, place: Path) -> Self | None:
        """None where there is none, or where the file is damaged: then it is noticed anew."""
        try:
            stored = json.loads(place.read_text())
            told_at = stored["told_at"]
            return cls(
                datetime.fromisoformat(stored["since"]), str(stored["error"]),
                datetime.fromisoformat(told_at) if told_at else None, list(stored["channels"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, place: Path) -> None:
        """As a whole or not at all."""
        draft = place.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self), default=datetime.isoformat))
        draft.replace(place)

    def as_incident(self, now: datetime) -> Incident:
        """What the messages are made of."""
        return Incident(
            key=KEY, kind=KEY, severity=Incident.Severity.CRITICAL, opened_at=self.since, seen_at=now,
            facts={"error": self.error}, told_at=self.told_at,
        )  # fmt: skip


def database_unavailable(
    now: datetime, place: Path, error: str, channels: Sequence[Channel], *, remind_after: timedelta,
    link: str, language: str,
) -> int:  # fmt: skip
    """Note that the database can't be used, and tell once it could not for three minutes.

    A channel that does not take it is tried again at the next look.

    Args:
        place: the file that remembers it.

    Returns:
        How many messages were sent.
    """
    with _file_lock(place):
        outage = DatabaseOutage.load(place) or DatabaseOutage(now, error)
        outage.error = error
        if now - outage.since < GRACE:
            outage.save(place)
            return 0
        is_due = outage.told_at is not None and now - outage.told_at >= remind_after
        sent = 0
        for channel in channels:
            if channel.name not in outage.channels:
                sent += _send(channel, outage, Event.OPENED, now, link, language)
            elif is_due:
                sent += _send(channel, outage, Event.REMINDER, now, link, language)
        if sent:
            outage.told_at = now
        outage.save(place)
        return sent


def database_recovered(now: datetime, place: Path, *, link: str, language: str) -> Incident | None:
    """Keep what was told as an incident that is over; its end is told like every other's.

    None where nothing was away, or nobody was told of it.
    """
    if not place.exists():
        return None
    with _file_lock(place):
        outage, incident = DatabaseOutage.load(place), None
        if outage is not None and outage.channels:
            incident = _save_incident(outage, now, link, language)
        place.unlink(missing_ok=True)
        return incident


def _send(
    channel: Channel, outage: DatabaseOutage, event: Event, now: datetime, link: str, language: str
) -> bool:
    subject, content = render_message(outage.as_incident(now), event, link, language)
    # The same for each try, so that whoever gets one message twice sees it once.
    number = uuid5(NAMESPACE_URL, f"{channel.name} {event} {outage.since} {outage.told_at}")
    try:
        channel.send(subject, {**content, "id": f"<{number}@moovitamix>", "thread": _thread(outage.since)})
    except NotSent as error:
        logger.warning("message_not_sent key=%s channel=%s error=%r", KEY, channel.name, str(error))
        return False
    except Exception as error:
        # Its text may hold anything, also an address with its password.
        logger.warning("message_not_sent key=%s channel=%s error=%s", KEY, channel.name, type(error).__name__)
        return False
    logger.info("message_sent key=%s event=%s channel=%s", KEY, event, channel.name)
    if channel.name not in outage.channels:
        outage.channels.append(channel.name)
    return True


def _save_incident(outage: DatabaseOutage, now: datetime, link: str, language: str) -> Incident:
    """Once, also where the process died after it and before the file was gone."""
    incident, is_new = Incident.objects.get_or_create(
        key=KEY, opened_at=outage.since,
        defaults={"kind": KEY, "severity": Incident.Severity.CRITICAL, "facts": {"error": outage.error},
                  "seen_at": now, "resolved_at": now, "told_at": outage.told_at},
    )  # fmt: skip
    if is_new:
        at = outage.told_at or now
        subject, content = render_message(incident, Event.OPENED, link, language)
        Notification.objects.bulk_create(
            Notification(
                incident=incident, event=Event.OPENED, channel=name, subject=subject, content=content,
                created_at=at, due_at=at, sent_at=at, attempts=1, state=Notification.State.SENT,
            )
            for name in outage.channels
        )  # fmt: skip
    return incident


def _thread(since: datetime) -> str:
    return f"<{KEY}-{since:%Y%m%d%H%M%S%f}@moovitamix>"


@contextmanager
def _file_lock(place: Path) -> Iterator[None]:
    """Of a machine's processes one at a time; the next one finds what this one wrote."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
