"""What can go wrong at the source, told apart by what the caller should do."""

from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, SSLError

# The only query values a message may show; any other one could be a key.
_HARMLESS = frozenset({"page", "size"})


def without_secrets(url: str) -> str:
    """The address as a message may show it: no user, no password, no query value but page and size."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return "(unreadable address)"
    query = urlencode([(name, value if name in _HARMLESS else "***") for name, value in pairs], safe="*")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


class SourceError(Exception):
    """The source could not be read; `kind` is one short word for counters and labels."""

    kind = "source"


class SourceUnavailable(SourceError):
    """No usable answer after every attempt; the next run may succeed."""

    def __init__(self, url: str, attempts: int, reason: str, kind: str) -> None:
        self.url = without_secrets(url)
        # All arguments go up, so that a copy sent between processes can be built again.
        super().__init__(self.url, attempts, reason, kind)
        self.attempts = attempts
        self.reason = reason
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.url} failed {self.attempts} times; last reason: {self.reason}"


class SourceContractBroken(SourceError):
    """The source answered in a shape it never promised; a person must look."""

    def __init__(self, url: str, reason: str, kind: str) -> None:
        self.url = without_secrets(url)
        super().__init__(self.url, reason, kind)
        self.reason = reason
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class AttemptFailed(Exception):
    """One request brought nothing usable; another one may. It never leaves this room.

    `retry_after` is what the source asked for, in seconds.
    """

    def __init__(self, kind: str, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.retry_after = retry_after


class FetchCancelled(Exception):
    """The reading was closed while a thread was waiting or fetching. It never leaves this room."""


# The first that fits counts, so the special stand before the general.
_ERROR_KINDS: tuple[tuple[type[Exception], str, str], ...] = (
    (requests.ConnectTimeout, "timeout", "no connection in time"),
    (requests.Timeout, "timeout", "no answer in time"),
    (SSLError, "tls", "no safe connection"),
    (ContentDecodingError, "truncated", "the packed body cannot be unpacked"),
    (ChunkedEncodingError, "truncated", "the connection ended in the middle of the body"),
)


def translate_error(error: Exception) -> AttemptFailed:
    """The failure as a kind and a reason."""
    chain = _cause_chain(error)
    for family, kind, reason in _ERROR_KINDS:
        if isinstance(error, family):
            return AttemptFailed(kind, f"{reason} ({_cause_text(chain[-1])})")
    # A body that stops coming is a ConnectionError to requests.
    if any(isinstance(cause, TimeoutError) for cause in chain):
        return AttemptFailed("timeout", "the body stopped coming")
    return AttemptFailed("connection", f"no connection, or it was lost ({_cause_text(chain[-1])})")


def status_text(status: int) -> str:
    """ "404 Not Found", in the standard's words and not the server's."""
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
    """The system's own words, "Connection refused", or the error's name; its text may hold the address."""
    words = root.strerror if isinstance(root, OSError) else None
    return words or type(root).__name__
