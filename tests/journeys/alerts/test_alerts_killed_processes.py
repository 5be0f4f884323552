"""Alerts about a killed run, Beat or worker, with real processes.

On both databases if several processes share them.
"""

import json
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.support.project import ROOT, Project, wait_for_line
from tests.support.servers.alert_receivers import AlertRecipients

CELERY = (sys.executable, "-m", "celery", "-A", "moovitamix")
NO_WORKER = "No Celery worker is processing tasks"
NO_BEAT = "Celery Beat is not running: no run starts automatically"
# Ten minutes later, as far as the signs of life of these parts tell.
TEN_MINUTES_PASS = """
from datetime import timedelta
from django.db.models import F
from ingestion.models import Heartbeat, HostRound
ten = timedelta(minutes=10)
Heartbeat.objects.filter(part__in={parts}).update(at=F("at") - ten, since=F("since") - ten)
HostRound.objects.update(at=F("at") - ten)
"""
EVERY_SECOND = """
from datetime import time
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from ingestion.schedules import sync_timetable
sync_timetable(time(2), "UTC")
second = IntervalSchedule.objects.create(every=1, period="seconds")
names = ["ingestion.tasks.pulse", "ingestion.tasks.watch"]
PeriodicTask.objects.filter(task__in=names).update(interval=second)
"""
EIGHT_LOOKS = """
from ingestion.tasks import check_health
for _ in range(8):
    check_health.delay()
"""
TICK_ONCE = """
from threading import Event
from moovitamix.background import watchdog_thread as tick
from ingestion.services import run_watchdog
done = Event()
def look(now):
    print(run_watchdog(now).failed)
    done.set()
tick.start_watchdog(look, first_delay=0.0)
assert done.wait(60)
"""
FORGET = """
from datetime import timedelta
from django.utils import timezone
from ingestion.models import IngestionRun, Rejection
from ingestion.services import delete_expired_rows
now = timezone.now()
for days in (800, 799, 1):
    at = now - timedelta(days=days)
    IngestionRun.objects.create(trigger="command", status="succeeded", started_at=at, heartbeat_at=at,
                                finished_at=at, host="here", pid=1, process_started=0.0)
for run, resolved_at in ((1, now - timedelta(days=91)), (2, None)):
    Rejection.objects.create(run_id=run, last_run_id=run, resource="songs", payload="{}", fingerprint=run,
                             reason="no name", resolved_at=resolved_at)
gone = delete_expired_rows(now)
left = sorted(IngestionRun.objects.values_list("pk", flat=True))
print(left, {name: gone[name] for name in ("runs", "rejections")})
"""
# When the thread looked; the task and the command found it done.
ROUND_BEGAN = """
from ingestion.models import Heartbeat, HostRound
began = {pulse.part: pulse.at for pulse in Heartbeat.objects.all()}
print(began["watchdog"] < began["worker"])
"""
COUNT_UNSENT = "from ingestion.alerts.delivery import count_unsent; print(count_unsent())"
THREADS = "import moovitamix.wsgi, threading; print([one.name for one in threading.enumerate()][1:])"


def later(project: Project, *parts: str) -> None:
    """Let ten minutes pass without heartbeats of these components."""
    project.shell(TEN_MINUTES_PASS.format(parts=(*parts, "watchdog")))


def subjects_after_sending(project: Project, people: AlertRecipients) -> list[str]:
    """The new subjects, once no process is still sending: a worker may have found the same incident first."""
    for _ in range(300):
        if project.shell(COUNT_UNSENT) == "0":
            return people.new_subjects()
    pytest.fail("Messages are waiting to be sent, and nobody sends them.")


def found(project: Project, **variables: Any) -> tuple[int, list[str]]:
    """The watchdog's exit code, and the keys of the open incidents."""
    done = project.manage("watchdog", "--json", check=False, **variables)
    facts = json.loads(done.stdout)
    assert facts["failed_checks"] == []
    return done.returncode, [incident["key"] for incident in facts["incidents"]]


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_nothing_alarms_on_a_fresh_clone_nor_after_a_run_by_hand(
    sqlite_project: Project, world: World
) -> None:
    fresh = sqlite_project.manage("watchdog")
    with DemoServer(world) as server:
        sqlite_project.manage("runingest", BASE_URL=server.url)
    later(sqlite_project)

    after = sqlite_project.manage("watchdog")

    assert "no open incidents; 19 checks were made." in fresh.stdout
    assert "no open incidents; 19 checks were made." in after.stdout


def test_a_killed_run_is_told_of_at_once_and_the_next_run_ends_it(
    postgres_project: Project, world: World
) -> None:
    with DemoServer(world) as server:
        killed = postgres_project.start(
            sys.executable, "-m", "tests.support.processes.killed_run", "4", BASE_URL=server.url
        )
        assert killed.wait(600) == -signal.SIGKILL
        told = postgres_project.manage("watchdog", check=False)
        postgres_project.manage("runingest", BASE_URL=server.url)

    assert told.returncode == 1
    assert "The ingestion run stopped before it finished" in told.stdout
    assert "python manage.py runingest" in told.stdout
    assert found(postgres_project) == (0, [])


