"""Edits of the ingestion's schedule, as the scheduler follows them over a day, on both databases."""

import json
from typing import Any

import pytest

from tests.support.project import Project

# Polls for 24 hours, every ten minutes and twice each time, as Beat and the catch-up do.
A_DAY = """
import json
from datetime import time, timedelta
from django.test import Client
from django.contrib.auth.models import User
from django.utils import timezone
from django_celery_beat.models import *
from ingestion.jobs.lock import finish_job
from ingestion.models import Incident, IngestionRun
from ingestion.pipeline.run_lifecycle import start_run
from ingestion.schedules import DAILY_ENTRY, run_due_slot, sync_timetable
from moovitamix.settings import WATCHDOG_CHECKS
from django.utils.module_loading import import_string

def ingest(slot):
    run = start_run(trigger="schedule", slot=slot)
    finish_job(run, "succeeded")
    return run

sync_timetable(time(2), "UTC")
start = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
entry = PeriodicTask.objects.get(name=DAILY_ENTRY)
EDIT
entry.start_time = start
entry.save()
for minute in range(0, 24 * 60, 10):
    for _ in range(2):
        run_due_slot(ingest, start + timedelta(minutes=minute, seconds=1))
for path in WATCHDOG_CHECKS:
    if path.endswith("schedules_come_due"):
        import_string(path)(start + timedelta(minutes=1))
staff = Client(headers={"host": "127.0.0.1"})
staff.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
print(json.dumps({
    "runs": IngestionRun.objects.count(),
    "incidents": list(Incident.objects.values_list("kind", flat=True)),
    "page": staff.get("/").status_code,
}))
"""


def live(project: Project, edit: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(project.shell(A_DAY.replace("EDIT", edit)).splitlines()[-1])
    return facts


@pytest.mark.parametrize(
    ("edit", "runs"),
    [
        ("entry.crontab = CrontabSchedule.objects.create(minute='0', hour='*/6')", 4),
        ("entry.crontab, entry.interval = None, IntervalSchedule.objects.create(every=8, period='hours')", 3),
    ],
    ids=["crontab with four times", "interval"],
)
def test_each_due_time_of_an_edited_schedule_runs_once(project: Project, edit: str, runs: int) -> None:
    assert live(project, edit) == {"runs": runs, "incidents": [], "page": 200}


def test_a_schedule_that_never_comes_due_is_an_incident_on_a_new_installation(project: Project) -> None:
    never = "entry.crontab = CrontabSchedule.objects.create(day_of_month='30', month_of_year='2')"

    assert live(project, never) == {"runs": 0, "incidents": ["schedule_never_due"], "page": 200}
