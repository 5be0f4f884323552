"""Forget what was kept long enough; what is still open is never forgotten."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Exists, OuterRef, Q, QuerySet
from django_celery_results.models import TaskResult

from ingestion.models import Incident, IngestionRun, Notification, Rejection, TaskUsage

logger = logging.getLogger(__name__)

# Short transactions: while SQLite deletes, nobody else can write.
BATCH: Final = 500
FINAL_STATES: Final = (Notification.State.SENT, Notification.State.FAILED)
OPEN_REJECTION: Final = Rejection.objects.filter(resolved_at=None)


def delete_expired(now: datetime, *, runs: timedelta, settled: timedelta) -> dict[str, int]:
    """Delete what is older, in batches; how many rows of each kind.

    Args:
        runs: how long runs are kept, with their reports and checks, and what tasks cost.
        settled: how long refused rows, incidents, messages and task results are kept once they are over.
    """
    gone = {
        "rejections": _delete(Rejection.objects.filter(resolved_at__lt=now - settled)),
        "notifications": _delete(_finished_notifications(now - settled)),
        "incidents": _delete(_resolved_incidents(now - settled)),
        "task_results": _delete(TaskResult.objects.filter(date_done__lt=now - settled)),
        "task_uses": _delete(TaskUsage.objects.filter(started_at__lt=now - runs)),
        "runs": _delete(_old_runs(now - runs)),
    }
    logger.info("forgotten %s", " ".join(f"{name}={count}" for name, count in gone.items()))
    return gone


def _finished_notifications(before: datetime) -> QuerySet[Notification]:
    """Messages that are over, but those of an incident's beginning and end: they go with it."""
    stays = Q(incident__isnull=False, event__in=(Notification.Event.OPENED, Notification.Event.RESOLVED))
    return Notification.objects.filter(state__in=FINAL_STATES, created_at__lt=before).exclude(stays)


def _resolved_incidents(before: datetime) -> QuerySet[Incident]:
    unsent = Notification.objects.filter(incident=OuterRef("pk")).exclude(state__in=FINAL_STATES)
    return Incident.objects.filter(~Exists(unsent), resolved_at__lt=before)


def _old_runs(before: datetime) -> QuerySet[IngestionRun]:
    """All but the newest success, which ages are told from, and those that something open belongs to."""
    ended = IngestionRun.objects.exclude(status=IngestionRun.Status.RUNNING)
    newest = IngestionRun.objects.succeeded().order_by("-pk")
    return ended.filter(
        ~Exists(OPEN_REJECTION.filter(run=OuterRef("pk"))),
        ~Exists(OPEN_REJECTION.filter(last_run=OuterRef("pk"))),
        ~Exists(Incident.objects.filter(run=OuterRef("pk"), resolved_at=None)),
        started_at__lt=before,
    ).exclude(pk__in=list(newest.values_list("pk", flat=True)[:1]))


def _delete(rows: QuerySet[Any]) -> int:
    """How many of these rows were deleted; what belongs to them goes too and is not counted."""
    return sum(
        rows.model._default_manager.filter(pk__in=keys).delete()[1].get(rows.model._meta.label, 0)
        for keys in _batches(rows)
    )


def _batches(rows: QuerySet[Any]) -> Iterable[list[int]]:
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        yield keys
