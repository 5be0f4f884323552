"""Who may use the API, and how often: keys, the admin's session, throttles."""

import re
import time
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

PERIODS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
COUNT_TOLERANCE: Final = 1e-6  # of a request


class Rate(NamedTuple):
    requests: int
    seconds: int


class KeyThrottle(BaseThrottle):
    """So many requests a key in any period: the last period counts as far as it still reaches into now.

    Two counters in the cache, whatever the rate; a list of times, as REST framework keeps it, costs more the
    more is allowed (600 times are 5 KB, packed and unpacked with every request).
    """

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
        who = f"key{request.auth.pk}" if request.auth else f"user{request.user.pk}"
        name = f"throttle:{self.scope}:{who}:{window}"
        count = _increment(name, 2 * period)
        before = cache.get(f"throttle:{self.scope}:{who}:{window - 1}", 0)
        passed = now / period - window
        if before * (1 - passed) + count <= allowed + COUNT_TOLERANCE:
            return True
        # Not counted: who keeps knocking gets in as often as who waits.
        _decrement(name)
        self._wait = period * _periods_until_allowed(allowed, before, count - 1, passed)
        return False

    def wait(self) -> float:
        # Rounded: a second more for the last digit of a float is a second too much.
        return max(round(self._wait, 3), 1.0)


class FeedbackThrottle(KeyThrottle):
    """A count of its own: an app that reports much may still ask."""

    scope = "feedback"

    def rate(self) -> Rate:
        return parse_rate(settings.API_FEEDBACK_RATE)


@lru_cache(maxsize=16)
def parse_rate(text: str, name: str = "API_RATE") -> Rate:
    """A rate such as 600/min, where sec, min, hour and day may be shortened to a letter."""
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
        # Two requests at once: the one that comes second adds to the first one's.
        return 1 if cache.add(name, 1, keep) else cache.incr(name)


def _decrement(name: str) -> None:
    # Evicted in between: then there is nothing to take back.
    try:
        cache.decr(name)
    except ValueError:
        return


def _periods_until_allowed(allowed: int, before: int, count: int, passed: float) -> float:
    """In how many periods one more request is allowed.

    Formula: the least t with before (1 - passed - t) + count + 1 <= allowed; where this period is full,
    the least t in the next one, of which this is the one before.

    Args:
        before, count: requests of the last period, and of this one so far.
        passed: the share of this period that is over.
    """
    free = allowed - count - 1
    if free >= 0:
        return 1 - passed - free / before if before else 0.0
    return 1 - passed + 1 - (allowed - 1) / count
