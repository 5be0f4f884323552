"""What a failed request means, in words that hold no address and no secret."""

from http import HTTPStatus

import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, SSLError

from ingestion.source.errors import AttemptFailed

# The first that fits counts, so the special stand before the general.
_MEANINGS: tuple[tuple[type[Exception], str, str], ...] = (
    (requests.ConnectTimeout, "timeout", "no connection in time"),
    (requests.Timeout, "timeout", "no answer in time"),
    (SSLError, "tls", "no safe connection"),
    (ContentDecodingError, "truncated", "the packed body cannot be unpacked"),
    (ChunkedEncodingError, "truncated", "the connection ended in the middle of the body"),
)


def explained(error: Exception) -> AttemptFailed:
    """The failure as a kind and a reason."""
    chain = _chain(error)
    for family, kind, reason in _MEANINGS:
        if isinstance(error, family):
            return AttemptFailed(kind, f"{reason} ({_word(chain[-1])})")
    # A body that stops coming is a ConnectionError to requests.
    if any(isinstance(cause, TimeoutError) for cause in chain):
        return AttemptFailed("timeout", "the body stopped coming")
    return AttemptFailed("connection", f"no connection, or it was lost ({_word(chain[-1])})")


def phrase(status: int) -> str:
    """ "404 Not Found", in the standard's words and not the server's."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _word(root: BaseException) -> str:
    """The system's own words, "Connection refused", or the error's name; its text may hold the address."""
    words = root.strerror if isinstance(root, OSError) else None
    return words or type(root).__name__
