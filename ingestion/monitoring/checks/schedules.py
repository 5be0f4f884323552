"""Watchdog check of Beat's entries: will each one ever be due?"""

from datetime import datetime
from typing import Any, Final

from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from ingestion.due_times import find_problem
from ingestion.schedules import CATCH_UP_ENTRY, DAILY_ENTRY

NEVER_DUE: Final = "schedule_never_due"


def schedules_come_due(now: datetime) -> None:
    """Report each enabled entry that will never run; critical for the ingestion, also if missing.

    Nothing is reported before a scheduler has created the entries.
    """
    entries = PeriodicTask.objects.select_related("crontab", "interval", "solar", "clocked")
    conditions = [
        _condition(entry.name, problem, entry.pk)
        for entry in entries.filter(enabled=True)
        if (problem := find_problem(entry, now, must_repeat=entry.name == DAILY_ENTRY))
    ]
    names = set(PeriodicTask.objects.values_list("name", flat=True))
    if CATCH_UP_ENTRY in names and DAILY_ENTRY not in names:
        conditions.append(_condition(DAILY_ENTRY, "entry_missing", None))
    incidents.sync_scope(NEVER_DUE, conditions, now)


def _condition(name: str, problem: str, entry_id: Any) -> Condition:
    severity = Severity.CRITICAL if name == DAILY_ENTRY else Severity.WARNING
    link = (
        "" if entry_id is None else reverse("admin:django_celery_beat_periodictask_change", args=[entry_id])
    )
    facts = {"entry": name, "reason": problem}
    return Condition(f"{NEVER_DUE}:{entry_id or 'missing'}", NEVER_DUE, severity, facts, link=link)
