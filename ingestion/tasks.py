"""Celery tasks: doors that call one function each."""

from celery import shared_task
from django.utils import timezone

from ingestion.configuration import ingest_now
from ingestion.models import IngestionRun
from ingestion.runs import AlreadyRunning
from ingestion.schedules import run_due


@shared_task(ignore_result=True)
def ingest_due() -> int | None:
    """Run the slot that is due, if one is."""
    run = run_due(lambda slot: ingest_now(trigger=IngestionRun.Trigger.SCHEDULE, slot=slot), timezone.now())
    return run.pk if run else None


@shared_task
def ingest_by_hand() -> str:
    """Run once now, as asked for in the admin."""
    try:
        run = ingest_now(trigger=IngestionRun.Trigger.ADMIN)
    except AlreadyRunning as busy:
        return str(busy)
    return run.summary or run.error
