"""Signs of life: when each part of the service last did its round, and whose turn a round is."""

import os
import socket
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, Value, When

from ingestion.models import Heartbeat

# Beat and a worker come again within a minute, also when they are started anew.
SILENT_AFTER: Final = timedelta(minutes=5)


def record_heartbeat(part: str, now: datetime, **facts: Any) -> None:
    """Write that this part is alive; `facts` replace those of its last round."""
    if not _write(Heartbeat.objects.filter(part=part), now, facts=facts):
        _create(part, now, facts)


def claim_turn(part: str, now: datetime, every: timedelta) -> bool:
    """Whether this round is ours: true in one process alone, and again when `every` has passed.

    A pulse from the future, which a clock that was set back leaves behind, holds nobody up.
    """
    is_due = Q(at__lte=now - every) | Q(at__gt=now + every)
    if _write(Heartbeat.objects.filter(is_due, part=part), now):
        return True
    return not Heartbeat.objects.filter(part=part).exists() and _create(part, now, {})


def add_facts(part: str, **facts: Any) -> None:
    """Add facts to a part's last round, for others to read; nothing where it never did one."""
    with transaction.atomic():
        pulse = Heartbeat.objects.select_for_update().filter(part=part).first()
        if pulse is not None:
            Heartbeat.objects.filter(pk=pulse.pk).update(facts={**pulse.facts, **facts})


def latest_heartbeats() -> dict[str, Heartbeat]:
    """The last sign of life of each part that ever gave one."""
    return {pulse.part: pulse for pulse in Heartbeat.objects.all()}


def is_silent(pulse: Heartbeat | None, now: datetime) -> bool:
    """Whether a part gave no sign of life for too long, or never gave one."""
    return pulse is None or pulse.at <= now - SILENT_AFTER


def _write(rows: Any, now: datetime, **more: Any) -> bool:
    host, pid = socket.gethostname(), os.getpid()
    # A process's own `since` stays; another process's begins.
    since = Case(When(host=host, pid=pid, then=F("since")), default=Value(now))
    return bool(rows.update(since=since, at=now, host=host, pid=pid, **more))


def _create(part: str, now: datetime, facts: dict[str, Any]) -> bool:
    """False where another process was faster."""
    try:
        with transaction.atomic():
            Heartbeat.objects.create(
                part=part, at=now, since=now, host=socket.gethostname(), pid=os.getpid(), facts=facts
            )
    except IntegrityError:
        return False
    return True
