"""Celery tasks: doors that call one function each."""

import logging
from threading import Thread

from celery import shared_task
from django.conf import settings
from django.db import connection
from django.utils import timezone

from ingestion.jobs.heartbeats import record_heartbeat
from ingestion.models import Heartbeat, IngestionRun
from ingestion.pipeline.run_lifecycle import AlreadyRunning
from ingestion.schedules import run_due_slot
from ingestion.services import delete_expired_rows, ingest_now, run_watchdog

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def ingest_due() -> int | None:
    """Run the slot that is due, if one is."""
    run = run_due_slot(
        lambda slot: ingest_now(trigger=IngestionRun.Trigger.SCHEDULE, slot=slot), timezone.now()
    )
    return run.pk if run else None


@shared_task
def ingest_by_hand() -> str:
    """Run once now, as asked for in the admin."""
    try:
        run = ingest_now(trigger=IngestionRun.Trigger.ADMIN)
    except AlreadyRunning as busy:
        return str(busy)
    return run.summary or run.error


@shared_task(ignore_result=True)
def pulse() -> None:
    """Say that a worker is there and takes tasks."""
    record_heartbeat(Heartbeat.Part.WORKER, timezone.now())


@shared_task(ignore_result=True)
def watch() -> None:
    """Look after the service, unless somebody did a moment ago."""
    now = timezone.now()
    # Here is a worker, also where this comes before the first `pulse`.
    record_heartbeat(Heartbeat.Part.WORKER, now)
    run_watchdog(now)


@shared_task
def forget_old() -> dict[str, int]:
    """Delete what was kept long enough."""
    return delete_expired_rows(timezone.now())


def start_by_hand() -> Thread | None:
    """Start a run without waiting for it: by a worker where there is Redis, else in this process."""
    if settings.REDIS_URL:
        ingest_by_hand.delay()
        return None
    thread = Thread(target=_ingest_in_thread, name="ingest_by_hand")
    thread.start()
    return thread


def _ingest_in_thread() -> None:
    try:
        ingest_by_hand()
    except Exception:
        logger.exception("run_broke trigger=admin")
    finally:
        connection.close()
