"""Is this process alive, and can it serve: what a load balancer, a container and a person ask."""

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
# Who asks waits a few seconds at most, and a server in the same network answers within milliseconds.
BROKER_TIMEOUT: Final = 2.0


def health_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Middleware: health is told under any name or address, for it tells nothing that depends on it."""

    def answer(request: HttpRequest) -> HttpResponse:
        ask = HEALTH_VIEWS.get(request.path)
        return get_response(request) if ask is None else ask(request)

    return answer


def liveness(request: HttpRequest) -> JsonResponse:
    """The process answers; asks nothing else."""
    return JsonResponse({"status": OK})


def readiness(request: HttpRequest) -> JsonResponse:
    """Whether requests can be served: 503 where not, and `degraded` where they are served less well."""
    needed = {"database": _check_database()}
    if needed["database"] == OK:
        needed["migrations"] = _run_check(_check_migrations)
    broker = _run_check(_check_broker)
    # With Redis both are one server, and Django would wait for it without end.
    needed["cache"] = NO_ANSWER if settings.REDIS_URL and broker != OK else _run_check(_check_cache)
    if set(needed.values()) != {OK}:
        return JsonResponse({"status": "unavailable", "checks": needed | {"broker": broker}}, status=503)
    wanted = {
        "broker": broker,
        "artifact": _run_check(_check_artifact),
        "data_age": _run_check(_check_data_age),
    }
    status = OK if set(wanted.values()) == {OK} else "degraded"
    return JsonResponse({"status": status, "checks": needed | wanted})


HEALTH_VIEWS: Final = {"/health/live/": liveness, "/health/ready/": readiness}


def _run_check(check: Callable[[], str]) -> str:
    """What a check says; one that breaks is written down, and tells no stranger why."""
    try:
        return check()
    except Exception:
        # Whatever a driver of a cache, a broker or a file system raises: the answer is that it fails.
        logger.exception("health_check_broke check=%s", check.__name__.lstrip("_"))
        return NO_ANSWER


def _check_database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        logger.exception("health_database_down")
        return NO_ANSWER
    return OK


def _check_migrations() -> str:
    missing = _count_missing_migrations()
    if not missing:
        return OK
    # Not kept: the next question may come after `migrate`.
    _count_missing_migrations.cache_clear()
    return f"{missing} are missing: python manage.py migrate"


@lru_cache(maxsize=1)
def _count_missing_migrations() -> int:
    # Reads a hundred files. A process that has seen every table keeps that: its code does not change.
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _check_cache() -> str:
    cache.set("health", OK, 60)
    return OK if cache.get("health") else "keeps nothing"


def _check_broker() -> str:
    if not settings.REDIS_URL:
        folder = Path(settings.BROKER_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return OK
    patience = {"socket_timeout": BROKER_TIMEOUT, "socket_connect_timeout": BROKER_TIMEOUT}
    with redis.Redis.from_url(settings.REDIS_URL, **patience) as client:
        client.ping()
    return OK


def _check_artifact() -> str:
    # What exactly is wrong stands in the log and in `status/`: anyone may ask here.
    return OK if current_model().degraded is None else "another model, or none, serves instead"


def _check_data_age() -> str:
    """What no run ever brought in has no age: then it is the model that is missing."""
    now, limit = timezone.now(), timedelta(hours=settings.MAX_DATA_AGE_HOURS)
    old = sorted(name for name, at in last_import_times().items() if now - at > limit)
    return f"older than {settings.MAX_DATA_AGE_HOURS:g} hours: {', '.join(old)}" if old else OK
