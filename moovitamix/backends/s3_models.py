"""Django's storage of models on S3 (MODEL_STORAGE=s3://...), with short timeouts. Needs the extra s3."""

from typing import Any, Final

from botocore.config import Config
from storages.backends.s3 import S3Storage

CONNECT_SECONDS: Final = 3
READ_SECONDS: Final = 20  # without a byte
# More attempts would keep the request that loads a new champion waiting while S3 is away.
ATTEMPTS: Final = 2
# A larger file waits on the disk and not in memory, between S3 and the folder of models.
MAX_BYTES_IN_MEMORY: Final = 8 * 2**20


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
            "max_memory_size": MAX_BYTES_IN_MEMORY,
        }

    def __str__(self) -> str:
        return f"s3://{self.bucket_name}/{self.location}".rstrip("/")
