"""Stale data opens an incident if runs are scheduled or regular."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django_celery_beat.models import PeriodicTask

from ingestion.models import Incident, IngestionRun, Listener, ListeningHistory
from ingestion.monitoring.checks.freshness import data_fresh
from ingestion.schedules import DAILY_ENTRY, sync_timetable
from tests.support.builders.finished_runs import make_finished_run

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
ALL = ("songs", "users", "listening_history")


def run_on(day: float, *, new: int = 4, resources: tuple[str, ...] = ALL, **fields: Any) -> IngestionRun:
    reports = {name: {"received": 10, "new": new} for name in resources}
    return make_finished_run(day, reports=reports, **fields)


def end_of(run: IngestionRun) -> datetime:
    assert run.finished_at is not None
    return run.finished_at


def found() -> dict[str, str]:
    return dict(Incident.objects.filter(resolved_at=None).values_list("key", "severity"))


def listen(at: datetime) -> None:
    listener, _ = Listener.objects.get_or_create(id=1, defaults={"created_at": at, "updated_at": at})
    ListeningHistory.objects.create(user=listener, items=[1], created_at=at, updated_at=at)


def test_where_nothing_was_ever_read_nothing_is_old() -> None:
    sync_timetable(time(2), "UTC")

    data_fresh(end_of(make_finished_run(0, status="failed", error="x", error_kind="x")) + 100 * HOUR)

    assert found() == {}


def test_data_that_was_read_by_hand_once_may_get_old() -> None:
    run = run_on(0)

    data_fresh(end_of(run) + 1000 * HOUR)

    assert found() == {}


@pytest.mark.parametrize(
    ("hours", "severity"), [(25.9, None), (26.1, "warning"), (77.9, "warning"), (78.1, "critical")]
)
def test_each_table_that_nothing_brought_in_for_too_long_is_told_of(
    hours: float, severity: str | None
) -> None:
    sync_timetable(time(2), "UTC")
    run = run_on(0)

    data_fresh(end_of(run) + hours * HOUR)

    wanted = dict.fromkeys((f"data_stale:{name}" for name in ALL), severity) if severity else {}
    assert found() == wanted


def test_its_age_is_that_of_the_last_run_that_took_rows_in() -> None:
    sync_timetable(time(2), "UTC")
    run = run_on(0)
    run_on(1, dry_run=True)
    run_on(2, status="failed", error="x", error_kind="x")

    data_fresh(end_of(run) + 60 * HOUR)

    incident = Incident.objects.get(key="data_stale:songs")
    assert incident.facts == {
        "age_hours": 60.0, "limit_hours": 26.0, "brought_in_at": "2026-09-01T02:01:00+00:00",
    }  # fmt: skip


def test_one_table_alone_may_be_old_and_the_run_that_brings_it_in_ends_it() -> None:
    sync_timetable(time(2), "UTC")
    run_on(0)
    second = run_on(2, resources=("songs", "users"))
    data_fresh(end_of(second) + HOUR)
    old = list(found())
    third = run_on(3)

    data_fresh(end_of(third) + HOUR)

    assert old == ["data_stale:listening_history"]
    assert found() == {}
    assert Incident.objects.get().resolved_by_run == third


def test_without_a_timetable_runs_on_three_days_of_a_week_are_a_habit_that_is_missed() -> None:
    for day in (0, 2, 3):
        last = run_on(day)
    data_fresh(end_of(last) + 27 * HOUR)
    with_habit = list(found())
    IngestionRun.objects.exclude(pk=last.pk).delete()

    data_fresh(end_of(last) + 28 * HOUR)

    assert len(with_habit) == 3
    assert found() == {}


def test_a_schedule_that_was_switched_off_is_named_as_the_reason() -> None:
    sync_timetable(time(2), "UTC")
    for day in (0, 1, 2):
        last = run_on(day)
    PeriodicTask.objects.filter(name=DAILY_ENTRY).update(enabled=False)

    data_fresh(end_of(last) + 27 * HOUR)

    assert Incident.objects.get(key="data_stale:users").facts["reason"] == "switched_off"


def test_songs_that_never_change_are_not_old_while_runs_bring_them_in() -> None:
    sync_timetable(time(2), "UTC")
    for day in range(30):
        last = run_on(day, new=4 if day == 0 else 0)

    data_fresh(end_of(last) + HOUR)

    assert found() == {}


def test_listening_that_stopped_at_the_source_is_a_warning_after_three_times_the_limit() -> None:
    sync_timetable(time(2), "UTC")
    first, second = run_on(0), run_on(1)
    listen(end_of(first) - HOUR)
    listen(end_of(second) - HOUR)
    for day in range(2, 6):
        last = run_on(day, new=0)

    data_fresh(end_of(second) + 76 * HOUR)
    early = found()
    data_fresh(end_of(last) + HOUR)

    assert early == {}
    assert found() == {"data_stale:listening_history": "warning"}
    facts = Incident.objects.get().facts
    assert facts["newest_at"] == "2026-09-02T01:01:00+00:00"
    assert facts["limit_hours"] == 78.0


def test_a_session_from_the_future_does_not_hide_that_listening_stopped() -> None:
    sync_timetable(time(2), "UTC")
    first, second = run_on(0), run_on(1)
    listen(end_of(first) - HOUR)
    listen(datetime(2999, 1, 1, tzinfo=UTC))
    listen(end_of(second) - HOUR)
    for day in range(2, 6):
        last = run_on(day, new=0)

    data_fresh(end_of(second) + 76 * HOUR)
    early = found()
    data_fresh(end_of(last) + HOUR)

    assert early == {}
    assert found() == {"data_stale:listening_history": "warning"}
    facts = Incident.objects.get().facts
    assert facts["newest_at"] == "2026-09-02T01:01:00+00:00"
    assert facts["limit_hours"] == 78.0


def test_a_source_whose_listening_never_grew_is_let_be() -> None:
    sync_timetable(time(2), "UTC")
    listen(end_of(run_on(0)) - 1000 * HOUR)
    for day in range(1, 10):
        last = run_on(day, new=0)

    data_fresh(end_of(last) + HOUR)

    assert found() == {}
