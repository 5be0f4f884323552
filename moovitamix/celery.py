"""The Celery app."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
app = Celery("moovitamix")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
