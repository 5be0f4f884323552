"""Start a training without waiting for it, and without loading what trains into this process."""

import os
import subprocess
import sys

from celery import current_app
from django.conf import settings

from recommender.models import TrainingRun


def start_training() -> "subprocess.Popen[bytes] | None":
    """By a worker where there is Redis, else in a process of its own; its row says how it goes."""
    if settings.REDIS_URL:
        current_app.send_task("recommender.tasks.retrain_by_hand")
        return None
    # Where this process found the project, the other one finds it too.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "django", "retrain", f"--trigger={TrainingRun.Trigger.ADMIN}"]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
