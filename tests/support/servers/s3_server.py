"""A server with S3's protocol on 127.0.0.1, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import boto3
import requests

from tests.support.project import ROOT, wait_for_line
from tests.support.servers.s3_process import FAULTS_PATH

BUCKET: Final = "moovitamix-models"
ACCESS_KEY: Final = "test-access-key"
SECRET_KEY: Final = "test-secret-key"


@dataclass(frozen=True)
class S3Server:
    url: str

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs, without the files of the developer's own account."""
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }  # fmt: skip

    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )  # fmt: skip

    def set_faults(self, **faults: Any) -> None:
        """Replace the faults of the server.

        It refuses requests (`status`, `code`; with `only`, for objects whose names end with it), sends only
        `silent_after_bytes` until the next call, sends objects whose names end with `trickle` byte by byte
        and their last byte at the next call, breaks the connection within objects whose names end with
        `break` for so many `times`, or kills the process `client` after `kill_after_files`.
        """
        requests.post(self.url + FAULTS_PATH, json=faults, timeout=10).raise_for_status()


@contextmanager
def run_s3() -> Iterator[S3Server]:
    """A new server with an empty bucket `BUCKET`."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.servers.s3_process"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            said = wait_for_line(process, "listening on ")
            server = S3Server(f"http://127.0.0.1:{int(said.split()[-1])}")
            server.client().create_bucket(Bucket=BUCKET)
            yield server
        finally:
            process.kill()
