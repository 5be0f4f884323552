"""A real Celery worker and Beat start a scheduled run: with Valkey and PostgreSQL, and without both."""

import json
import sys
from typing import Any

import pytest

from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from tests.support.project import Project, wait_for_line

# The entry as if it had been due a while ago and missed; and a look every second instead of every minute.
MAKE_DUE = """
from datetime import time, timedelta
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from ingestion.schedules import CATCH_UP_ENTRY, DAILY_ENTRY, sync_timetable
due = timezone.now() - timedelta(minutes=90)
sync_timetable(time(due.hour, due.minute), "UTC")
PeriodicTask.objects.filter(name=DAILY_ENTRY).update(start_time=due - timedelta(days=2))
every_second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
PeriodicTask.objects.filter(name=CATCH_UP_ENTRY).update(interval=every_second)
print(f"{due:%H:%M}")
"""
RUNS = (
    "import json; from ingestion.models import *; "
    "print(json.dumps(list(IngestionRun.objects.values_list('status', 'trigger', 'received'))))"
)


def runs_of(project: Project) -> list[list[object]]:
    found: list[list[object]] = json.loads(project.shell(RUNS))
    return found


def expected_rows(world: World) -> int:
    return sum(len(world.rows(name)) for name in ("tracks", "users", "listen_history"))


def test_a_scheduled_run_happens_over_valkey_and_postgresql(
    postgres_project: Project, redis_url: str, world: World
) -> None:
    with DemoServer(world) as server:
        due = postgres_project.shell(MAKE_DUE)
        variables: dict[str, Any] = {"REDIS_URL": redis_url, "BASE_URL": server.url, "SCHEDULED_TIME": due}
        celery = (sys.executable, "-m", "celery", "-A", "moovitamix")
        worker = postgres_project.start(*celery, "worker", "-P", "threads", "-c", "2", **variables)
        wait_for_line(worker, "ready.")
        postgres_project.start(*celery, "beat", "--max-interval", "1", **variables)
        wait_for_line(worker, "run_finished")

    assert runs_of(postgres_project) == [["succeeded", "schedule", expected_rows(world)]]


def test_a_scheduled_run_happens_on_sqlite_without_a_broker(sqlite_project: Project, world: World) -> None:
    with DemoServer(world) as server:
        due = sqlite_project.shell(MAKE_DUE)
        worker = sqlite_project.start(
            sys.executable, "-m", "celery", "-A", "moovitamix", "worker", "-B", "-P", "threads", "-c", "2",
            BASE_URL=server.url, SCHEDULED_TIME=due,
        )  # fmt: skip
        wait_for_line(worker, "run_finished")

    assert runs_of(sqlite_project) == [["succeeded", "schedule", expected_rows(world)]]


def test_the_foreground_scheduler_runs_what_is_due_and_stops_on_ctrl_c(
    sqlite_project: Project, world: World
) -> None:
    with DemoServer(world) as server:
        due = sqlite_project.shell(MAKE_DUE)
        scheduler = sqlite_project.start(
            sys.executable, "-c", "from moovitamix.cli import start_pipeline; start_pipeline()",
            BASE_URL=server.url, SCHEDULED_TIME=due,
        )  # fmt: skip
        wait_for_line(scheduler, "succeeded")
        scheduler.send_signal(2)
        said = scheduler.communicate(timeout=600)[0]

    assert scheduler.returncode == 0
    assert "Scheduler stopped." in said
    assert runs_of(sqlite_project) == [["succeeded", "schedule", expected_rows(world)]]


@pytest.mark.parametrize("times", [3])
def test_a_task_that_is_delivered_again_and_again_runs_its_slot_once(
    postgres_project: Project, world: World, times: int
) -> None:
    with DemoServer(world) as server:
        postgres_project.shell(MAKE_DUE)
        code = f"from ingestion.tasks import ingest_due\nprint([ingest_due() for _ in range({times})])"
        said = postgres_project.manage("shell", "--no-imports", "-c", code, BASE_URL=server.url).stdout

    assert said.strip() == "[1, None, None]"


# The source is down at the first two attempts; the clock is put forward to each of them.
RETRIES = """
from datetime import time, timedelta
from django.conf import settings
from django.utils import timezone
from ingestion.models import IngestionRun
from ingestion.schedules import run_due_slot, sync_timetable
from ingestion.services import ingest_now
now = timezone.now()
sync_timetable(time(now.hour, now.minute), "UTC")
from django_celery_beat.models import PeriodicTask
PeriodicTask.objects.update(start_time=now - timedelta(days=2))
good_url, settings.BASE_URL = settings.BASE_URL, "http://127.0.0.1:9"
ended = []
for minutes in (1, 10, 16, 50, 80, 300):
    if minutes == 80:
        settings.BASE_URL = good_url
    at = now + timedelta(minutes=minutes)
    run = run_due_slot(lambda slot: ingest_now(slot=slot, trigger="schedule"), at)
    ended.append(run.status if run else None)
print(*ended, IngestionRun.objects.values("slot").distinct().count())
"""


def test_a_failed_slot_is_tried_again_until_it_succeeds(project: Project, world: World) -> None:
    with DemoServer(world) as server:
        done = project.manage(
            "shell", "--no-imports", "-c", RETRIES, BASE_URL=server.url, SOURCE_ATTEMPTS="1"
        )

    assert done.stdout.strip() == "failed None failed None succeeded None 1"
