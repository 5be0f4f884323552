"""SIGKILL at any moment: committed rows are complete, and the next run imports the rest."""

import json
import random
import signal
import sys
from collections.abc import Iterator

import pytest

from benchmarks.imports.random_sources.kill_rounds import KillRounds
from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.support.project import ROOT, Project, wait_for_line

COUNT = (
    "from ingestion.models import *; import json; print(json.dumps({"
    "'songs': Song.objects.count(), 'users': Listener.objects.count(),"
    "'sessions': ListeningHistory.objects.count(),"
    "'orphans': ListeningHistory.objects.filter(user=None).count(),"
    "'runs': list(IngestionRun.objects.order_by('id').values_list('status', flat=True))}))"
)


@pytest.fixture(scope="module")
def big_world() -> World:
    # More than one transaction's worth of sessions.
    return World(songs=300, listeners=250, days=60)


@pytest.fixture
def server(big_world: World) -> Iterator[DemoServer]:
    with DemoServer(big_world) as server:
        yield server


def killed_at(project: Project, url: str, step: int) -> bool:
    """Start a run that kills itself at this step; False when it had ended before."""
    process = project.start(
        sys.executable, "-m", "tests.support.processes.killed_run", str(step), BASE_URL=url
    )
    said = process.communicate(timeout=600)[0]
    assert process.returncode in {0, -signal.SIGKILL}, said
    return process.returncode == -signal.SIGKILL


def test_a_run_killed_at_any_step_is_finished_by_the_next(
    project: Project, server: DemoServer, big_world: World
) -> None:
    statuses: list[str] = []
    whole = {"songs": len(big_world.rows("tracks")), "users": len(big_world.rows("users"))}

    # Each step begins where the last death left the database; the steps grow past a whole run's.
    for step in (1, 3, 9, 20, 90, 110, 113, 115, 117, 119, 121):
        died = killed_at(project, server.url, step)
        found = json.loads(project.shell(COUNT))

        assert found["orphans"] == 0
        assert found["songs"] in {0, whole["songs"]}
        assert found["users"] in {0, whole["users"]}
        assert found["sessions"] % 5_000 == 0 or found["sessions"] == len(big_world.rows("listen_history"))
        statuses = found["runs"]
        assert died or statuses[-1] == "succeeded"

    done = json.loads(project.manage("runingest", "--json", BASE_URL=server.url).stdout)
    again = json.loads(project.manage("runingest", "--json", BASE_URL=server.url).stdout)

    assert statuses.count("abandoned") >= 7
    assert done["status"] == "succeeded"
    assert json.loads(project.shell(COUNT))["sessions"] == len(big_world.rows("listen_history"))
    assert sum(resource["written"] for resource in again["resources"].values()) == 0


def test_killed_runs_of_a_changing_source_lose_double_and_keep_no_row(project: Project) -> None:
    # A short form of `python -m benchmarks proof --kills 100`, which also kills by the clock.
    summary = KillRounds(project, random.Random(5), by_clock=False).run(3)

    assert summary.problems == []
    assert summary.kills >= 2
    assert summary.statuses["succeeded"] >= 1


def test_a_run_by_hand_reads_everything_itself_after_a_killed_run(
    sqlite_project: Project, server: DemoServer
) -> None:
    process = sqlite_project.start(sys.executable, str(ROOT / "manage.py"), "runingest", BASE_URL=server.url)
    wait_for_line(process, "reading listening history")
    process.kill()
    process.communicate()
    server.requests.clear()

    facts = json.loads(sqlite_project.manage("runingest", "--json", BASE_URL=server.url).stdout)

    assert not any(resource["resumed"] for resource in facts["resources"].values())
    assert {resource for resource, _, _ in server.requests} == {"tracks", "users", "listen_history"}
    assert facts["status"] == "succeeded"


def test_of_two_runs_at_once_the_second_ends_with_3_and_says_who_holds_the_lock(
    project: Project, big_world: World
) -> None:
    with DemoServer(big_world, latency=0.3) as slow:
        first = project.start(sys.executable, str(ROOT / "manage.py"), "runingest", BASE_URL=slow.url)
        wait_for_line(first, "reading songs")
        second = project.manage("runingest", "--json", check=False, BASE_URL=slow.url)
        first.communicate(timeout=600)

    facts = json.loads(second.stdout)
    assert (second.returncode, facts["status"], facts["exit_code"]) == (3, "locked", 3)
    assert f"process {first.pid}" in facts["error"]
    assert "since 20" in facts["error"]
    assert first.returncode == 0
