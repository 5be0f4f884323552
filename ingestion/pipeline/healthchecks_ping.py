"""Tells a service such as healthchecks.io of each run's start and end: it alerts when it hears nothing."""

import logging
from typing import Final, Literal

import requests

from ingestion.models import IngestionRun
from ingestion.pipeline.change_detection import Change
from ingestion.pipeline.ingest import Watch
from ingestion.source.schemas import Resource

logger = logging.getLogger(__name__)

# To connect, and until the next byte: a run waits for it twice at most.
TIMEOUT: Final = (3.0, 5.0)
# It keeps the first 100 kB; a person needs a few lines.
LONGEST: Final = 2_000

Event = Literal["start", "success", "fail"]


def ping(url: str, event: Event, said: str = "") -> bool:
    """Whether the service took it; whatever goes wrong is logged, without the address, which is a secret."""
    if not url:
        return False
    address = url.rstrip("/") + ("" if event == "success" else f"/{event}")
    try:
        answer = requests.post(address, data=said[:LONGEST].encode(), timeout=TIMEOUT)
    except (requests.RequestException, OSError, ValueError) as error:
        logger.warning("ping_failed event=%s reason=%s", event, type(error).__name__)
        return False
    if not answer.ok:
        logger.warning("ping_failed event=%s status=%s", event, answer.status_code)
    return answer.ok


def tell_end(url: str, run: IngestionRun) -> None:
    """Success also where only what is sure was taken in: alerts tell of that."""
    bad = {IngestionRun.Status.FAILED, IngestionRun.Status.REFUSED, IngestionRun.Status.ABANDONED}
    event: Event = "fail" if run.status in bad else "success"
    if not run.dry_run:
        ping(url, event, f"Run {run.pk} {run.status}. {run.summary} {run.error}".strip())


class Announced(Watch):
    """Another watch, and a ping when the run has the lock and begins."""

    def __init__(self, url: str, watch: Watch) -> None:
        self._url, self._watch, self._said = url, watch, False

    def stage(self, run: IngestionRun, name: str) -> None:
        if not self._said and not run.dry_run:
            ping(self._url, "start", f"Run {run.pk} started.")
        self._said = True
        self._watch.stage(run, name)

    def progress(self, done: int, total: int) -> None:
        self._watch.progress(done, total)

    def change(self, resource: Resource, change: Change) -> None:
        self._watch.change(resource, change)

    def missing(self, resource: Resource, key: tuple[object, ...]) -> None:
        self._watch.missing(resource, key)
