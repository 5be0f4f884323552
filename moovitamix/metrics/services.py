"""Prometheus metrics of services: incidents, notifications, heartbeats and the task queue."""

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db.models import Count
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.metrics_core import Metric

from ingestion.alerts.incidents import open_incidents
from ingestion.jobs.heartbeats import latest_heartbeats
from ingestion.models import Incident, Notification
from ingestion.monitoring.checks.infrastructure import queue_length

logger = logging.getLogger(__name__)


def incident_metrics(now: datetime) -> Iterator[Metric]:
    """Open incidents; each severity always has a value, so that a rule can test for zero."""
    groups = open_incidents().order_by().values("severity", "kind").annotate(n=Count("pk"))
    by_kind = Gauge("moovitamix_incidents_open", "Open incidents by kind.", labels=["severity", "kind"])
    sums = dict.fromkeys(Incident.Severity.values, 0)
    for group in groups:
        by_kind.add_metric([group["severity"], group["kind"]], group["n"])
        sums[group["severity"]] += group["n"]
    by_severity = Gauge(
        "moovitamix_incidents_open_by_severity", "Open incidents by severity.", labels=["severity"]
    )
    for severity, n in sums.items():
        by_severity.add_metric([severity], n)
    yield from (by_kind, by_severity)


def notification_metrics(now: datetime) -> Iterator[Metric]:
    groups = Notification.objects.order_by().values("channel", "state").annotate(n=Count("pk"))
    stored = Gauge(
        "moovitamix_messages", "Stored notifications by channel and state.", labels=["channel", "state"]
    )
    for group in groups:
        stored.add_metric([group["channel"], group["state"]], group["n"])
    yield stored


def heartbeat_metrics(now: datetime) -> Iterator[Metric]:
    """Time of each component's last heartbeat; a component that was never started has no value."""
    heartbeats = Gauge(
        "moovitamix_part_seen_timestamp_seconds", "Last heartbeat of this part.", labels=["part"]
    )
    for part, heartbeat in sorted(latest_heartbeats().items()):
        heartbeats.add_metric([part], heartbeat.at.timestamp())
    yield heartbeats


def queue_metrics(now: datetime) -> Iterator[Metric]:
    """Length of the task queue; omitted if the broker is unavailable, so that the scrape succeeds."""
    length: int | None
    try:
        length = queue_length()
    except Exception as error:
        # Broker libraries raise many types.
        logger.warning("queue_not_counted reason=%s", type(error).__name__)
        length = None
    yield Gauge("moovitamix_broker_up", "1 if the broker answered.", 0 if length is None else 1)
    if length is not None:
        yield Gauge("moovitamix_queue_length", "Tasks waiting for a worker.", length)
    yield Gauge("moovitamix_queue_length_limit", "The setting MAX_QUEUE_LENGTH.", settings.MAX_QUEUE_LENGTH)


METRIC_READERS: Final = (incident_metrics, notification_metrics, heartbeat_metrics, queue_metrics)
