"""When a run is due: slots, both daylight-saving changes, missed slots, and edits of the schedule."""

import logging
from datetime import UTC, datetime, time, timedelta
from threading import Event
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from ingestion.due_times import latest_due_at
from ingestion.jobs.lock import finish_job
from ingestion.models import IngestionRun
from ingestion.pipeline import run_lifecycle
from ingestion.schedules import (
    DAILY_ENTRY,
    due_slot,
    next_due,
    run_due_slot,
    run_scheduler,
    sync_timetable,
)

pytestmark = pytest.mark.django_db

PARIS = ZoneInfo("Europe/Paris")


def at(text: str, zone: ZoneInfo = PARIS) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def crontab(hour: int, minute: int = 0, zone: str = "Europe/Paris", **fields: str) -> CrontabSchedule:
    return CrontabSchedule(hour=str(hour), minute=str(minute), timezone=ZoneInfo(zone), **fields)


def schedule(hour: int = 2, zone: str = "UTC") -> PeriodicTask:
    """The daily entry, as if it had been there for a week."""
    sync_timetable(time(hour), zone)
    PeriodicTask.objects.filter(name=DAILY_ENTRY).update(start_time=timezone.now() - timedelta(days=3650))
    entry: PeriodicTask = PeriodicTask.objects.get(name=DAILY_ENTRY)
    return entry


def finished(slot: str, status: str = "succeeded") -> IngestionRun:
    run = run_lifecycle.start_run(trigger=IngestionRun.Trigger.SCHEDULE, slot=slot)
    finish_job(run, status, error_kind="" if status == "succeeded" else "x")
    return run


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-11-23T01:59:59", "2026-11-22T02:00+01:00"),
        ("2026-11-23T02:00:00", "2026-11-23T02:00+01:00"),
        ("2026-11-23T23:00:00", "2026-11-23T02:00+01:00"),
    ],
)
def test_the_latest_due_time_is_today_s_or_yesterday_s(now: str, due: str) -> None:
    assert latest_due_at(crontab(2), at(now)) == datetime.fromisoformat(due)


def test_where_two_o_clock_does_not_exist_the_run_is_due_at_three() -> None:
    before = latest_due_at(crontab(2), datetime(2026, 3, 29, 0, 59, tzinfo=UTC))
    after = latest_due_at(crontab(2), datetime(2026, 3, 29, 1, 0, tzinfo=UTC))

    assert before == datetime(2026, 3, 28, 1, 0, tzinfo=UTC)
    assert after == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert after is not None
    assert f"{after.astimezone(PARIS):%H:%M}" == "03:00"


def test_where_two_o_clock_comes_twice_the_run_is_due_once() -> None:
    moments = [datetime(2026, 10, 24, 23, tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(12)]

    dues = {latest_due_at(crontab(2), now) for now in moments}

    assert dues == {datetime(2026, 10, 24, 0, 0, tzinfo=UTC), datetime(2026, 10, 25, 0, 0, tzinfo=UTC)}


@pytest.mark.slow
def test_seventeen_days_of_ticks_around_a_clock_change_run_every_day_once() -> None:
    schedule(2, "Europe/Paris")
    started: list[str] = []

    def ingest(slot: str) -> IngestionRun:
        started.append(slot)
        return finished(slot)

    now = at("2026-03-20T00:00").astimezone(UTC)
    for tick in range(2 * 24 * 17):
        run_due_slot(ingest, now + timedelta(minutes=30 * tick))

    # From the 19th, of which the first look is less than twelve hours late... it is 22 hours late.
    winter = [f"2026-03-{day} 02:00 CET" for day in range(20, 29)]
    summer = ["2026-03-29 03:00 CEST", *(f"2026-03-{day} 02:00 CEST" for day in (30, 31))]
    assert started == [*winter, *summer, *(f"2026-04-{day:02} 02:00 CEST" for day in range(1, 6))]


def test_a_weekly_entry_is_due_on_its_day() -> None:
    mondays = crontab(2, day_of_week="1")

    assert latest_due_at(mondays, at("2026-11-29T12:00")) == at("2026-11-23T02:00")


@pytest.mark.parametrize("status", ["succeeded", "partial", "refused"])
def test_a_slot_that_had_its_run_is_not_due_again(status: str) -> None:
    schedule()
    now = datetime(2026, 11, 23, 3, tzinfo=UTC)
    assert due_slot(now) == "2026-11-23 02:00 UTC"

    finished("2026-11-23 02:00 UTC", status)

    assert due_slot(now) is None


def fail(slot: str, at: datetime, status: str = "failed", error_kind: str = "connection") -> None:
    run = run_lifecycle.start_run(trigger=IngestionRun.Trigger.SCHEDULE, slot=slot)
    finish_job(run, status, error_kind=error_kind)
    IngestionRun.objects.filter(pk=run.pk).update(finished_at=at)


@pytest.mark.parametrize(("status", "kind"), [("failed", "connection"), ("partial", "source_incomplete")])
def test_a_failed_slot_is_due_again_with_growing_pauses(status: str, kind: str) -> None:
    schedule()
    slot, ended = "2026-11-23 02:00 UTC", datetime(2026, 11, 23, 2, 10, tzinfo=UTC)

    for pause in (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=3)):
        fail(slot, ended, status, kind)
        assert due_slot(ended + pause - timedelta(seconds=1)) is None
        assert next_due(ended) == ended + pause
        ended += pause
        assert due_slot(ended) == slot

    fail(slot, ended, status, kind)
    assert due_slot(ended + timedelta(hours=4)) is None
    assert next_due(ended) == datetime(2026, 11, 24, 2, tzinfo=UTC)


