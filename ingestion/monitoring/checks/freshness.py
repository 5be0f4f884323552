"""Watchdog check: how long ago each table was imported."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Max
from django.db.models.functions import Greatest, TruncDate

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.models import IngestionRun, ListeningHistory, ResourceReport
from ingestion.schedules import is_daily_entry_disabled, next_due
from ingestion.source.schemas import Resource

STALE: Final = "data_stale"
CRITICAL_FACTOR: Final = 3  # times the limit
# Without a schedule, runs on this many days of a week count as regular, so that a missing run is noticed.
REGULAR_DAYS_A_WEEK: Final = 3
WEEK: Final = timedelta(days=7)


def data_fresh(now: datetime) -> None:
    """Report each table not imported for MAX_DATA_AGE_HOURS; critical after three times as long.

    Sessions are also stale if the newest is three times the limit old, unless the source never sent new ones.
    Nothing is stale if runs are neither scheduled nor regular.
    """
    limit = timedelta(hours=settings.MAX_DATA_AGE_HOURS)
    imported = last_import_times() if _is_regular(now) else {}
    stale = [
        condition
        for resource, at in imported.items()
        if (condition := _stale(resource, at, now, limit)) is not None
    ]
    incidents.sync_scope(STALE, stale, now, run_id=_last_run())


def last_import_times() -> dict[str, datetime]:
    reports = ResourceReport.objects.filter(run__in=IngestionRun.objects.applied())
    return dict(reports.order_by().values_list("resource").annotate(at=Max("run__finished_at")))


def _is_regular(now: datetime) -> bool:
    if next_due(now) is not None:
        return True
    runs = IngestionRun.objects.applied()
    last = runs.first()
    if last is None:
        return False
    week = runs.filter(started_at__gt=last.started_at - WEEK)
    return week.order_by().values(day=TruncDate("started_at")).distinct().count() >= REGULAR_DAYS_A_WEEK


def _stale(resource: str, imported_at: datetime, now: datetime, limit: timedelta) -> Condition | None:
    if now - imported_at > limit:
        severity = Severity.CRITICAL if now - imported_at > CRITICAL_FACTOR * limit else Severity.WARNING
        return _condition(resource, severity, now - imported_at, limit, imported_at)
    if resource != Resource.LISTENING_HISTORY or _received_new_since(now - CRITICAL_FACTOR * limit):
        return None
    newest = _newest_listening(now)
    if newest is None or now - newest <= CRITICAL_FACTOR * limit:
        return None
    return _condition(resource, Severity.WARNING, now - newest, CRITICAL_FACTOR * limit, imported_at, newest)


def _condition(
    resource: str,
    severity: str,
    age: timedelta,
    limit: timedelta,
    imported_at: datetime,
    newest: datetime | None = None,
) -> Condition:
    hour = timedelta(hours=1)
    facts: dict[str, Any] = {
        "age_hours": age / hour, "limit_hours": limit / hour, "brought_in_at": imported_at.isoformat(),
    }  # fmt: skip
    if is_daily_entry_disabled():
        facts["reason"] = "switched_off"
    if newest is not None:
        facts["newest_at"] = newest.isoformat()
    return Condition(f"{STALE}:{resource}", STALE, severity, facts)


def _received_new_since(moment: datetime) -> bool:
    """Whether new sessions arrived since then; also True if only the first run ever brought any."""
    runs = ResourceReport.objects.filter(
        resource=Resource.LISTENING_HISTORY, new__gt=0, run__in=IngestionRun.objects.applied()
    ).order_by("-run_id")
    ends = [at for at in runs.values_list("run__finished_at", flat=True)[:2] if at is not None]
    return len(ends) < 2 or ends[0] > moment


def _newest_listening(now: datetime) -> datetime | None:
    # Scans the whole table (0.1 s per million rows), so run only if nothing new arrived for days.
    sessions = ListeningHistory.objects.annotate(newest=Greatest("created_at", "updated_at"))
    newest: datetime | None = sessions.filter(newest__lte=now).aggregate(at=Max("newest"))["at"]
    return newest


def _last_run() -> int | None:
    last = IngestionRun.objects.applied().first()
    return last.pk if last else None
