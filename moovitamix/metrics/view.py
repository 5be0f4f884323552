"""`/metrics` for Prometheus: read from the tables at each scrape, and so right with any number of workers.

Nothing is counted in the processes: what one of them counted the others would not know, and a restart would
forget. No metric names a listener, a song or a text that comes from outside.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from rest_framework.exceptions import AuthenticationFailed

from moovitamix.metrics import ingestion, recommender, services
from recommender.api.authentication import KeyAuthentication

logger = logging.getLogger(__name__)

MetricReader = Callable[[datetime], Iterable[Metric]]
METRIC_READERS: Final[tuple[MetricReader, ...]] = (
    *ingestion.METRIC_READERS,
    *services.METRIC_READERS,
    *recommender.METRIC_READERS,
)
HOW_TO_AUTHENTICATE: Final = (
    "Send a key, as `Authorization: Bearer KEY` (python manage.py apikey prometheus --user USER), "
    "or log in to the admin."
)


class DatabaseCollector(Collector):
    """Reads the metrics of one moment."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        for family in METRIC_READERS:
            yield from family(self._now)


@require_safe
def metrics_view(request: HttpRequest) -> HttpResponse:
    """Everything, in Prometheus' text or as OpenMetrics, as was asked for."""
    refusal = _refusal(request)
    if refusal:
        return _text_response(
            f"{refusal}\n", 401, **{"WWW-Authenticate": 'Bearer realm="MoovitaMix metrics"'}
        )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(DatabaseCollector(timezone.now()))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    try:
        body = encode(registry)
    except Error:
        # Half the metrics would look like a service that has no runs.
        logger.exception("metrics_not_read")
        return _text_response("The database does not answer.\n", 503)
    return HttpResponse(body, content_type=content_type, headers={"Cache-Control": "no-store"})


def _refusal(request: HttpRequest) -> str:
    """Why this caller learns nothing; empty where they may.

    Not by address: behind a proxy on the same machine the whole world comes from 127.0.0.1.
    """
    try:
        if KeyAuthentication().authenticate(request) is not None:
            return ""
    except AuthenticationFailed as failed:
        return str(failed.detail)
    except Error:
        logger.exception("metrics_not_read")
        return "The database does not answer."
    return "" if request.user.is_active and request.user.is_staff else HOW_TO_AUTHENTICATE


def _text_response(text: str, status: int, **headers: str) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8", headers=headers)
