"""Alerts while the database is unavailable; a file stores the incident meanwhile.

All processes of a machine share the file, so each machine sends one alert.
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
# Longer than a restart of the database server.
GRACE: Final = timedelta(minutes=3)
Event = Notification.Event


@dataclass
class DatabaseOutage:
    """The incident of an unavailable database, as the file stores it."""

    since: datetime
    error: str
    told_at: datetime | None = None  # time of the last notification; None before the first
    channels: list[str] = field(default_factory=list)  # channels that have sent the first notification
    outlasted_grace: bool = False

    @classmethod
    def load(cls, file: Path) -> Self | None:
        try:
            stored = json.loads(file.read_text())
            told_at = stored["told_at"]
            return cls(
                datetime.fromisoformat(stored["since"]), str(stored["error"]),
                datetime.fromisoformat(told_at) if told_at else None, list(stored["channels"]),
                bool(stored.get("outlasted_grace")),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, file: Path) -> None:
        draft = file.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self), default=datetime.isoformat))
        draft.replace(file)

    def as_incident(self, now: datetime) -> Incident:
        return Incident(
            key=KEY, kind=KEY, severity=Incident.Severity.CRITICAL, opened_at=self.since, seen_at=now,
            facts={"error": self.error}, told_at=self.told_at,
        )  # fmt: skip


def database_unavailable(
    now: datetime, file: Path, error: str, channels: Sequence[Channel], *, remind_after: timedelta,
    link: str, language: str,
) -> int:  # fmt: skip
    """Record the outage and, after `GRACE`, send alerts; return how many were sent.

    The next call retries failed channels.
    """
    with _file_lock(file):
        outage = DatabaseOutage.load(file) or DatabaseOutage(now, error)
        outage.error = error
        if now - outage.since < GRACE:
            outage.save(file)
            return 0
        outage.outlasted_grace = True
        is_due = outage.told_at is not None and now - outage.told_at >= remind_after
        sent = 0
        for channel in channels:
            if channel.name not in outage.channels:
                sent += _send(channel, outage, Event.OPENED, now, link, language)
            elif is_due:
                sent += _send(channel, outage, Event.REMINDER, now, link, language)
        if sent:
            outage.told_at = now
        outage.save(file)
        return sent


def database_recovered(now: datetime, file: Path, *, link: str, language: str) -> Incident | None:
    """Store the outage as a resolved incident; None if it was too short.

    Its end is notified by the channels that have sent an alert: none, if all were silent.
    """
    if not file.exists():
        return None
    with _file_lock(file):
        outage, incident = DatabaseOutage.load(file), None
        if outage is not None and (outage.channels or outage.outlasted_grace):
            incident = _save_incident(outage, now, link, language)
        file.unlink(missing_ok=True)
        return incident


def _send(
    channel: Channel, outage: DatabaseOutage, event: Event, now: datetime, link: str, language: str
) -> bool:
    subject, content = render_message(outage.as_incident(now), event, link, language)
    # The same for each attempt, so that mail programs show a duplicate once.
    number = uuid5(NAMESPACE_URL, f"{channel.name} {event} {outage.since} {outage.told_at}")
    try:
        channel.send(subject, {**content, "id": f"<{number}@moovitamix>", "thread": _thread(outage.since)})
    except NotSent as error:
        logger.warning("notification_not_sent key=%s channel=%s error=%r", KEY, channel.name, str(error))
        return False
    except Exception as error:
        # The error's text may hold a URL with its password.
        logger.warning(
            "notification_not_sent key=%s channel=%s error=%s", KEY, channel.name, type(error).__name__
        )
        return False
    logger.info("notification_sent key=%s event=%s channel=%s", KEY, event, channel.name)
    if channel.name not in outage.channels:
        outage.channels.append(channel.name)
    return True


def _save_incident(outage: DatabaseOutage, now: datetime, link: str, language: str) -> Incident:
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
def _file_lock(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
