"""What is wrong, from its first sight to its end; `telling` alone writes what was told of it."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from ingestion.models import Incident

logger = logging.getLogger(__name__)

Severity = Incident.Severity
# Each turn is lost only to somebody who opened or resolved the same key in between.
MAX_ATTEMPTS = 5


@dataclass(frozen=True)
class Condition:
    """Something that is wrong now.

    Attributes:
        key: what is wrong with what, such as `data_stale:songs`; one open incident a key.
        kind: which text tells of it.
        facts: plain numbers and words for that text; never personal data.
        link: path of the page that shows more; empty: the run's, or the incident's own.
    """

    key: str
    kind: str
    severity: str
    facts: dict[str, Any] = field(default_factory=dict)
    run_id: int | None = None
    link: str = ""


def open_or_update(condition: Condition, now: datetime) -> Incident:
    """The open incident of the condition's key: opened, or seen once more.

    A warning may become critical, never the reverse; what became critical has to be acknowledged anew.
    """
    for _ in range(MAX_ATTEMPTS):
        incident = _update_open(condition, now) or _create(condition, now)
        if incident is not None:
            return incident
    raise RuntimeError(f"The incident {condition.key} was opened and resolved {MAX_ATTEMPTS} times meanwhile")


def resolve(
    key: str, now: datetime, *, run_id: int | None = None, facts: dict[str, Any] | None = None
) -> Incident | None:
    """The incident of this key that was open and is resolved now, by `run_id`; None if none was open."""
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
    """Report all that is wrong in a scope, and resolve what was open there and is not any more.

    `scope` is a key or what stands before a key's colon: `data_stale` holds `data_stale:songs`, and not
    `data_stale_too`. Returns the reported incidents.
    """
    reported = [open_or_update(condition, now) for condition in conditions]
    wrong = {incident.key for incident in reported}
    stray = [key for key in wrong if key != scope and not key.startswith(f"{scope}:")]
    if stray:
        raise ValueError(f"{stray} do not belong to {scope}")
    left = Incident.objects.filter(Q(key=scope) | Q(key__startswith=f"{scope}:"), resolved_at=None)
    for key in left.exclude(key__in=wrong).values_list("key", flat=True):
        resolve(key, now, run_id=run_id)
    return reported


def acknowledge(incident: Incident, by: str, now: datetime) -> bool:
    """Whether `by` is the first to know of an open incident: it is not reminded of any more."""
    fresh = Incident.objects.filter(pk=incident.pk, resolved_at=None, acknowledged_at=None)
    return bool(fresh.update(acknowledged_at=now, acknowledged_by=by))


def mute(incident: Incident, until: datetime, now: datetime) -> bool:
    """Whether an open incident keeps silent until then; so do those of its key that open meanwhile."""
    if until <= now:
        raise ValueError(f"{until} is over")
    return bool(Incident.objects.filter(pk=incident.pk, resolved_at=None).update(muted_until=until))


def open_incidents() -> QuerySet[Incident]:
    """What is wrong now: critical first, then the oldest first."""
    # "critical" stands before "warning" in the alphabet.
    return Incident.objects.filter(resolved_at=None).order_by("severity", "opened_at", "pk")


def _find_open(key: str) -> Incident | None:
    return Incident.objects.filter(key=key, resolved_at=None).first()


def _update_open(condition: Condition, now: datetime) -> Incident | None:
    """The open incident, written anew; None if none is open."""
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
    worse = condition.severity == Severity.CRITICAL and incident.severity != Severity.CRITICAL
    if worse:
        changes.update(severity=Severity.CRITICAL, told_at=None, acknowledged_at=None, acknowledged_by="")
    if not Incident.objects.filter(pk=incident.pk, resolved_at=None).update(**changes):
        return None
    if worse:
        logger.error("incident_worse key=%s", condition.key)
    incident.refresh_from_db()
    return incident


def _create(condition: Condition, now: datetime) -> Incident | None:
    """A new incident; None if another process has opened it meanwhile."""
    try:
        with transaction.atomic():
            incident = Incident.objects.create(
                key=condition.key, kind=condition.kind, severity=condition.severity, facts=condition.facts,
                run_id=condition.run_id, link=condition.link, opened_at=now, seen_at=now,
                muted_until=_muted_until(condition.key, now),
            )  # fmt: skip
    except IntegrityError:
        return None
    level = logging.ERROR if condition.severity == Severity.CRITICAL else logging.WARNING
    logger.log(level, "incident_opened key=%s severity=%s", condition.key, condition.severity)
    return incident


def _muted_until(key: str, now: datetime) -> datetime | None:
    """Until when an ended incident of this key was muted; None where that is over."""
    # Somebody who muted a trouble that comes and goes meant all of it.
    muted = Incident.objects.filter(key=key, muted_until__gt=now).order_by("-muted_until").first()
    return muted.muted_until if muted else None
