"""The Celery app. Beat's schedule is in the database: see background/beat_scheduler.py."""

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init
from django.core.exceptions import ImproperlyConfigured
from kombu import Connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")


class MoovitaMixCelery(Celery):
    """Celery app that creates the broker's folders if Redis is not configured."""

    def connection_for_read(self, url: str | None = None, **kwargs: Any) -> Connection:
        self._create_folders()
        return super().connection_for_read(url, **kwargs)

    def connection_for_write(self, url: str | None = None, **kwargs: Any) -> Connection:
        self._create_folders()
        return super().connection_for_write(url, **kwargs)

    def _create_folders(self) -> None:
        if self.conf.broker_url == "filesystem://":
            for folder in self.conf.broker_transport_options.values():
                Path(folder).mkdir(parents=True, exist_ok=True)


app = MoovitaMixCelery("moovitamix", task_cls="moovitamix.background.measured_task:MeasuredTask")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def prepare_process(**_: Any) -> None:
    """Refuse unsafe settings before the first task, as `manage.py` does, and limit statements."""
    # Imported here, because Django loads this module before it reads the settings.
    from moovitamix.backends.database_limits import limit_task_statements  # noqa: PLC0415
    from moovitamix.checks import require_safe_settings  # noqa: PLC0415

    try:
        require_safe_settings()
    except ImproperlyConfigured as error:
        # Celery would only log an exception of a signal handler.
        raise SystemExit(str(error)) from None
    limit_task_statements()
