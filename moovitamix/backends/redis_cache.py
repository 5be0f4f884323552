"""Django's Redis cache, with the memory of this process instead while Redis does not answer."""

import logging
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, ClassVar, Final

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# Requests do not wait for an unreachable Redis; one of them retries after this time.
RETRY_AFTER: Final = 5.0  # seconds
KEYS_AT_ONCE: Final = 1_000


class OwnKeysRedisCache(RedisCache):
    """A Redis cache whose `clear` deletes only its own keys; Django's also deletes those of the broker."""

    def clear(self) -> None:
        client = self._cache.get_client(None, write=True)
        # Django's keys are "PREFIX:VERSION:NAME".
        pattern = "".join(f"[{letter}]" for letter in self.key_prefix) + ":[0-9]*:*"
        for keys in _batches(client.scan_iter(match=pattern, count=KEYS_AT_ONCE)):
            client.unlink(*keys)


def _batches(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    while found := list(islice(keys, KEYS_AT_ONCE)):
        yield found


def _with_fallback(name: str) -> Callable[..., Any]:
    from_redis, from_memory = getattr(OwnKeysRedisCache, name), getattr(LocMemCache, name)

    def call(self: "FallbackRedisCache", *args: Any, **options: Any) -> Any:
        if not self.is_down():
            try:
                result = from_redis(self, *args, **options)
            except RedisError as error:
                self.mark_down(error)
            else:
                self.mark_up()
                return result
        return from_memory(self.memory, *args, **options)

    return call


class FallbackRedisCache(OwnKeysRedisCache):
    """A Redis cache that never fails: without Redis, rate limits count per process and values are lost."""

    # Monotonic time until which Redis is not used; shared by the cache objects of all threads.
    _down_until: ClassVar[float | None] = None

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self.memory = LocMemCache(f"instead-of-{server}", {**params, "OPTIONS": {}})

    def is_down(self) -> bool:
        until = FallbackRedisCache._down_until
        return until is not None and time.monotonic() < until

    def mark_down(self, error: RedisError) -> None:
        if FallbackRedisCache._down_until is None:
            logger.warning("redis_unavailable reason=%s", type(error).__name__)
        FallbackRedisCache._down_until = time.monotonic() + RETRY_AFTER

    def mark_up(self) -> None:
        if FallbackRedisCache._down_until is not None:
            logger.warning("redis_available_again")
            FallbackRedisCache._down_until = None

    add = _with_fallback("add")
    get = _with_fallback("get")
    set = _with_fallback("set")
    touch = _with_fallback("touch")
    delete = _with_fallback("delete")
    get_many = _with_fallback("get_many")
    set_many = _with_fallback("set_many")
    delete_many = _with_fallback("delete_many")
    has_key = _with_fallback("has_key")
    incr = _with_fallback("incr")
    clear = _with_fallback("clear")
