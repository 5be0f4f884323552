"""Ctrl-C, SIGTERM and SIGHUP end a run as stopped, without an alert; a scheduled day runs again."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.journeys.ingestion.test_scheduled_run import MAKE_DUE
from tests.support.project import ROOT, Project, wait_for_line

FACTS = (
    "from ingestion.models import *; import json; print(json.dumps({"
    "'songs': Song.objects.count(), 'incidents': Incident.objects.count(),"
    "'runs': list(IngestionRun.objects.order_by('id').values_list('status', 'error_kind', 'slot'))}))"
)
CELERY = (sys.executable, "-m", "celery", "-A", "moovitamix", "worker", "-B", "-s", "beat")


@pytest.fixture
def slow_server() -> Iterator[DemoServer]:
    with DemoServer(World(songs=300, listeners=250, days=30), latency=0.5) as server:
        yield server


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_run_as_stopped_and_json_says_by_which(
    project: Project, slow_server: DemoServer, name: str
) -> None:
    process = project.start(
        sys.executable, str(ROOT / "manage.py"), "runingest", "--json", BASE_URL=slow_server.url
    )
    said = wait_for_line(process, "reading songs")
    process.send_signal(getattr(signal, name))
    said += process.communicate(timeout=600)[0]

    told = json.loads(said.splitlines()[-1])
    facts = json.loads(project.shell(FACTS))
    assert process.returncode == 5
    assert (told["status"], told["exit_code"], told["error_kind"]) == ("stopped", 5, name)
    assert told["error"].startswith("Stopped by " + ("Ctrl-C" if name == "SIGINT" else name))
    assert "Traceback" not in said
    assert facts == {"songs": 0, "incidents": 0, "runs": [["stopped", name, ""]]}


def test_sigterm_stops_the_foreground_scheduler_with_its_run_and_the_day_runs_again(
    sqlite_project: Project, slow_server: DemoServer, world: World
) -> None:
    due = sqlite_project.shell(MAKE_DUE)
    command = (sys.executable, str(ROOT / "manage.py"), "runscheduler")
    variables: dict[str, Any] = {"BASE_URL": slow_server.url, "SCHEDULED_TIME": due}
    scheduler = sqlite_project.start(*command, **variables)
    wait_for_line(scheduler, "reading songs")
    scheduler.send_signal(signal.SIGTERM)
    said = scheduler.communicate(timeout=600)[0]
    with DemoServer(world) as server:
        again = sqlite_project.start(*command, **variables | {"BASE_URL": server.url})
        wait_for_line(again, "succeeded")

    facts = json.loads(sqlite_project.shell(FACTS))
    assert "Scheduler stopped." in said
    assert scheduler.returncode == 0
    assert [run[0] for run in facts["runs"]] == ["stopped", "succeeded"]
    assert facts["runs"][0][2] == facts["runs"][1][2] != ""
    assert facts["incidents"] == 0


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_is_asked_to_shut_down_stops_its_run(
    sqlite_project: Project, slow_server: DemoServer, pool: str
) -> None:
    due = sqlite_project.shell(MAKE_DUE)
    schedule = str(sqlite_project.folder / "beat")
    worker = sqlite_project.start(
        *CELERY[:-1], schedule, "-P", pool, "-c", "2", BASE_URL=slow_server.url, SCHEDULED_TIME=due
    )
    wait_for_line(worker, "run_started")
    os.kill(worker.pid, signal.SIGTERM)
    worker.communicate(timeout=600)

    facts = json.loads(sqlite_project.shell(FACTS))
    assert [run[0] for run in facts["runs"]] == ["stopped"]
    assert facts["incidents"] == 0
