"""Deletes old rows, but never open incidents, open rejections or their runs."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Exists, OuterRef, Q, QuerySet
from django_celery_results.models import TaskResult

from ingestion.models import (
    AuditEntry,
    Incident,
    IngestionRun,
    MaintenanceWindow,
    Notification,
    Rejection,
    TaskUsage,
    WebhookDelivery,
)
from ingestion.models.webhooks import NEWS

logger = logging.getLogger(__name__)

# Small, because no other process can write to SQLite during a deletion.
BATCH: Final = 500
FINAL_STATES: Final = (Notification.State.SENT, Notification.State.FAILED)
# An event that is still news and has no delivery is sent, so deliveries must stay longer than that.
DELIVERIES_KEPT: Final = NEWS + timedelta(days=1)
# Freezes refreshes until a full retrain or a person, however long ago it was resolved.
KEPT_KINDS: Final = ("yardstick_fell",)
OPEN_REJECTION: Final = Rejection.objects.filter(resolved_at=None)


def delete_expired(now: datetime, *, runs: timedelta, settled: timedelta) -> dict[str, int]:
    """Delete expired rows in batches; return how many by table.

    Args:
        runs: age limit of runs (with their reports and anomaly checks), task usage, audit entries and
            maintenance windows.
        settled: age limit of resolved rejections and incidents, finished notifications and task results;
            also of webhook deliveries, which are kept for at least three days.
    """
    deleted = {
        "rejections": _delete(Rejection.objects.filter(resolved_at__lt=now - settled)),
        "notifications": _delete(_finished_notifications(now - settled)),
        "incidents": _delete(_resolved_incidents(now - settled)),
        "task_results": _delete(TaskResult.objects.filter(date_done__lt=now - settled)),
        "task_uses": _delete(TaskUsage.objects.filter(started_at__lt=now - runs)),
        "runs": _delete(_old_runs(now - runs)),
        "webhook_deliveries": _delete(_finished_deliveries(now - max(settled, DELIVERIES_KEPT))),
        "maintenance_windows": _delete(MaintenanceWindow.objects.filter(ends_at__lt=now - runs)),
        "audit_entries": _delete(AuditEntry.objects.filter(at__lt=now - runs)),
    }
    logger.info("rows_deleted %s", " ".join(f"{name}={count}" for name, count in deleted.items()))
    return deleted


def _finished_notifications(before: datetime) -> QuerySet[Notification]:
    kept = Q(incident__isnull=False, event__in=(Notification.Event.OPENED, Notification.Event.RESOLVED))
    return Notification.objects.filter(state__in=FINAL_STATES, created_at__lt=before).exclude(kept)


def _finished_deliveries(before: datetime) -> QuerySet[WebhookDelivery]:
    final = (WebhookDelivery.State.SENT, WebhookDelivery.State.FAILED)
    return WebhookDelivery.objects.filter(state__in=final, created_at__lt=before)


def _resolved_incidents(before: datetime) -> QuerySet[Incident]:
    unsent = Notification.objects.filter(incident=OuterRef("pk")).exclude(state__in=FINAL_STATES)
    return Incident.objects.filter(~Exists(unsent), resolved_at__lt=before).exclude(kind__in=KEPT_KINDS)


def _old_runs(before: datetime) -> QuerySet[IngestionRun]:
    ended = IngestionRun.objects.exclude(status=IngestionRun.Status.RUNNING)
    newest = IngestionRun.objects.succeeded().order_by("-pk")
    return ended.filter(
        ~Exists(OPEN_REJECTION.filter(run=OuterRef("pk"))),
        ~Exists(OPEN_REJECTION.filter(last_run=OuterRef("pk"))),
        ~Exists(Incident.objects.filter(run=OuterRef("pk"), resolved_at=None)),
        started_at__lt=before,
    ).exclude(pk__in=list(newest.values_list("pk", flat=True)[:1]))


def _delete(rows: QuerySet[Any]) -> int:
    return sum(
        rows.model._default_manager.filter(pk__in=keys).delete()[1].get(rows.model._meta.label, 0)
        for keys in _batches(rows)
    )


def _batches(rows: QuerySet[Any]) -> Iterable[list[int]]:
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        yield keys
