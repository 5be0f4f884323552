"""The project's Celery task, the daily backup, and the watchdog's check of it."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition, Severity
from moovitamix.operations.backup import (
    damaged_in_newest_backup,
    delete_old_backups,
    make_backup,
    newest_backup,
)

BACKUP_OLD: Final = "backup_old"
BACKUP_INCOMPLETE: Final = "backup_incomplete"


@shared_task(name="moovitamix.tasks.back_up")
def back_up() -> str:
    if settings.BACKUP_DIR is None:
        return "BACKUP_DIR is not set."
    made = make_backup(settings.BACKUP_DIR, Path(settings.MODEL_STORAGE), timezone.now())
    delete_old_backups(settings.BACKUP_DIR, settings.KEEP_BACKUPS)
    return f"{made.rows} rows and {made.files} files are in {made.folder}."


def backup_fresh(now: datetime) -> None:
    """Report that the newest backup is too old or lacks models, or that there is none.

    Without BACKUP_DIR nothing is reported.
    """
    if settings.BACKUP_DIR is None:
        incidents.resolve_here(BACKUP_OLD, now)
        incidents.resolve_here(BACKUP_INCOMPLETE, now)
        return
    _report_damaged(damaged_in_newest_backup(settings.BACKUP_DIR), now)
    limit = timedelta(hours=settings.MAX_BACKUP_AGE_HOURS)
    newest = newest_backup(settings.BACKUP_DIR)
    if newest is not None and now - newest <= limit:
        incidents.resolve_here(BACKUP_OLD, now)
        return
    facts = {"limit_hours": settings.MAX_BACKUP_AGE_HOURS, "path": str(settings.BACKUP_DIR)}
    if newest is not None:
        facts |= {"made_at": newest.isoformat(), "age_hours": (now - newest).total_seconds() / 3_600}
    incidents.open_or_update_here(Condition(BACKUP_OLD, BACKUP_OLD, Severity.WARNING, facts), now)


def _report_damaged(damaged: dict[str, str], now: datetime) -> None:
    if not damaged:
        incidents.resolve_here(BACKUP_INCOMPLETE, now)
        return
    facts = {"version": sorted(damaged), "reason": damaged[min(damaged)]}
    incidents.open_or_update_here(
        Condition(BACKUP_INCOMPLETE, BACKUP_INCOMPLETE, Severity.WARNING, facts), now
    )
