"""Waiting for the source: backoff, patience, Retry-After, rate limit, number of connections."""

import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Seconds. A run that waits longer looks stuck to its operators, so it retries sooner than asked.
MAX_RETRY_AFTER = 120.0


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with full jitter, so that connections that failed together retry apart.

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    # Failed requests for one page before giving up; None for as many as the patience allows.
    attempts: int | None = None
    base: float = 0.5
    cap: float = 30.0
    rng: random.Random = field(default_factory=random.Random)

    def delay(self, failures: int) -> float:
        """Seconds to wait after this many failures in a row (at least 1)."""
        # 2**64 exceeds any cap; 2.0**1024 would overflow.
        return self.rng.uniform(0.0, min(self.cap, self.base * 2.0 ** min(failures - 1, 64)))


class Patience:
    """Seconds that one run waits for an unreachable source; shared by its lists and threads.

    Only the wait for a page that is given up is spent: several threads wait during the same outage.
    """

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self.seconds_left = seconds
        self.answers = 0

    def count_answer(self) -> None:
        with self._lock:
            self.answers += 1

    def spend(self, seconds: float) -> None:
        with self._lock:
            self.seconds_left = max(0.0, self.seconds_left - seconds)


class ConnectionLimit:
    """Limit of simultaneous requests: halved after each 429, slowly increased afterwards.

    Source: Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in
    Computer Networks", 1989 (additive increase, multiplicative decrease).
    """

    def __init__(self, maximum: int) -> None:
        self._lock = threading.Lock()
        self._maximum = maximum
        self._limit = float(maximum)

    @property
    def current(self) -> int:
        return int(self._limit)

    @property
    def is_lowered(self) -> bool:
        return self.current < self._maximum

    def decrease(self) -> None:
        with self._lock:
            self._limit = max(1.0, self._limit / 2)

    def increase(self) -> None:
        with self._lock:
            self._limit = min(float(self._maximum), self._limit + 1 / self._limit)


def parse_retry_after(value: str | None, now: datetime, maximum: float = MAX_RETRY_AFTER) -> float | None:
    """The wait in seconds (from seconds or an HTTP date), at most `maximum`; None if missing or not valid."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, now)
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, maximum)


def _seconds_until(date: str, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return math.nan
    if moment.tzinfo is None:  # "-0000" means UTC
        moment = moment.replace(tzinfo=UTC)
    return (moment - now).total_seconds()


class RateLimiter:
    """Spaces the requests of all threads evenly, and holds them back during a pause."""

    def __init__(self, max_requests_per_second: float | None, clock: Callable[[], float]) -> None:
        if max_requests_per_second is not None and not max_requests_per_second > 0:
            raise ValueError("max_requests_per_second must be above 0, or None for no limit")
        self._interval = 1.0 / max_requests_per_second if max_requests_per_second else 0.0
        self._clock = clock
        self._lock = threading.Lock()
        self._next = -math.inf
        self._paused_until = -math.inf

    def wait_for_turn(self, sleep: Callable[[float], None]) -> None:
        turn = self._take(sleep)
        # A pause that began during the sleep delays this turn. The clock is not read again, so that a sleep
        # that returns early cannot make this a busy loop.
        while turn < self._paused_until:
            turn = self._take(sleep)

    def pause(self, seconds: float) -> None:
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)
            self._next = max(self._next, self._paused_until)

    def _take(self, sleep: Callable[[float], None]) -> float:
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            sleep(turn - now)
        return turn
