"""A schedule that never comes due is an incident, also on a new installation."""

from datetime import UTC, datetime, time
from typing import Any

import pytest
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from ingestion.models import Incident
from ingestion.monitoring.checks.schedules import schedules_come_due
from ingestion.schedules import DAILY_ENTRY, sync_timetable

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 29, 9, 20, tzinfo=UTC)


def open_incidents() -> list[tuple[str, Any, Any]]:
    found = Incident.objects.filter(resolved_at=None)
    return [(one.severity, one.facts["entry"], one.facts["reason"]) for one in found]


def change(name: str = DAILY_ENTRY, **fields: Any) -> None:
    assert PeriodicTask.objects.filter(name=name).update(**fields)


def test_a_new_installation_and_one_without_a_scheduler_have_no_incident() -> None:
    schedules_come_due(NOW)
    sync_timetable(time(2), "UTC")
    schedules_come_due(NOW)

    assert open_incidents() == []


def test_an_ingestion_that_never_comes_due_is_critical_until_its_schedule_is_corrected() -> None:
    sync_timetable(time(2), "UTC")
    daily = PeriodicTask.objects.get(name=DAILY_ENTRY)
    change(crontab=CrontabSchedule.objects.create(minute="0", hour="2", day_of_month="31", month_of_year="2"))
    schedules_come_due(NOW)
    found = open_incidents()
    change(crontab=daily.crontab)

    schedules_come_due(NOW)

    assert found == [("critical", DAILY_ENTRY, "never_matches")]
    assert open_incidents() == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"one_off": True}, "runs_once"), ({"expires": NOW}, "expired"), ({"crontab": None}, "no_schedule")],
)
def test_each_cause_is_named(fields: dict[str, Any], reason: str) -> None:
    sync_timetable(time(2), "UTC")
    change(**fields)

    schedules_come_due(NOW)

    assert open_incidents() == [("critical", DAILY_ENTRY, reason)]


def test_a_missing_ingestion_entry_is_critical_and_a_disabled_one_is_a_choice() -> None:
    sync_timetable(time(2), "UTC")
    change(enabled=False)
    schedules_come_due(NOW)
    disabled = open_incidents()
    PeriodicTask.objects.filter(name=DAILY_ENTRY).delete()

    schedules_come_due(NOW)

    assert disabled == []
    assert open_incidents() == [("critical", DAILY_ENTRY, "entry_missing")]


def test_another_task_that_never_comes_due_is_a_warning_that_links_to_it() -> None:
    sync_timetable(time(2), "UTC")
    change("Forget what is old every day", expires=NOW)

    schedules_come_due(NOW)

    entry = PeriodicTask.objects.get(name="Forget what is old every day")
    assert open_incidents() == [("warning", entry.name, "expired")]
    assert Incident.objects.get().link == f"/admin/django_celery_beat/periodictask/{entry.pk}/change/"
