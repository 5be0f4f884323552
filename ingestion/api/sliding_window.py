"""Counts requests in a sliding window, in two counters of the cache."""

from typing import Final, NamedTuple

from django.core.cache import cache

COUNT_TOLERANCE: Final = 1e-6  # requests


class Rate(NamedTuple):
    requests: int
    seconds: int


def seconds_until_allowed(name: str, rate: Rate, now: float) -> float:
    """Count a request of `name`; return the seconds to wait, 0 if it is allowed.

    Rejected requests do not count: a client that retries at once must not lock itself out.
    """
    # The count of the last period is weighted by the part of that period that is still in the window. So
    # two counters suffice at any rate.
    allowed, period = rate
    window = int(now // period)
    key = f"throttle:{name}:{window}"
    count = increment_counter(key, 2 * period)
    before = cache.get(f"throttle:{name}:{window - 1}", 0)
    passed = now / period - window
    if before * (1 - passed) + count <= allowed + COUNT_TOLERANCE:
        return 0.0
    _decrement(key)
    # Rounded, because the client sees whole seconds rounded up: 5.0000001 would become 6.
    return max(round(period * _periods_until_allowed(allowed, before, count - 1, passed), 3), 1.0)


def increment_counter(name: str, keep: int) -> int:
    """Add 1 to a counter that the cache keeps for `keep` seconds, and return it."""
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
    """The wait until the next request is allowed, in periods of the rate.

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
