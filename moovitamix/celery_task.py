"""What a background task takes: seconds, CPU and memory of the worker's process while it runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from threading import Event, Thread
from typing import Any, Final

from celery import Task
from django.apps import apps
from django.db import Error
from django.utils import timezone

from ingestion.jobs.lock import add_log_context
from ingestion.jobs.resource_usage import ResourceMeter

logger = logging.getLogger(__name__)

# The looks that find nothing to do, some thousand a day, take less; rows of them would say nothing.
MIN_RECORDED_SECONDS: Final = 1.0
SAMPLE_INTERVAL: Final = 0.5  # seconds


class MeasuredTask(Task):  # type: ignore[type-arg]
    """A task that leaves a row with its cost, if it took long or failed.

    Exact where a worker's process does one task at a time, as the default pool's does; with threads, tasks
    that run at once are counted with each other's cost.
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        with add_log_context(task=self.request.id or "", task_name=self.name):
            return self._call_measured(*args, **kwargs)

    def _call_measured(self, *args: Any, **kwargs: Any) -> Any:
        started_at, meter = timezone.now(), ResourceMeter()
        succeeded = False
        try:
            with _sample_memory(meter):
                result = super().__call__(*args, **kwargs)
            succeeded = True
            return result
        finally:
            if meter.seconds >= MIN_RECORDED_SECONDS or not succeeded:
                self._save_usage(started_at, meter, succeeded=succeeded)

    def _save_usage(self, started_at: datetime, meter: ResourceMeter, *, succeeded: bool) -> None:
        # By name: this module is imported before the models are there.
        uses = apps.get_model("ingestion", "TaskUsage")._default_manager
        try:
            uses.create(
                task=self.name, task_id=self.request.id or "", started_at=started_at, succeeded=succeeded,
                seconds=meter.seconds, cpu_seconds=meter.cpu_seconds, peak_memory=meter.peak_memory,
            )  # fmt: skip
        except Error:
            # The task's own end is what counts.
            logger.warning("task_cost_not_kept task=%s", self.name, exc_info=True)


@contextmanager
def _sample_memory(meter: ResourceMeter) -> Iterator[None]:
    """Look at the memory again and again meanwhile."""
    over = Event()

    def watch() -> None:
        while not over.wait(SAMPLE_INTERVAL):
            meter.sample()

    watcher = Thread(target=watch, name="task_meter", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        meter.sample()
