"""Pings a service such as healthchecks.io, which alerts if a ping is missing, when a run starts and ends."""

import logging
from typing import Final, Literal

import requests

from ingestion.models import IngestionRun
from ingestion.pipeline.change_detection import RowChange
from ingestion.pipeline.ingest import IngestionProgress
from ingestion.source.schemas import Resource

logger = logging.getLogger(__name__)

# Seconds to connect, and between bytes. A run sends at most two pings.
TIMEOUT: Final = (3.0, 5.0)
# The service accepts 100 kB; a few lines are enough for a person.
MAX_BODY_CHARS: Final = 2_000

PingEvent = Literal["start", "success", "fail"]


def send_ping(url: str, event: PingEvent, body: str = "") -> bool:
    """Send a ping; False if the service refused it. The log omits the address, which is a secret."""
    if not url:
        return False
    address = url.rstrip("/") + ("" if event == "success" else f"/{event}")
    try:
        # Redirects are not followed: they would carry the secret address and the text elsewhere.
        answer = requests.post(
            address, data=body[:MAX_BODY_CHARS].encode(), timeout=TIMEOUT, allow_redirects=False
        )
    except (requests.RequestException, OSError, ValueError) as error:
        logger.warning("ping_failed event=%s reason=%s", event, type(error).__name__)
        return False
    accepted = answer.ok and not answer.is_redirect
    if not accepted:
        logger.warning("ping_failed event=%s status=%s", event, answer.status_code)
    return accepted


def ping_run_finished(url: str, run: IngestionRun) -> None:
    """Report the run's end; a partial run is a success, as it has its own alert; a stopped one sends none."""
    bad = {IngestionRun.Status.FAILED, IngestionRun.Status.REFUSED, IngestionRun.Status.ABANDONED}
    event: PingEvent = "fail" if run.status in bad else "success"
    if not run.dry_run and run.status != IngestionRun.Status.STOPPED:
        send_ping(url, event, f"Run {run.pk} {run.status}. {run.summary} {run.error}".strip())


class PingingProgress(IngestionProgress):
    def __init__(self, url: str, callback: IngestionProgress) -> None:
        self._url, self._callback, self._has_pinged = url, callback, False

    def on_stage(self, run: IngestionRun, name: str) -> None:
        if not self._has_pinged and not run.dry_run:
            send_ping(self._url, "start", f"Run {run.pk} started.")
        self._has_pinged = True
        self._callback.on_stage(run, name)

    def on_progress(self, done: int, total: int) -> None:
        self._callback.on_progress(done, total)

    def on_change(self, resource: Resource, change: RowChange) -> None:
        self._callback.on_change(resource, change)

    def on_missing(self, resource: Resource, key: tuple[object, ...]) -> None:
        self._callback.on_missing(resource, key)
