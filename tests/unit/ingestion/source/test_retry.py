"""Waiting times: backoff, Retry-After and the rate limit."""

import random
import threading
from datetime import UTC, datetime

import pytest

from ingestion.source.retry import RateLimiter, RetryPolicy, parse_retry_after

NOON = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


class FakeTime:
    """A clock that moves only when the test sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds


class Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def test_backoff_doubles_from_half_a_second_up_to_its_cap() -> None:
    policy = RetryPolicy(rng=Highest())

    delays = [policy.delay(failures) for failures in (1, 2, 3, 7, 8, 5000)]

    assert delays == [0.5, 1.0, 2.0, 30.0, 30.0, 30.0]


def test_backoff_is_drawn_between_zero_and_the_full_delay() -> None:
    policy = RetryPolicy(rng=random.Random(7))

    delays = [policy.delay(3) for _ in range(400)]

    assert 0.0 <= min(delays) < 0.1
    assert 1.9 < max(delays) <= 2.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 1.5 ", 1.5),
        ("3600", 120.0),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 12:00:30 -0000", 30.0),
        ("Fri, 20 Nov 2026 14:00:00 GMT", 120.0),
        ("Fri, 20 Nov 2026 11:59:59 GMT", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_invalid_values_are_ignored(
    header: str | None, seconds: float | None
) -> None:
    wait = parse_retry_after(header, NOON)

    assert wait == seconds


def test_turns_are_evenly_spaced() -> None:
    time = FakeTime()
    pacer = RateLimiter(4.0, time.clock)

    turns = []
    for _ in range(5):
        pacer.wait_for_turn(time.sleep)
        turns.append(time.now)

    assert turns == [100.0, 100.25, 100.5, 100.75, 101.0]


def test_unused_time_does_not_allow_a_burst_later() -> None:
    time = FakeTime()
    pacer = RateLimiter(4.0, time.clock)
    pacer.wait_for_turn(time.sleep)
    time.now += 60.0

    for _ in range(3):
        pacer.wait_for_turn(time.sleep)

    assert time.slept == [0.25, 0.25]


def test_without_a_limit_nobody_waits() -> None:
    time = FakeTime()
    pacer = RateLimiter(None, time.clock)

    for _ in range(100):
        pacer.wait_for_turn(time.sleep)

    assert time.slept == []


def test_several_threads_get_different_turns() -> None:
    pacer = RateLimiter(10.0, lambda: 0.0)
    waits: list[float] = []
    threads = [threading.Thread(target=pacer.wait_for_turn, args=(waits.append,)) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(waits) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])


def test_a_pause_holds_back_the_next_request() -> None:
    time = FakeTime()
    pacer = RateLimiter(None, time.clock)

    pacer.pause(7.0)
    pacer.wait_for_turn(time.sleep)
    pacer.wait_for_turn(time.sleep)

    assert time.slept == [7.0]


def test_a_pause_also_holds_back_a_request_that_waits_already() -> None:
    time = FakeTime()
    pacer = RateLimiter(1.0, time.clock)
    pacer.wait_for_turn(time.sleep)

    def paused_meanwhile(seconds: float) -> None:
        if not time.slept:
            pacer.pause(10.0)
        time.sleep(seconds)

    pacer.wait_for_turn(paused_meanwhile)

    assert time.now == 110.0


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_of_zero_or_less_is_rejected(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RateLimiter(rate, FakeTime().clock)
