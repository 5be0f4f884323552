"""The service as it is deployed: `serve` and `work` with the packages of the runtime lock and no others."""

import json
import re
import signal
import socket
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import requests
from packaging.requirements import Requirement

from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.support.project import ROOT, Project, wait_for_line

# The daily entry as if its time had passed, and a look every second instead of every minute.
MAKE_DUE = """
from datetime import time, timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from ingestion.schedules import CATCH_UP_ENTRY, DAILY_ENTRY, sync_timetable
from recommender.api.authentication import issue_key
due = timezone.now() - timedelta(minutes=90)
sync_timetable(time(due.hour, due.minute), "UTC")
PeriodicTask.objects.filter(name=DAILY_ENTRY).update(start_time=due - timedelta(days=2))
every_second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
PeriodicTask.objects.filter(name=CATCH_UP_ENTRY).update(interval=every_second)
print(f"{due:%H:%M}", issue_key("app", User.objects.create_user("app"))[1])
"""
# A line of the lock: name, version and, for some, a condition.
PIN = re.compile(r"^([A-Za-z0-9].*?) \\$", re.MULTILINE)


@pytest.fixture(scope="module")
def runtime_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that can import what requirements.lock names, linked from this environment, and no more."""
    folder = tmp_path_factory.mktemp("runtime")
    venv.EnvBuilder(symlinks=True).create(folder)
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder)}))
    pins = map(Requirement, PIN.findall((ROOT / "requirements.lock").read_text()))
    for name in (pin.name for pin in pins if pin.marker is None or pin.marker.evaluate()):
        package = distribution(name)
        for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            link = site / top
            if not link.exists():
                link.symlink_to(Path(str(package.locate_file(top))).resolve())
    return str(folder / "bin" / "python")


@contextmanager
def running_service(project: Project, python: str, **variables: Any) -> Iterator[tuple[str, Any]]:
    """The web server's address and the worker; both must end by themselves when they are asked to."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    manage = (python, str(ROOT / "manage.py"))
    web = project.start(*manage, "serve", f"--port={port}", **variables)
    worker = project.start(*manage, "work", **variables)
    wait_for_line(web, "Listening at")
    yield f"http://127.0.0.1:{port}", worker
    for process in (web, worker):
        process.send_signal(signal.SIGTERM)
    for process in (web, worker):
        process.communicate(timeout=600)
        assert process.returncode == 0


def live_a_day(project: Project, world: World, python: str, **variables: Any) -> dict[str, Any]:
    """An import and a training by the worker, then a list and feedback through the API."""
    due, key = project.shell(MAKE_DUE).split()
    wanted = {"SCHEDULED_TIME": due, "EXPECTED_PARTS": "beat,worker,watchdog", **variables}
    with DemoServer(world) as source, requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        with running_service(project, python, BASE_URL=source.url, **wanted) as (web, worker):
            wait_for_line(worker, "run_finished")
            train = "from recommender.tasks import train_weekly; train_weekly.delay()"
            project.manage("shell", "--no-imports", "-c", train, **variables)
            wait_for_line(worker, "training_finished")
            users = f"{web}/api/v1/users/"
            listener = session.get(users, timeout=120).json()["results"][0]["id"]
            answer = session.get(f"{users}{listener}/recommendations/", timeout=120)
            served = answer.json()
            event = {
                "event_id": "a", "user_id": listener, "kind": "like",
                "song_id": served["items"][0]["song"]["id"],
                "recommendation_id": served["recommendation_id"],
            }  # fmt: skip
            sent = session.post(f"{web}/api/v1/feedback/", json=event, timeout=120)
            ready = session.get(f"{web}/health/ready/", timeout=120)
    return {
        "arm": served["arm"], "feedback": sent.status_code, "ready": ready.json(),
        "runs": json.loads(project.shell(
            "import json; from ingestion.models import *; "
            "print(json.dumps(list(IngestionRun.objects.values_list('status', 'trigger'))))"
        )),
    }  # fmt: skip


def test_a_day_on_postgresql_with_redis(
    postgres_project: Project, world: World, runtime_python: str, redis_url: str
) -> None:
    found = live_a_day(postgres_project, world, runtime_python, REDIS_URL=redis_url)

    assert found["ready"]["status"] == "ok"
    assert (found["runs"], found["arm"], found["feedback"]) == ([["succeeded", "schedule"]], "champion", 201)


def test_sqlite_and_a_broker_of_files_need_no_other_package(
    sqlite_project: Project, runtime_python: str
) -> None:
    """That a scheduled run happens with both is tested in test_scheduled_run.py."""
    code = "from moovitamix.celery import app; app.connection_for_write().connect(); print('connected')"

    done = subprocess.run(
        [runtime_python, str(ROOT / "manage.py"), "shell", "--no-imports", "-c", code],
        env=sqlite_project.environment, cwd=sqlite_project.folder, check=False, capture_output=True,
        text=True,
    )  # fmt: skip

    assert (done.stdout, done.returncode) == ("connected\n", 0), done.stderr
