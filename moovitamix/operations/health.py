"""Liveness and readiness endpoints for load balancers and containers."""

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from moovitamix.operations.service_state import OK, assess_service


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
    """Respond with 503 if requests can't be served, and with status `degraded` if anything is wrong."""
    state = assess_service(timezone.now())
    body = {"status": state.status, "checks": state.checks}
    return JsonResponse(body, status=503 if state.unavailable else 200)


HEALTH_VIEWS: Final = {"/health/live/": liveness, "/health/ready/": readiness}
