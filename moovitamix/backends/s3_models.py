"""Django's storage of models on S3 (MODEL_STORAGE=s3://...), with short timeouts. Needs the extra s3."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from botocore.config import Config
from botocore.exceptions import ClientError, IncompleteReadError
from django.core.files import File
from storages.backends.s3 import S3Storage
from storages.utils import clean_name

CONNECT_SECONDS: Final = 3
READ_SECONDS: Final = 20  # without a byte
# More attempts would keep the request that loads a new champion waiting while S3 is away.
ATTEMPTS: Final = 2


class ObjectStream(File):  # type: ignore[type-arg]  # takes no type argument when it runs
    """A streamed object. A chunk is what has arrived: to read a number of bytes waits for all of them."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        body: Any = self.file
        with body as raw:
            while chunk := raw.read1(chunk_size or self.DEFAULT_CHUNK_SIZE):
                yield chunk
            if raw.length_remaining:
                # Otherwise a broken connection would look like a damaged model.
                received = raw.tell()
                raise IncompleteReadError(
                    actual_bytes=received, expected_bytes=received + raw.length_remaining
                )


class S3ModelStorage(S3Storage):
    """Objects below s3://bucket/prefix. Credentials and region come from AWS's own variables."""

    def get_default_settings(self) -> dict[str, Any]:
        limits = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        )
        return {
            **super().get_default_settings(),
            "client_config": limits,
        }

    def _open(self, name: str, mode: str = "rb") -> "File[bytes]":
        """Stream an object; the base class makes three requests and reads all before the first byte."""
        if mode != "rb":
            raise ValueError("Objects are opened for reading bytes only.")
        key = self._normalize_name(clean_name(name))
        try:
            return ObjectStream(self.bucket.Object(key).get()["Body"], name)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.NOT_FOUND:
                raise FileNotFoundError(f"{self}/{name}") from None
            raise

    def __str__(self) -> str:
        return f"s3://{self.bucket_name}/{self.location}".rstrip("/")
