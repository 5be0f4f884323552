"""The `/metrics` endpoint for Prometheus; each scrape reads the values from the database.

So all processes return the same values, which survive restarts. No label contains a listener, a song or
text from outside.
"""

import logging
import math
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
from rest_framework.exceptions import AuthenticationFailed, Throttled

from moovitamix.metrics import ingestion, recommender, services
from recommender.api.authentication import KeyAuthentication
from recommender.models.api_keys import Scope

logger = logging.getLogger(__name__)

MetricReader = Callable[[datetime], Iterable[Metric]]
METRIC_READERS: Final[tuple[MetricReader, ...]] = (
    *ingestion.METRIC_READERS,
    *services.METRIC_READERS,
    *recommender.METRIC_READERS,
)
HOW_TO_AUTHENTICATE: Final = (
    "Send an API key as `Authorization: Bearer KEY` (python manage.py apikey prometheus --user USER "
    "--scopes metrics) "
    "or log in to the admin."
)

NO_SCOPE: Final = (
    "This key lacks the scope metrics: python manage.py apikey prometheus --user USER --scopes metrics"
)


class DatabaseCollector(Collector):
    def __init__(self, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        for read_metrics in METRIC_READERS:
            yield from read_metrics(self._now)


@require_safe
def metrics_view(request: HttpRequest) -> HttpResponse:
    """All metrics as Prometheus text or OpenMetrics, depending on the Accept header."""
    try:
        refusal = _refusal(request)
    except Throttled as throttled:
        seconds = str(math.ceil(throttled.wait or 1))
        return _text_response(f"{throttled.detail}\n", 429, **{"Retry-After": seconds})
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
        # A partial response would look like a service without runs.
        logger.exception("metrics_not_read")
        return _text_response("The database does not answer.\n", 503)
    return HttpResponse(body, content_type=content_type, headers={"Cache-Control": "no-store"})


def _refusal(request: HttpRequest) -> str:
    """Why the request must not read the metrics; empty if it may.

    The IP address does not decide: behind a proxy on this machine, every request comes from 127.0.0.1.
    """
    try:
        found = KeyAuthentication().authenticate(request)
        if found is not None:
            return "" if Scope.METRICS in found[1].scopes else NO_SCOPE
    except AuthenticationFailed as failed:
        return str(failed.detail)
    except Error:
        logger.exception("metrics_not_read")
        return "The database does not answer."
    may_read = request.user.is_active and request.user.has_perm("ingestion.view_ingestionrun")
    return "" if may_read else HOW_TO_AUTHENTICATE


def _text_response(text: str, status: int, **headers: str) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8", headers=headers)
