"""Metrics of the service's parts: incidents, messages, signs of life, the queue."""

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
from ingestion.monitoring.checks.services import queue_length

logger = logging.getLogger(__name__)


def incident_metrics(now: datetime) -> Iterator[Metric]:
    """What is wrong now; both severities are always there, so that a rule can say that nothing is."""
    groups = open_incidents().order_by().values("severity", "kind").annotate(n=Count("pk"))
    by_kind = Gauge("moovitamix_incidents_open", "What is wrong now.", labels=["severity", "kind"])
    sums = dict.fromkeys(Incident.Severity.values, 0)
    for group in groups:
        by_kind.add_metric([group["severity"], group["kind"]], group["n"])
        sums[group["severity"]] += group["n"]
    of_severity = Gauge(
        "moovitamix_incidents_open_by_severity", "What is wrong now, in numbers.", labels=["severity"]
    )
    for severity, n in sums.items():
        of_severity.add_metric([severity], n)
    yield from (by_kind, of_severity)


def notification_metrics(now: datetime) -> Iterator[Metric]:
    groups = Notification.objects.order_by().values("channel", "state").annotate(n=Count("pk"))
    kept = Gauge("moovitamix_messages", "Messages that are kept, by state.", labels=["channel", "state"])
    for group in groups:
        kept.add_metric([group["channel"], group["state"]], group["n"])
    yield kept


def heartbeat_metrics(now: datetime) -> Iterator[Metric]:
    """Signs of life; a part that was never started has none."""
    alive = Gauge(
        "moovitamix_part_seen_timestamp_seconds", "When this part last gave a sign of life.", labels=["part"]
    )
    for part, pulse in sorted(latest_heartbeats().items()):
        alive.add_metric([part], pulse.at.timestamp())
    yield alive


def queue_metrics(now: datetime) -> Iterator[Metric]:
    """How many tasks wait; without the broker nobody knows, and the other metrics are there all the same."""
    length: int | None
    try:
        length = queue_length()
    except Exception as error:
        # Brokers' libraries raise whatever their connection raised.
        logger.warning("queue_not_counted reason=%s", type(error).__name__)
        length = None
    yield Gauge("moovitamix_broker_up", "1 if the broker answered.", 0 if length is None else 1)
    if length is not None:
        yield Gauge("moovitamix_queue_length", "Tasks that wait for a worker.", length)
    yield Gauge("moovitamix_queue_length_limit", "MAX_QUEUE_LENGTH.", settings.MAX_QUEUE_LENGTH)


METRIC_READERS: Final = (incident_metrics, notification_metrics, heartbeat_metrics, queue_metrics)
