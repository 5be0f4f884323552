"""Heartbeats of the service's components, and turns of periodic checks."""

import os
import socket
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When

from ingestion.models import Heartbeat, HostRound

# Beat and the workers send a heartbeat every minute, and are back within a minute after a restart.
SILENT_AFTER: Final = timedelta(minutes=5)
# A container has a new name after each deployment; the turns of old names are deleted.
FORGET_HOST_AFTER: Final = timedelta(days=1)


def record_heartbeat(part: str, now: datetime, **facts: Any) -> None:
    if not _update(Heartbeat.objects.filter(part=part), now, facts=facts):
        _create(part, now, facts)


def claim_turn(part: str, now: datetime, every: timedelta) -> bool:
    """Whether this process may do the periodic work now; true for one process per interval `every`.

    A heartbeat in the future, left by a wrong clock, does not block the next turn.
    """
    is_due = Q(at__lte=now - every) | Q(at__gt=now + every)
    if _update(Heartbeat.objects.filter(is_due, part=part), now):
        return True
    return not Heartbeat.objects.filter(part=part).exists() and _create(part, now, {})


def claim_host_turn(now: datetime, every: timedelta) -> bool:
    """As `claim_turn`, but true for one process of each host.

    With one turn for all, processes that try once a minute keep their order, and one host always wins.
    """
    host = socket.gethostname()
    is_due = Q(at__lte=now - every) | Q(at__gt=now + every)
    if HostRound.objects.filter(is_due, host=host).update(at=now):
        return True
    if HostRound.objects.filter(host=host).exists():
        return False
    try:
        with transaction.atomic():
            HostRound.objects.create(host=host, at=now)
    except IntegrityError:
        return False
    HostRound.objects.filter(at__lt=now - FORGET_HOST_AFTER).delete()
    return True


def add_facts(part: str, **facts: Any) -> None:
    with transaction.atomic():
        heartbeat = Heartbeat.objects.select_for_update().filter(part=part).first()
        if heartbeat is not None:
            Heartbeat.objects.filter(pk=heartbeat.pk).update(facts={**heartbeat.facts, **facts})


def latest_heartbeats() -> dict[str, Heartbeat]:
    return {heartbeat.part: heartbeat for heartbeat in Heartbeat.objects.all()}


def is_silent(heartbeat: Heartbeat | None, now: datetime) -> bool:
    return heartbeat is None or heartbeat.at <= now - SILENT_AFTER


def _update(rows: QuerySet[Heartbeat], now: datetime, **values: Any) -> bool:
    host, pid = socket.gethostname(), os.getpid()
    # `since` is the time of the process's first heartbeat.
    since = Case(When(host=host, pid=pid, then=F("since")), default=Value(now))
    return bool(rows.update(since=since, at=now, host=host, pid=pid, **values))


def _create(part: str, now: datetime, facts: dict[str, Any]) -> bool:
    try:
        with transaction.atomic():
            Heartbeat.objects.create(
                part=part, at=now, since=now, host=socket.gethostname(), pid=os.getpid(), facts=facts
            )
    except IntegrityError:
        return False
    return True
