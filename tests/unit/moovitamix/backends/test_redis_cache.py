"""The cache goes on in memory while Redis does not answer, and returns to Redis afterwards."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from moovitamix.backends import redis_cache
from moovitamix.backends.redis_cache import FallbackRedisCache
from moovitamix.environment import next_redis_database

NOBODY = "redis://127.0.0.1:9/0"
PARAMS: dict[str, Any] = {"OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5}}


@pytest.fixture(autouse=True)
def _up_again() -> Iterator[None]:
    yield
    FallbackRedisCache._down_until = None


def test_counters_work_without_redis_and_are_shared_by_the_threads_of_a_process() -> None:
    cache, other = FallbackRedisCache(NOBODY, PARAMS), FallbackRedisCache(NOBODY, PARAMS)
    cache.clear()

    with pytest.raises(ValueError, match="not found"):
        cache.incr("count")
    was_new = cache.add("count", 1, 60)
    count = other.incr("count")

    assert (was_new, count, cache.get("count"), cache.decr("count")) == (True, 2, 2, 1)


def test_redis_is_asked_once_and_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    cache = FallbackRedisCache(NOBODY, PARAMS)

    cache.set("name", "value", 60)
    was_down = cache.is_down()
    clock[0] += redis_cache.RETRY_AFTER

    assert was_down
    assert not cache.is_down()


def test_a_redis_that_is_back_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    redis_url = os.environ["REDIS_URL"]
    clock = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    FallbackRedisCache(NOBODY, PARAMS).set("name", "local", 60)
    clock[0] += redis_cache.RETRY_AFTER
    back = FallbackRedisCache(redis_url, PARAMS)

    back.set("name", "in redis", 60)

    assert not back.is_down()
    assert FallbackRedisCache(redis_url, PARAMS).get("name") == "in redis"
    assert back.memory.get("name") is None


def test_clearing_the_cache_keeps_waiting_tasks_even_in_the_same_database() -> None:
    redis_url = os.environ["REDIS_URL"]
    cache = FallbackRedisCache(redis_url, PARAMS)
    cache.set("name", "value", 60)
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("default", "a waiting task")

        cache.clear()

        assert client.lrange("default", 0, -1) == [b"a waiting task"]
    assert cache.get("name") is None


@pytest.mark.parametrize(
    ("broker", "cache"),
    [
        ("redis://redis:6379/0", "redis://redis:6379/1"),
        ("redis://redis:6379", "redis://redis:6379/1"),
        ("rediss://user:secret@redis/3?protocol=3", "rediss://user:secret@redis/4?protocol=3"),
        ("", ""),
    ],
)
def test_the_cache_has_the_database_after_the_brokers(broker: str, cache: str) -> None:
    assert next_redis_database(broker) == cache
