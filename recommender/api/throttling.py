"""Rate limits: a sliding window of requests for each key or staff user."""

import re
import time
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from ingestion.api.sliding_window import Rate, increment_counter, seconds_until_allowed

PERIODS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
# A person who mistypes a key needs a few attempts; an app with an old key learns the reason from the first.
MAX_FAILURES: Final = 20
FAILURE_PERIOD: Final = 60  # seconds
TOO_MANY_FAILURES: Final = "Too many requests with an invalid key came from this address."


class KeyThrottle(BaseThrottle):
    # REST framework's throttle keeps a list of times: at 600 requests a minute it reads and writes 5 KB with
    # each request.

    scope = "api"
    clock = staticmethod(time.time)

    def __init__(self) -> None:
        self._wait = 0.0

    def rate(self) -> Rate:
        return parse_rate(settings.API_RATE)

    def allow_request(self, request: Request, view: Any) -> bool:
        if not request.user.is_authenticated:
            return True
        who = request.auth.throttle_name if request.auth else f"user{request.user.pk}"
        self._wait = seconds_until_allowed(f"{self.scope}:{who}", self.rate(), self.clock())
        return not self._wait

    def wait(self) -> float:
        return self._wait


class FeedbackThrottle(KeyThrottle):
    scope = "feedback"

    def rate(self) -> Rate:
        return parse_rate(settings.API_FEEDBACK_RATE)


class FailedAuthentications:
    """Counts invalid keys by address and minute, so that few of them reach the database."""

    clock = staticmethod(time.time)

    def __init__(self, request: Request) -> None:
        self._left = FAILURE_PERIOD - self.clock() % FAILURE_PERIOD
        window = int(self.clock() // FAILURE_PERIOD)
        self._name = f"failed:{client_address(request)}:{window}"

    def require_few(self) -> None:
        """Raise `Throttled` after too many invalid keys from this address."""
        if cache.get(self._name, 0) >= MAX_FAILURES:
            raise Throttled(wait=self._left, detail=TOO_MANY_FAILURES)

    def count(self) -> None:
        increment_counter(self._name, 2 * FAILURE_PERIOD)


def client_address(request: Any) -> str:
    """The address behind PROXY_COUNT proxies; a /64 network, which one IPv6 client has, counts as one."""
    text = str(BaseThrottle().get_ident(request) or "unknown")
    try:
        address = ip_address(text)
    except ValueError:
        return text
    return text if address.version == 4 else str(ip_network((address, 64), strict=False))


@lru_cache(maxsize=16)
def parse_rate(text: str, name: str = "API_RATE") -> Rate:
    """Parse "600/min"; the period is second, minute, hour, day or an abbreviation.

    Raises:
        ImproperlyConfigured: names the setting `name`.
    """
    match = re.fullmatch(r"(\d{1,9})/([a-z]+)", text.strip().lower())
    seconds = match and next(
        (seconds for name, seconds in PERIODS.items() if name.startswith(match[2])), None
    )
    if not match or not seconds or int(match[1]) < 1:
        raise ImproperlyConfigured(
            f"{name}={text!r} can't be read: expected a number from 1, / and second, minute, hour or day, "
            f"such as {name}=600/min."
        )
    return Rate(int(match[1]), seconds)
