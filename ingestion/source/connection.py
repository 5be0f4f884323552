"""One HTTP connection to the source, with limits on time, size and redirects."""

import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema, InvalidURL
from urllib3.connection import HTTPConnection, HTTPSConnection

from ingestion.source.errors import (
    AttemptFailed,
    FetchCancelled,
    SourceContractBroken,
    translate_error,
    without_secrets,
)

MAX_REDIRECTS = 3
UNUSABLE_PROXY = (
    "the proxy of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY is not an http:// or https:// address; name the "
    "source's host in NO_PROXY if it needs none"
)
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# A page of 30 KB fits in one chunk, and a response that is too large is noticed early.
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class ResponseLimits:
    connect_timeout: float
    read_timeout: float
    max_response_bytes: int

    @property
    def deadline(self) -> float:
        """Seconds allowed for a whole response, because single bytes never exceed the read timeout."""
        return self.connect_timeout + 4 * self.read_timeout


@dataclass(frozen=True, slots=True)
class SourceResponse:
    status: int
    headers: Mapping[str, str]
    body: bytes


class _TrackedHTTP(HTTPConnection):
    def __init__(self, on_connect: Callable[[Any], None], **options: Any) -> None:
        super().__init__(**options)
        self._on_connect = on_connect

    def connect(self) -> None:
        super().connect()
        self._on_connect(self.sock)


class _TrackedHTTPS(HTTPSConnection):
    def __init__(self, on_connect: Callable[[Any], None], **options: Any) -> None:
        super().__init__(**options)
        self._on_connect = on_connect

    def connect(self) -> None:
        super().connect()
        self._on_connect(self.sock)


class _TrackingAdapter(HTTPAdapter):
    """Reports opened sockets, so that another thread can abort a request that hangs."""

    def __init__(self, on_connect: Callable[[Any], None]) -> None:
        self._on_connect = on_connect
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def get_connection_with_tls_context(self, request: Any, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(request, *args, **options)
        connection = _TrackedHTTPS if pool.scheme == "https" else _TrackedHTTP
        pool.ConnectionCls = partial(connection, self._on_connect)
        return pool


class SourceConnection:
    """A keep-alive connection, used by one thread at a time; any thread may abort it.

    The adapter of requests without a Session, which reads the bodies of redirects without a limit, keeps
    cookies, takes passwords from the environment, and needs 0.02 to 0.2 ms more for each page.
    """

    def __init__(
        self,
        limits: ResponseLimits,
        headers: Mapping[str, str],
        clock: Callable[[], float],
        ca_file: str = "",
        proxy: str = "",
    ) -> None:
        self._limits = limits
        self._proxies = {"http": proxy, "https": proxy} if proxy else None
        self._headers = headers
        self._verify: str | bool = ca_file or True
        self._clock = clock
        self._adapter = _TrackingAdapter(self._track_socket)
        self._requests: dict[str, requests.PreparedRequest] = {}
        self._socket: socket.socket | None = None
        self._due: float | None = None
        self._overdue = False
        self._stopped = False

    def get(self, url: str, on_request: Callable[[], None]) -> SourceResponse:
        """Send a GET request, and follow at most three redirects on the same host.

        Args:
            on_request: called once for every request sent.

        Raises:
            AttemptFailed: no complete response arrived.
            SourceContractBroken: a redirect to another host, too many redirects, or too large a response.
        """
        address = url
        for _ in range(MAX_REDIRECTS + 1):
            on_request()
            response = self._exchange(address)
            target = response.headers.get("location")
            if response.status not in REDIRECTS or target is None:
                return response
            address = _resolve_redirect(address, target)
        raise SourceContractBroken(url, f"redirected more than {MAX_REDIRECTS} times", "redirect")

    def abort(self) -> None:
        self._stopped = True
        self._shut_down_socket()

    def abort_if_overdue(self) -> None:
        due = self._due
        if due is not None and self._clock() > due:
            self._overdue = True
            self._shut_down_socket()

    def close(self) -> None:
        self._adapter.close()

    def _track_socket(self, opened: socket.socket) -> None:
        self._socket = opened

    def _shut_down_socket(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the socket was closed meanwhile
                # Not SSLSocket.shutdown: that one must not be called from a second thread.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _exchange(self, url: str) -> SourceResponse:
        self._overdue = False
        self._due = self._clock() + self._limits.deadline
        try:
            response = self._send(url)
        except (InvalidSchema, InvalidURL):
            # The source's own address was checked before. SOCKS needs a package that is not installed.
            raise SourceContractBroken(url, UNUSABLE_PROXY, "proxy") from None
        except (requests.RequestException, OSError) as error:
            self._check_aborted()
            # Not "from error": the text of that error holds the address with its secrets.
            raise translate_error(error) from None
        finally:
            self._due = None
        # Without a Content-Length an aborted response looks complete.
        self._check_aborted()
        return response

    def _check_aborted(self) -> None:
        if self._stopped:
            raise FetchCancelled from None
        if self._overdue:
            reason = f"no complete answer within {self._limits.deadline:g} s"
            raise AttemptFailed("timeout", reason) from None

    def _send(self, url: str) -> SourceResponse:
        timeouts = (self._limits.connect_timeout, self._limits.read_timeout)
        response = self._adapter.send(
            self._request(url), stream=True, timeout=timeouts, verify=self._verify, proxies=self._proxies
        )
        try:
            body = self._body(response, url)
        finally:
            response.close()
        return SourceResponse(response.status_code, response.headers, body)

    def _request(self, url: str) -> requests.PreparedRequest:
        # Preparing a request costs 0.1 ms, and pages differ in the query only.
        path, _, query = url.partition("?")
        prepared = self._requests.get(path)
        if prepared is None:
            prepared = requests.Request("GET", path, headers=dict(self._headers)).prepare()
            self._requests[path] = prepared
        prepared.url = f"{path}?{query}" if query else path
        return prepared

    def _body(self, response: requests.Response, url: str) -> bytes:
        chunks, length = [], 0
        for chunk in response.iter_content(CHUNK_BYTES):
            chunks.append(chunk)
            length += len(chunk)
            if length > self._limits.max_response_bytes:
                limit = f"more than {self._limits.max_response_bytes} bytes"
                reason = f"answered {limit}; SOURCE_MAX_RESPONSE_MB is the limit"
                raise SourceContractBroken(url, reason, "too_large")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _resolve_redirect(address: str, target: str) -> str:
    try:
        redirected = urljoin(address, target)
        old, new = _origin(address), _origin(redirected)
    except ValueError:
        raise SourceContractBroken(address, "redirected to an unreadable address", "redirect") from None
    upgraded = (old[0], old[2], new[0], new[2]) == ("http", 80, "https", 443)
    if old != new and not (upgraded and old[1] == new[1]):
        reason = f"redirected to another host, which is not followed: {without_secrets(redirected)}"
        raise SourceContractBroken(address, reason, "redirect")
    parts = urlsplit(redirected)
    without_user = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    return requests.utils.requote_uri(without_user)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
