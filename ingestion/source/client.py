"""HTTP client for the source API: address, credentials, limits, and a paginator for each list."""

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
from ingestion.source.paginator import PAGE_SIZE, Paginator
from ingestion.source.retry import ConnectionLimit, Patience, RateLimiter, RetryPolicy


class SourceClient:
    """An HTTP client for one source; all its paginators share one rate limit."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        connections: int = 8,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        attempts: int | None = None,
        patience: float = 600.0,
        max_requests_per_second: float | None = None,
        max_response_bytes: int = 32 * 2**20,
        ca_file: str = "",
        proxy: str = "",
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """Check the address, the credentials and the limits; nothing is sent yet.

        Args:
            base_url: http or https; a user and password in it are sent as basic authentication, unless
                there is a token.
            token: sent as a bearer token, to this host only; never logged.
            read_timeout: seconds without a byte; a whole response may take four times as long.
            attempts: failed requests for one page before giving up; None: as many as the patience allows.
                A response 429 is not a failed request.
            patience: seconds to wait for an unreachable source, for all lists together.
            max_response_bytes: the largest allowed size of one body, decompressed.
            ca_file: certificates to trust instead of the usual authorities: a PEM file or a folder.
            proxy: address of an HTTP proxy; may hold a user and password.
            sleep: replaces the built-in wait, which ends at once if the paginator is closed.

        Raises:
            ValueError: the address, the token or a number is not valid.
        """
        if connections < 1 or (attempts is not None and attempts < 1):
            raise ValueError("connections and attempts must be at least 1")
        self._address = _check_url(base_url)
        self._headers = _headers(self._address, (token or "").strip())
        self._connections = connections
        self._limits = ResponseLimits(connect_timeout, read_timeout, max_response_bytes)
        self._ca_file = ca_file
        self._proxy = proxy
        self._policy = RetryPolicy(attempts=attempts, rng=rng or random.Random())
        self._patience = Patience(patience)
        self._connection_limit = ConnectionLimit(connections)
        self._rate_limiter = RateLimiter(max_requests_per_second, clock)
        self._sleep = sleep
        self._clock = clock

    @property
    def base_url(self) -> str:
        return without_secrets(self._address.geturl())

    def __repr__(self) -> str:
        return f"SourceClient({without_secrets(self._address.geturl())!r}, connections={self._connections})"

    def read_pages(
        self, path: str, *, key: Callable[[Any], Hashable], on_wait: Callable[[], None] | None = None
    ) -> Paginator:
        """A paginator for the whole list at this path; pages come in order of arrival.

        Args:
            key: identifies a row, with an equal value each time the row is read.
            on_wait: called at least once a second in the caller's thread; an exception from it ends the
                iteration.

        Raises:
            SourceUnavailable: while iterating; the source did not send a page in time.
            SourceContractBroken: while iterating; the source does not keep to its API, a person must act.
        """
        stop = threading.Event()
        fetcher = PageFetcher(
            self._url(path),
            page_size=PAGE_SIZE,
            policy=self._policy,
            patience=self._patience,
            rate_limiter=self._rate_limiter,
            connection_limit=self._connection_limit,
            stop=stop,
            sleep=self._sleep,
            clock=self._clock,
        )
        connections = [
            SourceConnection(self._limits, self._headers, self._clock, self._ca_file, self._proxy)
            for _ in range(self._connections)
        ]
        return Paginator(fetcher, connections, key=key, stop=stop, clock=self._clock, on_wait=on_wait)

    def _url(self, path: str) -> str:
        address = self._address
        relative, _, query = path.partition("?")
        host = address.netloc.rpartition("@")[2]
        full_path = f"{address.path.rstrip('/')}/{relative.lstrip('/')}"
        full_query = "&".join(part for part in (address.query, query) if part)
        return urlunsplit((address.scheme, host, full_path, full_query, ""))


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
    # urlsplit finds no password in "user:password@host", which has no scheme.
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
