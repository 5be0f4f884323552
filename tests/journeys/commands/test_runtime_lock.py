"""The service as it is deployed: `serve` and `work` with the packages of the runtime lock and no others."""

import json
import os
import re
import signal
import socket
import subprocess
import sysconfig
import threading
import venv
from importlib.metadata import distribution
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
import requests
from packaging.requirements import Requirement

from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.support.project import ROOT, Project, wait_for_line

Process = subprocess.Popen[str]
# The daily entry as if its time had passed, and a look every second instead of every minute.
MAKE_DUE = """
from datetime import time, timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from ingestion.schedules import CATCH_UP_ENTRY, DAILY_ENTRY, sync_timetable
from recommender.api.authentication import issue_key
due = timezone.now() - timedelta(minutes={minutes})
sync_timetable(time(due.hour, due.minute), "UTC")
PeriodicTask.objects.filter(name=DAILY_ENTRY).update(start_time=due - timedelta(days=2))
every_second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
PeriodicTask.objects.filter(name=CATCH_UP_ENTRY).update(interval=every_second)
print(due.strftime("%H:%M"), issue_key("app", User.objects.get_or_create(username="app")[0])[1])
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


class Fleet:
    """Web servers and workers with Beat, and what the workers print."""

    def __init__(self, project: Project, python: str, variables: dict[str, Any]) -> None:
        self._project = project
        self._manage = (python, str(ROOT / "manage.py"))
        self._variables = variables
        self._lines: Queue[tuple[Process, str]] = Queue()
        self._seen: list[str] = []
        self.webs: dict[str, Process] = {}
        self.workers: list[Process] = []

    def start(self, size: int) -> None:
        for _ in range(size):
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            web = self._project.start(*self._manage, "serve", f"--port={port}", **self._variables)
            worker = self._project.start(*self._manage, "work", **self._variables)
            threading.Thread(target=self._read, args=[worker], daemon=True).start()
            wait_for_line(web, "Listening at")
            self.webs[f"http://127.0.0.1:{port}"] = web
            self.workers.append(worker)

    def wait_for_worker(self, text: str) -> Process:
        """The worker that prints this line next."""
        while True:
            try:
                worker, line = self._lines.get(timeout=300)
            except Empty:
                pytest.fail(f"No worker printed {text!r}. All lines before:\n{''.join(self._seen)}")
            self._seen.append(f"{worker.pid} {line}")
            if text in line:
                return worker

    def kill(self, web: str, worker: Process) -> None:
        """Kill all their processes, as a power cut does."""
        for process in (self.webs.pop(web), worker):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.workers.remove(worker)

    def stop(self) -> None:
        """Send SIGTERM to all, and require that each ends by itself."""
        processes = [*self.webs.values(), *self.workers]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(timeout=600)
        assert [process.returncode for process in processes] == [0] * len(processes)

    def _read(self, worker: Process) -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            self._lines.put((worker, line))


COUNT = """
import json
from ingestion.models import IngestionRun, ListeningHistory
from recommender.models import Feedback, TrainingRun
runs = IngestionRun.objects.order_by("id")
print(json.dumps({
    "runs": list(runs.values_list("status", "trigger")), "slots": runs.values("slot").distinct().count(),
    "sessions": ListeningHistory.objects.count(), "trainings": TrainingRun.objects.count(),
    "feedback": Feedback.objects.count(),
}))
"""


def like_a_song(session: requests.Session, web: str, listener: int, event_id: str) -> int:
    """The status of the answer, from a list for this listener."""
    served = session.get(f"{web}/api/v1/users/{listener}/recommendations/", timeout=120).json()
    event = {
        "event_id": event_id, "user_id": listener, "kind": "like",
        "song_id": served["items"][0]["song"]["id"], "recommendation_id": served["recommendation_id"],
    }  # fmt: skip
    assert served["arm"] == "champion"
    # Sent twice, as an app does that got no answer.
    url = f"{web}/api/v1/feedback/"
    return max(session.post(url, json=event, timeout=120).status_code for _ in range(2))


def test_two_servers_and_two_workers_of_which_one_each_is_killed_lose_and_double_nothing(
    postgres_project: Project, world: World, runtime_python: str, redis_url: str
) -> None:
    due, key = postgres_project.shell(MAKE_DUE.format(minutes=90)).split()
    variables: dict[str, Any] = {
        "REDIS_URL": redis_url,
        "SCHEDULED_TIME": due,
        "EXPECTED_PARTS": "beat,worker,watchdog",
    }
    with DemoServer(world) as source, requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        fleet = Fleet(postgres_project, runtime_python, {**variables, "BASE_URL": source.url})

        fleet.start(2)
        active = fleet.wait_for_worker("beat_lease_taken")
        fleet.wait_for_worker("run_finished")
        train = "from recommender.tasks import train_weekly; train_weekly.delay()"
        postgres_project.manage("shell", "--no-imports", "-c", train, **variables)
        fleet.wait_for_worker("training_finished")
        first, second = fleet.webs
        listener = session.get(f"{first}/api/v1/users/", timeout=120).json()["results"][0]["id"]
        sent = [like_a_song(session, first, listener, "a")]

        fleet.kill(first, active)
        postgres_project.shell(MAKE_DUE.format(minutes=60))
        fleet.wait_for_worker("run_finished")
        sent.append(like_a_song(session, second, listener, "b"))
        ready = session.get(f"{second}/health/ready/", timeout=120).json()
        fleet.stop()

    assert sent == [201, 201]
    assert ready["status"] == "ok"
    assert json.loads(postgres_project.shell(COUNT)) == {
        "runs": [["succeeded", "schedule"]] * 2, "slots": 2, "trainings": 1, "feedback": 2,
        "sessions": len(world.rows("listen_history")),
    }  # fmt: skip


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
