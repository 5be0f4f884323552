"""The storage of models that machines share, such as a bucket on S3: Django's storage "models"."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from recommender.engine.artifact import ArtifactError, ArtifactExists, ArtifactUnavailable

ALIAS: Final = "models"


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


def read_chunks(shared: Storage, name: str) -> Iterator[bytes]:
    """The object's content; raises `FileNotFoundError` and `ArtifactUnavailable`."""
    with translated_errors(shared), shared.open(name, "rb") as file:
        yield from file.chunks()


@contextmanager
def translated_errors(shared: Storage) -> Iterator[None]:
    """Raise every error of the storage as `ArtifactUnavailable`, but a missing file as it is."""
    try:
        yield
    except (ArtifactError, FileNotFoundError):
        raise
    except Exception as error:
        # Without the context, whose frames hold credentials; a backend raises errors of its own kinds.
        raise ArtifactUnavailable(f"{shared} can't be used: {_describe(error)}") from None


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