@pytest.mark.parametrize("broker", ["valkey", "files"])
def test_a_killed_worker_and_a_killed_beat_are_told_of_until_they_are_back(
    broker: str, people: AlertRecipients, request: pytest.FixtureRequest
) -> None:
    project: Project = request.getfixturevalue("postgres_project" if broker == "valkey" else "sqlite_project")
    variables: dict[str, Any] = {
        "REDIS_URL": request.getfixturevalue("redis_url") if broker == "valkey" else ""
    }
    project.environment.update(people.settings())
    project.shell(EVERY_SECOND)

    def start_worker() -> "subprocess.Popen[str]":
        worker = project.start(*CELERY, "worker", "-P", "threads", "-c", "2", **variables)
        wait_for_line(worker, "ready.")
        return worker

    def start_beat() -> "subprocess.Popen[str]":
        beat = project.start(*CELERY, "beat", "--max-interval", "1", **variables)
        wait_for_line(beat, "Sending due task")
        return beat

    worker, beat = start_worker(), start_beat()
    wait_for_line(worker, "succeeded")
    all_well = found(project, **variables)

    kill(worker)
    later(project, "worker")
    without_worker = found(project, **variables)
    told_of_worker = people.new_subjects()

    worker = start_worker()
    wait_for_line(worker, "succeeded")
    kill(beat)
    later(project, "beat")
    without_beat = found(project, **variables)
    told_of_beat = subjects_after_sending(project, people)

    start_beat()
    wait_for_line(worker, "succeeded")
    back = (1, ["nobody has looked"])
    for _ in range(10):
        later(project)
        # A round that the worker has just begun has not ended all incidents yet.
        back = found(project, **variables)
        if back[0] == 0:
            break

    assert all_well == (0, [])
    assert without_worker == (1, ["worker_gone"])
    assert told_of_worker == [f"Critical: {NO_WORKER}"]
    assert without_beat[0] == 1
    assert "beat_dead" in without_beat[1]
    assert f"Critical: {NO_BEAT}" in told_of_beat
    assert back == (0, [])
    assert sorted([*told_of_beat, *subjects_after_sending(project, people)]) == sorted(
        [f"Resolved: {NO_WORKER}", f"Critical: {NO_BEAT}", f"Resolved: {NO_BEAT}"]
    )


def test_of_many_watchdogs_at_once_one_looks_and_one_message_is_sent(project: Project, world: World) -> None:
    with DemoServer(world) as server:
        killed = project.start(
            sys.executable, "-m", "tests.support.processes.killed_run", "4", BASE_URL=server.url
        )
        killed.wait(600)
    command = (sys.executable, str(ROOT / "manage.py"), "watchdog", "--json")

    # Without a mail server mails are printed.
    watchdogs = [project.start(*command, ALERT_EMAILS="ada@example.org") for _ in range(5)]
    said = [watchdog.communicate(timeout=600)[0] for watchdog in watchdogs]

    looked = [json.loads(line)["looked"] for text in said for line in text.splitlines() if line[:2] == '{"']
    # One has the turn of this host, and the same one or another the turn of all hosts.
    assert 1 <= sum(looked) <= 2
    assert (
        "".join(said).count("Subject: [MoovitaMix] Critical: The ingestion run stopped before it finished")
        == 1
    )


def test_what_two_workers_and_three_watchdogs_find_at_once_is_told_once(
    project: Project, people: AlertRecipients, redis_url: str, world: World
) -> None:
    project.environment.update(people.settings(), REDIS_URL=redis_url)
    with DemoServer(world) as server:
        killed = project.start(
            sys.executable, "-m", "tests.support.processes.killed_run", "4", BASE_URL=server.url
        )
        killed.wait(600)
    workers = [
        project.start(*CELERY, "worker", "-n", f"{name}@here", "-P", "threads", "-c", "4") for name in "ab"
    ]
    for worker in workers:
        wait_for_line(worker, "ready.")

    taken = threading.Semaphore(0)

    def count(worker: "subprocess.Popen[str]") -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            if "ingestion.tasks.watch" in line and "succeeded" in line:
                taken.release()

    for worker in workers:
        threading.Thread(target=count, args=(worker,), daemon=True).start()
    watchdogs = [project.start(sys.executable, str(ROOT / "manage.py"), "watchdog") for _ in range(3)]
    # As after a broker that lost an answer: the same task comes again and again.
    project.shell(EIGHT_LOOKS)

    assert [taken.acquire(timeout=600) for _ in range(8)] == [True] * 8
    assert {watchdog.wait(60) for watchdog in watchdogs} <= {0, 1}
    assert people.new_subjects() == ["Critical: The ingestion run stopped before it finished"]


def test_what_is_old_is_forgotten_on_both_databases(project: Project) -> None:
    assert project.shell(FORGET) == "[2, 3] {'runs': 1, 'rejections': 1}"


def test_a_web_process_looks_too_unless_it_is_told_not_to(sqlite_project: Project) -> None:
    with_it = sqlite_project.shell(THREADS)
    without = sqlite_project.manage(
        "shell", "--no-imports", "-c", THREADS, WATCHDOG_IN_WEB="false"
    ).stdout.strip()

    looked = sqlite_project.shell(TICK_ONCE)
    sqlite_project.shell("from ingestion.tasks import check_health; check_health()")
    command = json.loads(sqlite_project.manage("watchdog", "--json").stdout)

    assert (with_it, without) == ("['watchdog']", "[]")
    assert looked == "()"
    # The thread, Beat's task and the command make one round a minute together.
    assert command["looked"] is False
    assert sqlite_project.shell(ROUND_BEGAN) == "True"


def test_a_watchdog_that_looks_again_and_again_ends_on_sigterm(sqlite_project: Project) -> None:
    process = sqlite_project.start(sys.executable, str(ROOT / "manage.py"), "watchdog", "--every", "0.1")
    wait_for_line(process, "19 checks were made")
    wait_for_line(process, "checked within the last minute")

    process.send_signal(signal.SIGTERM)

    assert process.wait(600) == 0
