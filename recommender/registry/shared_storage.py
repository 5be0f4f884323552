"""The storage of models that machines share, such as a bucket on S3: Django's storage "models"."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from recommender.engine.artifact import ArtifactError, ArtifactExists, ArtifactUnavailable

ALIAS: Final = "models"
# A transfer may take this long, and what has arrived at the lowest speed: the request that waits for a new
# champion must end, and a slow link must get its model. The limits of S3's client end only reads without any
# byte. A version's 62 requests take six seconds at .1 second each.
MAX_IDLE_SECONDS: Final = 60.0
MIN_BYTES_PER_SECOND: Final = 2**16


class TransferTooSlow(ArtifactUnavailable):
    """Too few bytes arrived."""


class RequestRefused(ArtifactUnavailable):
    """The storage refuses the request, such as without permission; it would do so again at once."""


class ObjectMissing(FileNotFoundError):
    """The storage has no object with this name; other files that are missing are this machine's."""


class SpeedLimit:
    """The lowest speed of a transfer, of one object or of several together.

    Only the time of waiting for the storage counts: between objects, a download hashes files that are here.
    """

    def __init__(self, location: str) -> None:
        self._location, self._waited, self._received = location, 0.0, 0

    def is_exceeded(self) -> bool:
        return self._waited >= MAX_IDLE_SECONDS + self._received / MIN_BYTES_PER_SECOND

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time that the block takes."""
        begun = monotonic()
        try:
            yield
        finally:
            self._waited += monotonic() - begun

    def watch(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the chunks; raises `TransferTooSlow`."""
        while True:
            with self.waiting():
                chunk = next(chunks, None)
            if chunk is None:
                return
            self._received += len(chunk)
            if self.is_exceeded():
                raise TransferTooSlow(f"The download of {self._location} takes too long.")
            yield chunk


def shared_storage() -> Storage | None:
    """The storage that machines share; None if MODEL_STORAGE is a folder.

    Raises:
        ArtifactUnavailable: its package is not installed.
    """
    if ALIAS not in storages.backends:
        return None
    try:
        return storages[ALIAS]
    except Exception as error:  # each backend raises other errors for wrong options
        raise ArtifactUnavailable(f"The storage of models can't be used: {error}") from None


def require_writable() -> None:
    """Write an object and delete it, if there is a shared storage; raises `ArtifactUnavailable`."""
    shared = shared_storage()
    if shared is None:
        return
    name = f".write-test-{os.getpid()}"
    with translated_errors(shared):
        save(shared, name, ContentFile(b""))
        shared.delete(name)


def require_reachable() -> None:
    """List the shared storage, if there is one; raises `ArtifactUnavailable`."""
    shared = shared_storage()
    if shared is not None:
        with translated_errors(shared):
            shared.listdir("")


def save(shared: Storage, name: str, content: "File[bytes]") -> None:
    saved = shared.save(name, content)
    if saved != name:
        # A storage that never overwrites has chosen another name.
        shared.delete(saved)
        raise ArtifactExists(f"{shared}/{name} exists already.")


def read_chunks(shared: Storage, name: str, limit: SpeedLimit | None = None) -> Iterator[bytes]:
    """The object's content; raises `ObjectMissing` and `ArtifactUnavailable`.

    Args:
        limit: of all transfers that belong together; without it, the object has a limit of its own.
    """
    limit = limit or SpeedLimit(f"{shared}/{name}")
    try:
        with translated_errors(shared):
            with limit.waiting():
                file = shared.open(name, "rb")
            with file:
                yield from limit.watch(file.chunks())
    except FileNotFoundError:
        raise ObjectMissing(f"{shared}/{name} is missing.") from None


@contextmanager
def translated_errors(shared: Storage) -> Iterator[None]:
    """Raise every error of the storage as `ArtifactUnavailable`, but a missing file as it is."""
    try:
        yield
    except (ArtifactError, FileNotFoundError):
        raise
    except Exception as error:
        kind = RequestRefused if _is_refusal(error) else ArtifactUnavailable
        # Without the context, whose frames hold credentials; a backend raises errors of its own kinds.
        raise kind(f"{shared} can't be used: {_describe(error)}") from None


def _is_refusal(error: Exception) -> bool:
    """Whether the server answered with a status that says that the request is at fault."""
    answer = getattr(error, "response", None)
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) if isinstance(answer, dict) else 0
    return status in range(400, 500) and status not in {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }


def _describe(error: Exception) -> str:
    """The error's type with the code of a refusal or the server, such as "ClientError: AccessDenied".

    Not the error's text, which may hold headers with a key's id and signature, or an address with a password.
    """
    answer, details = getattr(error, "response", None), getattr(error, "kwargs", None)
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    address = str(details.get("endpoint_url", "")) if isinstance(details, dict) else ""
    found = code or _server_of(address)
    return f"{type(error).__name__}: {found}" if found else type(error).__name__


def _server_of(address: str) -> str:
    """Host and port of an address, without its user, password, path and query."""
    return urlsplit(address).netloc.rpartition("@")[2]