def test_a_failed_slot_that_succeeds_in_the_end_is_not_due_again() -> None:
    schedule()
    slot, ended = "2026-11-23 02:00 UTC", datetime(2026, 11, 23, 2, 10, tzinfo=UTC)
    fail(slot, ended)
    finished(slot)

    assert due_slot(ended + timedelta(hours=5)) is None
    with pytest.raises(run_lifecycle.SlotTaken):
        finished(slot)


def test_a_failed_slot_is_not_repeated_more_than_twelve_hours_late() -> None:
    schedule()
    fail("2026-11-23 02:00 UTC", datetime(2026, 11, 23, 13, 50, tzinfo=UTC))

    assert due_slot(datetime(2026, 11, 23, 14, 5, tzinfo=UTC)) is None


def test_a_slot_that_an_earlier_release_ran_is_not_due_again() -> None:
    schedule()
    now = datetime(2026, 11, 23, 3, tzinfo=UTC)
    run = finished("daily 2026-11-23")
    IngestionRun.objects.filter(pk=run.pk).update(started_at=now - timedelta(hours=1))
    ran = due_slot(now)
    # Moved to three o'clock after the update: that is another slot.
    sync_timetable(time(3), "UTC")
    PeriodicTask.objects.filter(name=DAILY_ENTRY).update(start_time=now - timedelta(minutes=1))

    assert ran is None
    assert due_slot(now) == "2026-11-23 03:00 UTC"


def test_a_dead_run_s_slot_is_due_again_but_not_for_ever() -> None:
    schedule()
    now = datetime(2026, 11, 23, 3, tzinfo=UTC)
    slots = []

    for _ in range(4):
        slots.append(due_slot(now))
        finished("2026-11-23 02:00 UTC", "abandoned")

    assert slots == ["2026-11-23 02:00 UTC"] * 3 + [None]


def test_the_slot_of_a_stopped_run_is_due_again_however_often_it_is_stopped() -> None:
    schedule()
    now = datetime(2026, 11, 23, 3, tzinfo=UTC)
    slots = []

    for _ in range(5):
        slot = due_slot(now)
        slots.append(slot)
        finished(slot or "", "stopped")

    assert slots == ["2026-11-23 02:00 UTC"] * 5


def test_a_missed_slot_is_caught_up_within_twelve_hours_only(caplog: pytest.LogCaptureFixture) -> None:
    schedule()

    in_time = due_slot(datetime(2026, 11, 23, 13, 59, tzinfo=UTC))
    too_late = due_slot(datetime(2026, 11, 23, 14, 1, tzinfo=UTC))

    assert (in_time, too_late) == ("2026-11-23 02:00 UTC", None)
    assert "slot_missed slot=2026-11-23 02:00 UTC" in caplog.text


def test_what_was_due_before_the_entry_was_made_was_not_missed() -> None:
    sync_timetable(time(2), "UTC")

    assert due_slot(timezone.now()) is None


