"""Liveness and readiness endpoints for load balancers and containers."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from moovitamix.operations.service_state import OK, assess_service

# Anybody may embed the badge, so at most one request of a process in this time checks the service.
BADGE_SECONDS: Final = 60
BADGE_COLOURS: Final = {OK: "#2e7d32", "degraded": "#b45309", "unavailable": "#b91c1c"}
BADGE: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" width="166" height="20" role="img" aria-label="MoovitaMix: {status}">
<title>MoovitaMix: {status}</title>
<rect width="80" height="20" fill="#444"/><rect x="80" width="86" height="20" fill="{colour}"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="40" y="14">MoovitaMix</text><text x="123" y="14">{status}</text></g></svg>
"""


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


@dataclass
class _CachedStatus:
    text: str = OK
    valid_until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


_STATUS: Final = _CachedStatus()


def badge(request: HttpRequest) -> HttpResponse:
    """The status in one word as an SVG image, for wikis and READMEs; at most a minute old."""
    with _STATUS.lock:
        began = time.monotonic()
        if began >= _STATUS.valid_until:
            _STATUS.text = assess_service(timezone.now()).status
            _STATUS.valid_until = began + BADGE_SECONDS
        text, valid_until = _STATUS.text, _STATUS.valid_until
    image = BADGE.format(status=text, colour=BADGE_COLOURS[text])
    # Caches may add the rest of its minute, not another one.
    headers = {"Cache-Control": f"public, max-age={max(0, int(valid_until - time.monotonic()))}"}
    return HttpResponse(image, content_type="image/svg+xml", headers=headers)


HEALTH_VIEWS: Final[dict[str, Callable[[HttpRequest], HttpResponse]]] = {
    "/health/live/": liveness, "/health/ready/": readiness, "/health/badge.svg": badge,
}  # fmt: skip
