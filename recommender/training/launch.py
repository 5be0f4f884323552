"""Starts a training outside this process, so that a web worker never loads the training code."""

import os
import subprocess
import sys

from celery import current_app
from django.conf import settings

from recommender.models import TrainingRun


def start_training() -> "subprocess.Popen[bytes] | None":
    """Start a training in a worker if Redis is configured, else in a new process; does not wait."""
    if settings.REDIS_URL:
        current_app.send_task("recommender.tasks.retrain_by_hand")
        return None
    # The new process may start in another folder, so it needs the same import path.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "django", "retrain", f"--trigger={TrainingRun.Trigger.ADMIN}"]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
