"""Errors of the source client, one class for each reaction of the caller; messages contain no secrets."""

from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, ProxyError, SSLError

# The only query parameters whose values a message may show; any other could be a secret.
_PUBLIC_PARAMETERS = frozenset({"page", "size"})


def without_secrets(url: str) -> str:
    """The URL without user and password; all query values but page and size are masked."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return "(unreadable address)"
    query = urlencode(
        [(name, value if name in _PUBLIC_PARAMETERS else "***") for name, value in pairs], safe="*"
    )
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


class SourceError(Exception):
    """The source could not be read; `kind` is a short label for counters."""

    kind = "source"


class SourceUnavailable(SourceError):
    def __init__(self, url: str, attempts: int, reason: str, kind: str) -> None:
        self.url = without_secrets(url)
        # Exception needs all arguments to be picklable with them.
        super().__init__(self.url, attempts, reason, kind)
        self.attempts = attempts
        self.reason = reason
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.url} failed {self.attempts} times; last reason: {self.reason}"


class SourceContractBroken(SourceError):
    def __init__(self, url: str, reason: str, kind: str) -> None:
        self.url = without_secrets(url)
        super().__init__(self.url, reason, kind)
        self.reason = reason
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class AttemptFailed(Exception):
    """An attempt failed, and another may succeed. Never leaves this package.

    Attributes:
        retry_after: the wait in seconds that the source asked for.
        status: the response's status; 0 if there was no response.
        is_odd: True if another attempt rarely gets another status.
    """

    def __init__(
        self,
        kind: str,
        reason: str,
        *,
        retry_after: float | None = None,
        status: int = 0,
        is_odd: bool = False,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.is_odd = is_odd
        self.kind = kind
        self.reason = reason
        self.retry_after = retry_after


class FetchCancelled(Exception):
    """The paginator was closed. Never leaves this package."""


# The first match counts: subclasses come before their bases.
_ERROR_KINDS: tuple[tuple[type[Exception], str, str], ...] = (
    (ProxyError, "proxy", "no connection through the proxy"),
    (requests.ConnectTimeout, "timeout", "no connection in time"),
    (requests.Timeout, "timeout", "no answer in time"),
    (SSLError, "tls", "the TLS connection failed"),
    (ContentDecodingError, "truncated", "the compressed body cannot be decompressed"),
    (ChunkedEncodingError, "truncated", "the connection ended in the middle of the body"),
)


def translate_error(error: Exception) -> AttemptFailed:
    chain = _cause_chain(error)
    for family, kind, reason in _ERROR_KINDS:
        if isinstance(error, family):
            return AttemptFailed(kind, f"{reason} ({_cause_text(chain[-1])})")
    # requests raises ConnectionError if a body stops arriving.
    if any(isinstance(cause, TimeoutError) for cause in chain):
        return AttemptFailed("timeout", "the body stopped arriving")
    return AttemptFailed("connection", f"no connection, or it was lost ({_cause_text(chain[-1])})")


def status_text(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _cause_chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _cause_text(root: BaseException) -> str:
    """The operating system's message, else the error's class: other messages may hold the URL."""
    message = root.strerror if isinstance(root, OSError) else None
    return message or type(root).__name__
