"""The source API: where it is, how fast it may be asked, and how its lists are read."""

import base64
import random
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from ingestion.source.connection import ResponseLimits, SourceConnection
from ingestion.source.errors import without_secrets
from ingestion.source.fetcher import PageFetcher
from ingestion.source.paginator import Paginator
from ingestion.source.retry import RateLimiter, RetryPolicy


class SourceClient:
    """Reads lists from one source; all its readings share one rate limit."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        connections: int = 8,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        attempts: int = 5,
        max_requests_per_second: float | None = None,
        max_response_bytes: int = 32 * 2**20,
        ca_file: str = "",
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """Args:
        base_url: http or https; a user and password in it are sent as such, unless there is a token.
        token: sent as a bearer token, to this host only, and shown nowhere.
        read_timeout: seconds without a byte; a whole answer may take four times as long.
        attempts: requests for one page before giving up, at least 1.
        max_response_bytes: of one body, unpacked.
        ca_file: certificates to trust instead of the usual authorities, as a PEM file or a folder of them.
        sleep: waits instead of the built-in wait, which closing a reading ends at once.

        Raises:
            ValueError: the address, the token or a number cannot be used.
        """
        if connections < 1 or attempts < 1:
            raise ValueError("connections and attempts must be at least 1")
        self._address = _check_url(base_url)
        self._headers = _headers(self._address, (token or "").strip())
        self._connections = connections
        self._limits = ResponseLimits(connect_timeout, read_timeout, max_response_bytes)
        self._ca_file = ca_file
        self._policy = RetryPolicy(attempts=attempts, rng=rng or random.Random())
        self._pacer = RateLimiter(max_requests_per_second, clock)
        self._sleep = sleep
        self._clock = clock

    @property
    def base_url(self) -> str:
        """The address, without what may be secret in it."""
        return without_secrets(self._address.geturl())

    def __repr__(self) -> str:
        return f"SourceClient({without_secrets(self._address.geturl())!r}, connections={self._connections})"

    def read_pages(
        self, path: str, *, key: Callable[[Any], Hashable], on_wait: Callable[[], None] | None = None
    ) -> Paginator:
        """The whole list at this path, page by page as they land.

        Args:
            key: what tells a row apart, as the same value each time it is read.
            on_wait: called in the caller's thread at least once a second while the source is waited
                for; it may raise, which ends the reading.

        Raises:
            SourceUnavailable: while iterating; a page failed at every attempt.
            SourceContractBroken: while iterating; a person must look.
        """
        stop = threading.Event()
        fetcher = PageFetcher(
            self._url(path), policy=self._policy, rate_limiter=self._pacer, stop=stop, sleep=self._sleep
        )
        lines = [
            SourceConnection(self._limits, self._headers, self._clock, self._ca_file)
            for _ in range(self._connections)
        ]
        return Paginator(fetcher, lines, key=key, stop=stop, clock=self._clock, on_wait=on_wait)

    def _url(self, path: str) -> str:
        address = self._address
        target, _, query = path.partition("?")
        host = address.netloc.rpartition("@")[2]
        route = f"{address.path.rstrip('/')}/{target.lstrip('/')}"
        queries = "&".join(part for part in (address.query, query) if part)
        return urlunsplit((address.scheme, host, route, queries, ""))


def _check_url(base_url: str) -> SplitResult:
    try:
        address = urlsplit(base_url.strip())
        usable = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            f"the source's address must be http://... or https://..., not {_displayed_url(base_url)}"
        )
    return address


def _displayed_url(base_url: str) -> str:
    # "user:password@host" without a scheme has no part that urlsplit would call a password.
    return without_secrets(base_url).rpartition("@")[2] or "empty"


def _headers(address: SplitResult, token: str) -> dict[str, str]:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
        "User-Agent": "moovitamix",
    }
    if token:
        if not (token.isascii() and token.isprintable()):
            raise ValueError("the source's token holds a character that no HTTP header can carry")
        headers["Authorization"] = f"Bearer {token}"
    elif address.username is not None:
        pair = f"{unquote(address.username)}:{unquote(address.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return headers
