"""Celery task class that records a task's duration, CPU time and peak memory."""

import logging
from datetime import datetime
from typing import Any, Final

from celery import Task
from django.apps import apps
from django.db import Error
from django.utils import timezone, translation

from ingestion.english import ENGLISH
from ingestion.jobs.lock import add_log_context
from ingestion.jobs.resource_usage import ResourceMonitor

logger = logging.getLogger(__name__)

# Shorter tasks, thousands of periodic checks a day, had nothing to do.
MIN_RECORDED_SECONDS: Final = 1.0


class MeasuredTask(Task):  # type: ignore[type-arg]
    """Celery task that stores its cost in a `TaskUsage` row if it took long or failed.

    In a thread pool, the figures include all tasks that ran at the same time.
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        # What a task stores is in English; alerts are in LANGUAGE_CODE.
        with (
            translation.override(ENGLISH),
            add_log_context(task=self.request.id or "", task_name=self.name),
        ):
            return self._call_measured(*args, **kwargs)

    def _call_measured(self, *args: Any, **kwargs: Any) -> Any:
        started_at, monitor = timezone.now(), ResourceMonitor()
        succeeded = False
        try:
            with monitor.sample_in_background():
                result = super().__call__(*args, **kwargs)
            succeeded = True
            return result
        finally:
            if monitor.seconds >= MIN_RECORDED_SECONDS or not succeeded:
                self._save_usage(started_at, monitor, succeeded=succeeded)

    def _save_usage(self, started_at: datetime, monitor: ResourceMonitor, *, succeeded: bool) -> None:
        # By name: this module is imported before the models are loaded.
        usages = apps.get_model("ingestion", "TaskUsage")._default_manager
        try:
            usages.create(
                task=self.name, task_id=self.request.id or "", started_at=started_at, succeeded=succeeded,
                seconds=monitor.seconds, cpu_seconds=monitor.cpu_seconds, peak_memory=monitor.peak_memory,
            )  # fmt: skip
        except Error:
            # A task that did its work must not fail because its cost could not be stored.
            logger.warning("task_usage_not_saved task=%s", self.name, exc_info=True)
