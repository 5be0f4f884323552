"""Opens, updates, resolves, acknowledges and mutes incidents.

No other module writes incidents, except that `notifications` sets `told_at` and `end_told_at`.
"""

import logging
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When

from ingestion.models import Incident

logger = logging.getLogger(__name__)

Severity = Incident.Severity
WORST_FIRST = (Severity.CRITICAL, Severity.WARNING, Severity.NOTICE)
LOG_LEVELS = {Severity.CRITICAL: logging.ERROR, Severity.NOTICE: logging.INFO}
# An attempt fails only if another process opened or resolved the same key at the same moment.
MAX_ATTEMPTS = 5
# Of an incident that each host reports for itself: the facts of each by its name, and when it reported them.
HOSTS: Final = "hosts"
REPORTED_AT: Final = "reported_at"
UNKNOWN_HOST: Final = "?"
# A host with a web process checks itself every minute, one with workers only when it gets the task. One that
# did not within this time perhaps no longer exists, and keeps no incident open.
OTHER_HOST_SILENCE: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Condition:
    # The problem and its subject, such as `data_stale:songs`; each key has at most one open incident.
    key: str
    kind: str  # selects the alert text
    severity: str
    # Numbers and words for that text; never personal data.
    facts: dict[str, Any] = field(default_factory=dict)
    run_id: int | None = None
    link: str = ""  # path of the page with details; empty for the incident's own page


def open_or_update(condition: Condition, now: datetime) -> Incident:
    """Open an incident for the condition, or update the open one with the same key.

    A warning can become critical, which removes its acknowledgement; a critical incident stays critical.
    If the condition is a notice, the open incident becomes a notice, too: an earlier release may have
    opened it as a warning, with reminders.
    """
    for _ in range(MAX_ATTEMPTS):
        incident = _update_open(condition, now) or _create(condition, now)
        if incident is not None:
            return incident
    raise RuntimeError(f"Other processes opened and resolved {condition.key} {MAX_ATTEMPTS} times in a row")


def resolve(
    key: str, now: datetime, *, run_id: int | None = None, facts: dict[str, Any] | None = None
) -> Incident | None:
    """Resolve the open incident with this key; None if there is none. `facts` are for the message."""
    incident = _find_open(key)
    if incident is None:
        return None
    ended = Incident.objects.filter(pk=incident.pk, resolved_at=None).update(
        resolved_at=now, resolved_by_run=run_id, resolution=facts or {}
    )
    if not ended:
        return None
    logger.info("incident_resolved key=%s run=%s", key, run_id)
    incident.refresh_from_db()
    return incident


def sync_scope(
    scope: str, conditions: Iterable[Condition], now: datetime, *, run_id: int | None = None
) -> list[Incident]:
    """Open or update an incident for each condition, resolve all others of the scope, return the open ones.

    `scope` is a key or the part before its colon: `data_stale` covers `data_stale:songs`.
    """
    reported = [open_or_update(condition, now) for condition in conditions]
    keys = {incident.key for incident in reported}
    outside = [key for key in keys if key != scope and not key.startswith(f"{scope}:")]
    if outside:
        raise ValueError(f"{outside} do not belong to {scope}")
    in_scope = Incident.objects.filter(Q(key=scope) | Q(key__startswith=f"{scope}:"), resolved_at=None)
    for key in in_scope.exclude(key__in=keys).values_list("key", flat=True):
        resolve(key, now, run_id=run_id)
    return reported


def open_or_update_here(condition: Condition, now: datetime) -> Incident:
    """As `open_or_update`, for a problem that this host has and others may have too.

    Stores each host's facts; those of this host become the incident's.
    """
    own = {**condition.facts, REPORTED_AT: now.isoformat()}
    for _ in range(MAX_ATTEMPTS):
        with transaction.atomic():
            # Locked, because another host may add or remove itself. If no incident is open, the other host's
            # `_create` wins or this one's, and whoever loses reads the winner's hosts.
            locked = Incident.objects.select_for_update().filter(key=condition.key, resolved_at=None)
            open_one = locked.first()
            hosts = {**_other_hosts(open_one, now), socket.gethostname(): own}
            merged = replace(condition, facts={**condition.facts, HOSTS: hosts})
            incident = _create(merged, now) if open_one is None else _update_open(merged, now)
        if incident is not None:
            return incident
    raise RuntimeError(f"Other hosts opened and resolved {condition.key} {MAX_ATTEMPTS} times in a row")


def facts_of_this_host(incident: Incident) -> dict[str, Any] | None:
    """What this host last reported; None if it did not report the problem."""
    facts = incident.facts.get(HOSTS, {}).get(socket.gethostname())
    return facts if isinstance(facts, dict) else None