def test_an_entry_that_is_switched_off_is_never_due() -> None:
    schedule()
    PeriodicTask.objects.filter(name=DAILY_ENTRY).update(enabled=False)

    assert due_slot(datetime(2026, 11, 23, 3, tzinfo=UTC)) is None
    assert next_due(timezone.now()) is None


def test_a_due_run_waits_for_one_that_is_at_work() -> None:
    schedule()
    run_lifecycle.start_run(trigger=IngestionRun.Trigger.COMMAND)

    def ingest(slot: str) -> IngestionRun:
        return run_lifecycle.start_run(trigger=IngestionRun.Trigger.SCHEDULE, slot=slot)

    assert run_due_slot(ingest, datetime(2026, 11, 23, 3, tzinfo=UTC)) is None


def test_the_setting_makes_the_entry_and_moves_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sync_timetable(time(2), "UTC")
    sync_timetable(time(2), "UTC")
    sync_timetable(time(4, 30), "Europe/Paris")

    entry = PeriodicTask.objects.get(name=DAILY_ENTRY)

    assert (entry.crontab.hour, entry.crontab.minute, str(entry.crontab.timezone)) == (
        "4",
        "30",
        "Europe/Paris",
    )
    assert caplog.text.count("schedule_moved") == 1


def test_a_person_who_edits_the_entry_wins_over_the_setting(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sync_timetable(time(2), "UTC")
    by_hand = crontab(23, zone="UTC")
    by_hand.save()
    PeriodicTask.objects.filter(name=DAILY_ENTRY).update(crontab=by_hand)

    sync_timetable(time(5), "UTC")

    assert PeriodicTask.objects.get(name=DAILY_ENTRY).crontab == by_hand
    assert caplog.text.count("schedule_kept") == 1
    assert "runs='23:00 UTC'" in caplog.text


def test_the_next_run_is_told() -> None:
    schedule(2, "Europe/Paris")

    assert next_due(at("2026-11-23T01:00")) == at("2026-11-23T02:00")
    assert next_due(at("2026-11-23T02:00")) == at("2026-11-24T02:00")


@pytest.mark.django_db(transaction=True)
def test_an_exception_in_a_run_never_ends_the_scheduler(caplog: pytest.LogCaptureFixture) -> None:
    schedule()
    stop = Event()
    looks: list[str] = []

    def ingest(slot: str) -> Any:
        looks.append(slot)
        if len(looks) == 2:
            stop.set()
        raise ZeroDivisionError("a bad day")

    class Hurry(Event):
        def wait(self, timeout: float | None = None) -> bool:
            return super().wait(0)

    stop = Hurry()
    run_scheduler(ingest, stop, lambda: datetime(2026, 11, 23, 3, tzinfo=UTC))

    assert looks == ["2026-11-23 02:00 UTC"] * 2
    assert caplog.text.count("ZeroDivisionError: a bad day") == 2


@pytest.mark.django_db(transaction=True)
def test_a_lost_connection_is_made_again_at_the_next_look() -> None:
    schedule()
    slots: list[str] = []
    with psycopg.connect(**connection.get_connection_params()) as other:
        mine = connection.connection.info.backend_pid
        other.execute("SELECT pg_terminate_backend(%s)", [mine])
    stop = Event()

    def ingest(slot: str) -> Any:
        slots.append(slot)
        stop.set()

    run_scheduler(ingest, stop, lambda: datetime(2026, 11, 23, 3, tzinfo=UTC))

    assert slots == ["2026-11-23 02:00 UTC"]


def test_schedules_that_somebody_made_twice_are_no_obstacle() -> None:
    for _ in range(2):
        crontab(2, zone="UTC", day_of_week="*", day_of_month="*", month_of_year="*").save()
        IntervalSchedule.objects.create(every=1, period=IntervalSchedule.MINUTES)

    sync_timetable(time(2), "UTC")

    assert PeriodicTask.objects.filter(name=DAILY_ENTRY).count() == 1


def test_the_page_of_the_schedules_says_how_they_come_until_they_are_there() -> None:
    staff = Client()
    staff.force_login(User.objects.create_superuser("admin", "admin@example.org", "pw"))
    url = reverse("admin:django_celery_beat_periodictask_changelist")

    empty = staff.get(url).content.decode()
    sync_timetable(time(2), "UTC")
    filled = staff.get(url).content.decode()

    assert "The entries appear when a scheduler starts for the first time" in empty
    assert "a scheduler starts for the first time" not in filled
    assert "Daily ingestion" in filled
