"""Celery tasks; each calls one function of the domain.

Beat's tables and waiting messages store a task's `name`, so it stays when the function is renamed.
"""

import logging
from threading import Thread
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings
from django.db import connection
from django.utils import timezone

from ingestion.jobs.database_patience import lift_statement_limits
from ingestion.jobs.heartbeats import record_heartbeat
from ingestion.jobs.stop_signals import begin_shutdown, is_shutting_down
from ingestion.models import Heartbeat, IngestionRun
from ingestion.pipeline.run_lifecycle import AlreadyRunning
from ingestion.schedules import run_due_slot
from ingestion.services import delete_expired_rows, ingest_now, run_watchdog

logger = logging.getLogger(__name__)


@shared_task(name="ingestion.tasks.ingest_due", ignore_result=True)
def ingest_due() -> int | None:
    if is_shutting_down():
        return None
    run = run_due_slot(
        lambda slot: ingest_now(trigger=IngestionRun.Trigger.SCHEDULE, slot=slot), timezone.now()
    )
    return run.pk if run else None


@shared_task(name="ingestion.tasks.ingest_by_hand")
def ingest_on_request() -> str:
    try:
        run = ingest_now(trigger=IngestionRun.Trigger.ADMIN)
    except AlreadyRunning as busy:
        return str(busy)
    return run.summary or run.error


@shared_task(name="ingestion.tasks.pulse", ignore_result=True)
def record_worker_heartbeat() -> None:
    record_heartbeat(Heartbeat.Part.WORKER, timezone.now())


@shared_task(name="ingestion.tasks.watch", ignore_result=True)
def check_health() -> None:
    now = timezone.now()
    # This task may run before the first heartbeat task, and shows as well that a worker is alive.
    record_heartbeat(Heartbeat.Part.WORKER, now)
    run_watchdog(now)


@shared_task(name="ingestion.tasks.forget_old")
def delete_expired() -> dict[str, int]:
    return delete_expired_rows(timezone.now())


def start_ingestion() -> Thread | None:
    """Start an ingestion, in a worker if Redis is configured, else in a thread."""
    if settings.REDIS_URL:
        ingest_on_request.delay()
        return None
    thread = Thread(target=_ingest_in_thread, name="ingest_by_hand")
    thread.start()
    return thread


def _ingest_in_thread() -> None:
    try:
        lift_statement_limits()
        ingest_on_request()
    except Exception:
        logger.exception("run_raised trigger=admin")
    finally:
        connection.close()


@worker_shutting_down.connect
def stop_ingestion(**_: Any) -> None:
    """Stop the ingestion when its worker shuts down; it is recorded as stopped.

    Celery would wait until it ends, and the service manager would kill both.
    """
    begin_shutdown()