def resolve_here(key: str, now: datetime) -> None:
    """Resolve the incident, unless another host has reported the same problem within the last hour.

    Then the facts of the host that reported last become the incident's.
    """
    if _find_open(key) is None:
        return  # as a rule, without a transaction
    with transaction.atomic():
        incident = Incident.objects.select_for_update().filter(key=key, resolved_at=None).first()
        if incident is None:
            return
        others = _other_hosts(incident, now)
        if not others:
            resolve(key, now)
            return
        last = max(others.values(), key=lambda facts: str(facts[REPORTED_AT]))
        facts = {name: value for name, value in last.items() if name != REPORTED_AT} or incident.facts
        Incident.objects.filter(pk=incident.pk).update(facts={**facts, HOSTS: others})


def sync_scope_here(scope: str, conditions: Iterable[Condition], now: datetime) -> None:
    """As `sync_scope`, for problems that each host has for itself."""
    keys = {open_or_update_here(condition, now).key for condition in conditions}
    in_scope = Incident.objects.filter(Q(key=scope) | Q(key__startswith=f"{scope}:"), resolved_at=None)
    for key in in_scope.exclude(key__in=keys).values_list("key", flat=True):
        resolve_here(key, now)


def _other_hosts(incident: Incident | None, now: datetime) -> dict[str, dict[str, Any]]:
    """What other hosts reported in the last hour, by host."""
    if incident is None:
        return {}
    hosts = {host: facts for host, facts in incident.facts.get(HOSTS, {}).items() if isinstance(facts, dict)}
    if HOSTS not in incident.facts:
        # An earlier release stored the last host only, or none.
        hosts[incident.facts.get("host", UNKNOWN_HOST)] = {REPORTED_AT: incident.seen_at.isoformat()}
    oldest, here = now - OTHER_HOST_SILENCE, socket.gethostname()
    return {
        host: facts
        for host, facts in hosts.items()
        if host != here and datetime.fromisoformat(facts[REPORTED_AT]) > oldest
    }


def end_unannounced(scope: str, keep: Collection[str], now: datetime) -> None:
    """End the scope's incidents without a message, except the keys to keep: nobody mended the problem."""
    ended = Incident.objects.filter(key__startswith=f"{scope}:", resolved_at=None).exclude(key__in=keep)
    for key in list(ended.values_list("key", flat=True)):
        if Incident.objects.filter(key=key, resolved_at=None).update(resolved_at=now, end_told_at=now):
            logger.info("incident_ended_unannounced key=%s", key)


def acknowledge(incident: Incident, by: str, now: datetime) -> bool:
    """Stop reminders; False if the incident is resolved or acknowledged."""
    unacknowledged = Incident.objects.filter(pk=incident.pk, resolved_at=None, acknowledged_at=None)
    return bool(unacknowledged.update(acknowledged_at=now, acknowledged_by=by))


def mute(incident: Incident, until: datetime, now: datetime) -> bool:
    """Stop notifications for this incident's key until the given time; False if it is resolved."""
    if until <= now:
        raise ValueError(f"{until} is in the past")
    return bool(Incident.objects.filter(pk=incident.pk, resolved_at=None).update(muted_until=until))


def open_incidents() -> QuerySet[Incident]:
    """The unresolved incidents, critical ones first and notices last."""
    places = [When(severity=severity, then=Value(place)) for place, severity in enumerate(WORST_FIRST)]
    return Incident.objects.filter(resolved_at=None).order_by(Case(*places), "opened_at", "pk")


def _find_open(key: str) -> Incident | None:
    return Incident.objects.filter(key=key, resolved_at=None).first()


def _update_open(condition: Condition, now: datetime) -> Incident | None:
    incident = _find_open(condition.key)
    if incident is None:
        return None
    changes: dict[str, Any] = {
        "seen_at": now,
        "count": F("count") + 1,
        "kind": condition.kind,
        "facts": condition.facts,
    }
    if condition.run_id is not None:
        changes["run"] = condition.run_id
    if condition.link:
        changes["link"] = condition.link
    if condition.severity == Severity.NOTICE:
        changes["severity"] = Severity.NOTICE
    escalated = condition.severity == Severity.CRITICAL and incident.severity != Severity.CRITICAL
    if escalated:
        changes.update(severity=Severity.CRITICAL, told_at=None, acknowledged_at=None, acknowledged_by="")
    if not Incident.objects.filter(pk=incident.pk, resolved_at=None).update(**changes):
        return None
    if escalated:
        logger.error("incident_escalated key=%s", condition.key)
    incident.refresh_from_db()
    return incident


def _create(condition: Condition, now: datetime) -> Incident | None:
    try:
        with transaction.atomic():
            incident = Incident.objects.create(
                key=condition.key, kind=condition.kind, severity=condition.severity, facts=condition.facts,
                run_id=condition.run_id, link=condition.link, opened_at=now, seen_at=now,
                muted_until=_muted_until(condition.key, now),
            )  # fmt: skip
    except IntegrityError:
        return None
    level = LOG_LEVELS.get(Severity(condition.severity), logging.WARNING)
    logger.log(level, "incident_opened key=%s severity=%s", condition.key, condition.severity)
    return incident


def _muted_until(key: str, now: datetime) -> datetime | None:
    # Muting a recurring problem also applies to its next incidents.
    muted = Incident.objects.filter(key=key, muted_until__gt=now).order_by("-muted_until").first()
    return muted.muted_until if muted else None
