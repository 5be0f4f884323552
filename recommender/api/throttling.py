"""Rate limits of the API: a sliding window of requests for each key or staff user."""

import re
import time
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

PERIODS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
# A person who mistypes a key needs a few attempts; an app with an old key learns the reason from the first.
MAX_FAILURES: Final = 20
FAILURE_PERIOD: Final = 60  # seconds
TOO_MANY_FAILURES: Final = "Too many requests with an invalid key came from this address."
COUNT_TOLERANCE: Final = 1e-6  # requests


class Rate(NamedTuple):
    requests: int
    seconds: int


class KeyThrottle(BaseThrottle):
    # The count of the last period is weighted by the part of that period that is still in the window. So
    # two counters in the cache suffice at any rate. REST framework's throttle keeps a list of times: at 600
    # requests a minute it reads and writes 5 KB with each request.

    scope = "api"
    clock = staticmethod(time.time)

    def __init__(self) -> None:
        self._wait = 0.0

    def rate(self) -> Rate:
        return parse_rate(settings.API_RATE)

    def allow_request(self, request: Request, view: Any) -> bool:
        if not request.user.is_authenticated:
            return True
        allowed, period = self.rate()
        now = self.clock()
        window = int(now // period)
        who = request.auth.throttle_name if request.auth else f"user{request.user.pk}"
        name = f"throttle:{self.scope}:{who}:{window}"
        count = _increment(name, 2 * period)
        before = cache.get(f"throttle:{self.scope}:{who}:{window - 1}", 0)
        passed = now / period - window
        if before * (1 - passed) + count <= allowed + COUNT_TOLERANCE:
            return True
        # Rejected requests do not count: a client that retries at once must not lock itself out.
        _decrement(name)
        self._wait = period * _periods_until_allowed(allowed, before, count - 1, passed)
        return False

    def wait(self) -> float:
        # Rounded, because the client sees whole seconds rounded up: 5.0000001 would become 6.
        return max(round(self._wait, 3), 1.0)


class FeedbackThrottle(KeyThrottle):
    """Counts feedback separately from other requests."""

    scope = "feedback"

    def rate(self) -> Rate:
        return parse_rate(settings.API_FEEDBACK_RATE)


class FailedAuthentications:
    """Counts requests with invalid keys by address and minute, so that many of them never reach the database.

    An IPv6 client has a whole /64 network, which counts as one address.
    """

    clock = staticmethod(time.time)

    def __init__(self, request: Request) -> None:
        self._left = FAILURE_PERIOD - self.clock() % FAILURE_PERIOD
        window = int(self.clock() // FAILURE_PERIOD)
        self._name = f"failed:{client_address(request)}:{window}"

    def require_few(self) -> None:
        """Raises Throttled if this address has sent too many invalid keys."""
        if cache.get(self._name, 0) >= MAX_FAILURES:
            raise Throttled(wait=self._left, detail=TOO_MANY_FAILURES)

    def count(self) -> None:
        _increment(self._name, 2 * FAILURE_PERIOD)


def client_address(request: Any) -> str:
    """The client's address behind PROXY_COUNT proxies; of an IPv6 address its /64 network."""
    text = str(BaseThrottle().get_ident(request) or "unknown")
    try:
        address = ip_address(text)
    except ValueError:
        return text
    return text if address.version == 4 else str(ip_network((address, 64), strict=False))


@lru_cache(maxsize=16)
def parse_rate(text: str, name: str = "API_RATE") -> Rate:
    """Parse a rate such as 600/min; the period is second, minute, hour, day or an abbreviation.

    Raises:
        ImproperlyConfigured: the text is not a rate; the message names the setting `name`.
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


def _increment(name: str, keep: int) -> int:
    try:
        return cache.incr(name)
    except ValueError:
        # If two requests create the counter at once, the second request increments the first one's counter.
        return 1 if cache.add(name, 1, keep) else cache.incr(name)


def _decrement(name: str) -> None:
    # If the cache has evicted the counter, there is nothing to subtract from.
    try:
        cache.decr(name)
    except ValueError:
        return


def _periods_until_allowed(allowed: int, before: int, count: int, passed: float) -> float:
    """Waiting time until one more request is allowed, in periods of the rate.

    Args:
        before: requests in the preceding period.
        count: requests in the current period so far.
        passed: the elapsed part of the current period, 0 to 1.
    """
    # It is the smallest t with before (1 - passed - t) + count + 1 <= allowed. If this period is full, t
    # lies in the next period, in which `count` takes the place of `before`.
    free = allowed - count - 1
    if free >= 0:
        return 1 - passed - free / before if before else 0.0
    return 1 - passed + 1 - (allowed - 1) / count
