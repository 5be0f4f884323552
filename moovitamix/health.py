"""Liveness and readiness endpoints for load balancers and containers."""

import logging
import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

import redis
from django.conf import settings
from django.core.cache import cache
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from ingestion.monitoring.checks.freshness import last_import_times
from recommender.services import current_model

logger = logging.getLogger(__name__)

OK: Final = "ok"
NO_ANSWER: Final = "does not answer"
# Load balancers wait a few seconds at most; a broker in the same network answers within milliseconds.
BROKER_TIMEOUT: Final = 2.0


def health_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer health requests before Django checks the Host header, because probes use IP addresses."""

    def respond(request: HttpRequest) -> HttpResponse:
        view = HEALTH_VIEWS.get(request.path)
        return get_response(request) if view is None else view(request)

    return respond


def liveness(request: HttpRequest) -> JsonResponse:
    """Respond with 200 while the process runs, without any check."""
    return JsonResponse({"status": OK})


def readiness(request: HttpRequest) -> JsonResponse:
    """Respond with 503 if requests can't be served, and with status `degraded` if only some can."""
    required = {"database": _check_database()}
    if required["database"] == OK:
        required["migrations"] = _run_check(_check_migrations)
    broker = _run_check(_check_broker)
    # With Redis both are the same server, and Django's cache would wait for it without a timeout.
    required["cache"] = NO_ANSWER if settings.REDIS_URL and broker != OK else _run_check(_check_cache)
    if set(required.values()) != {OK}:
        return JsonResponse({"status": "unavailable", "checks": required | {"broker": broker}}, status=503)
    optional = {
        "broker": broker,
        "artifact": _run_check(_check_artifact),
        "data_age": _run_check(_check_data_age),
    }
    status = OK if set(optional.values()) == {OK} else "degraded"
    return JsonResponse({"status": status, "checks": required | optional})


HEALTH_VIEWS: Final = {"/health/live/": liveness, "/health/ready/": readiness}


def _run_check(check: Callable[[], str]) -> str:
    """The check's result; an error goes to the log and not into the public response."""
    try:
        return check()
    except Exception:
        # The drivers of caches, brokers and file systems raise many types.
        logger.exception("health_check_raised check=%s", check.__name__.lstrip("_"))
        return NO_ANSWER


def _check_database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        logger.exception("health_database_unavailable")
        return NO_ANSWER
    return OK


def _check_migrations() -> str:
    missing = _count_missing_migrations()
    if not missing:
        return OK
    # Not cached, because the next request may come after `migrate`.
    _count_missing_migrations.cache_clear()
    return f"{missing} are missing: python manage.py migrate"


@lru_cache(maxsize=1)
def _count_missing_migrations() -> int:
    # Reads a hundred files; a complete result is cached, because the code of a process does not change.
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _check_cache() -> str:
    cache.set("health", OK, 60)
    return OK if cache.get("health") else "does not store values"


def _check_broker() -> str:
    if not settings.REDIS_URL:
        folder = Path(settings.BROKER_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return OK
    timeouts = {"socket_timeout": BROKER_TIMEOUT, "socket_connect_timeout": BROKER_TIMEOUT}
    with redis.Redis.from_url(settings.REDIS_URL, **timeouts) as client:
        client.ping()
    return OK


def _check_artifact() -> str:
    # Without details, because the response is public; the log and `status/` have them.
    return OK if current_model().degraded is None else "another model, or none, serves instead"


def _check_data_age() -> str:
    now, limit = timezone.now(), timedelta(hours=settings.MAX_DATA_AGE_HOURS)
    old = sorted(name for name, at in last_import_times().items() if now - at > limit)
    return f"older than {settings.MAX_DATA_AGE_HOURS:g} hours: {', '.join(old)}" if old else OK
