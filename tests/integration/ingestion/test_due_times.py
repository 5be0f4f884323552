"""Beat's crontabs and intervals as due times, each once, across changes of daylight saving time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from ingestion.due_times import find_problem, last_due_at, next_due_at, slot_name

NOW = datetime(2026, 11, 29, 9, 20, tzinfo=UTC)
DAY = timedelta(days=1)


def make_entry(text: str = "", zone: str = "UTC", **fields: Any) -> PeriodicTask:
    """An unsaved entry with this crontab: minute, hour, day of month, month, day of week."""
    if text:
        names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        fields["crontab"] = CrontabSchedule(timezone=zone, **dict(zip(names, text.split(), strict=True)))
    return PeriodicTask(name="x", task="x", **fields)


def every(number: int, period: str, **fields: Any) -> PeriodicTask:
    return make_entry(interval=IntervalSchedule(every=number, period=period), **fields)


def due_times(entry: PeriodicTask, start: datetime, end: datetime) -> list[datetime]:
    """The due times after the start, each found from the one before."""
    found, now = [], start
    while (at := next_due_at(entry, now)) is not None and at <= end:
        found.append(at)
        now = at
    return found


def local_names(entry: PeriodicTask, day: datetime) -> list[str]:
    return [slot_name(entry, at)[11:] for at in due_times(entry, day, day + DAY)]


@pytest.mark.parametrize(
    ("crontab", "expected"),
    [
        ("0 */6 * * *", ["06:00 UTC", "12:00 UTC", "18:00 UTC", "00:00 UTC"]),
        ("0 2,14 * * *", ["02:00 UTC", "14:00 UTC"]),
        ("0,30 2 * * *", ["02:00 UTC", "02:30 UTC"]),
        ("15 9-11 * * *", ["09:15 UTC", "10:15 UTC", "11:15 UTC"]),
        ("30 2 * * *", ["02:30 UTC"]),
    ],
)
def test_every_time_of_a_crontab_is_due_once(crontab: str, expected: list[str]) -> None:
    assert local_names(make_entry(crontab), datetime(2026, 11, 23, tzinfo=UTC)) == expected


def test_an_interval_is_counted_from_the_start_time() -> None:
    entry = every(6, "hours", start_time=NOW)

    assert due_times(entry, NOW - DAY, NOW + DAY) == [NOW + n * timedelta(hours=6) for n in range(5)]
    assert last_due_at(entry, NOW - timedelta(seconds=1)) is None
    assert last_due_at(entry, NOW + timedelta(hours=13)) == NOW + timedelta(hours=12)


@pytest.mark.parametrize("now", [NOW, NOW - 400 * DAY, NOW + 400 * DAY])
def test_an_interval_without_a_start_time_has_fixed_times_too(now: datetime) -> None:
    entry = every(90, "minutes")
    due = last_due_at(entry, now)

    assert due is not None
    assert due <= now < due + timedelta(minutes=90)
    assert last_due_at(entry, due + timedelta(minutes=89)) == due
    assert next_due_at(entry, now) == due + timedelta(minutes=90)


def test_an_hourly_crontab_runs_every_hour_of_the_days_on_which_the_clocks_change() -> None:
    entry = make_entry("0 * * * *", "Europe/Paris")
    spring, autumn = datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)
    hour = timedelta(hours=1)

    assert due_times(entry, spring, spring + DAY) == [spring + n * hour for n in range(1, 25)]
    assert due_times(entry, autumn, autumn + DAY) == [autumn + n * hour for n in range(1, 25)]
    assert local_names(entry, autumn)[1:3] == ["02:00 CEST", "02:00 CET"]


@pytest.mark.parametrize(
    ("crontab", "day", "expected"),
    [
        # 02:30 does not exist and is due at 03:30, which is due anyway: once.
        ("30 2,3 * * *", datetime(2026, 3, 28, 23, tzinfo=UTC), ["03:30 CEST"]),
        ("30 2,3 * * *", datetime(2026, 10, 24, 22, tzinfo=UTC), ["02:30 CEST", "03:30 CET"]),
    ],
)
def test_times_in_a_skipped_or_repeated_hour_are_due_once(
    crontab: str, day: datetime, expected: list[str]
) -> None:
    assert local_names(make_entry(crontab, "Europe/Paris"), day) == expected


def test_a_crontab_for_the_leap_day_is_due_and_obeyed() -> None:
    entry = make_entry("0 2 29 2 *")

    assert find_problem(entry, NOW) == ""
    assert next_due_at(entry, NOW) == datetime(2028, 2, 29, 2, tzinfo=UTC)
    assert last_due_at(entry, NOW) == datetime(2024, 2, 29, 2, tzinfo=UTC)


def test_the_start_time_and_the_expiry_bound_the_due_times() -> None:
    entry = make_entry("0 * * * *", start_time=NOW, expires=NOW + timedelta(hours=3))

    assert local_names(entry, NOW - DAY) == []
    assert local_names(entry, NOW) == ["10:00 UTC", "11:00 UTC", "12:00 UTC"]
    assert last_due_at(entry, NOW) is None


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (make_entry("0 2 30 2 *"), "never_matches"),
        (make_entry("0 2 31 4,6,9,11 *"), "never_matches"),
        (make_entry("0 2 * * *", expires=NOW), "expired"),
        (make_entry("0 2 * * *", start_time=NOW + 9 * DAY, expires=NOW + 8 * DAY), "expired"),
        (every(400, "days"), "interval_too_long"),
        (every(2_000_000_000, "days"), "interval_too_long"),
        (make_entry(solar=SolarSchedule(event="sunset", latitude=0, longitude=0)), "solar_schedule"),
        (make_entry(), "no_schedule"),
        (make_entry("0 */6 * * *"), ""),
        (every(1, "seconds"), ""),
        (make_entry(clocked=ClockedSchedule(clocked_time=NOW + DAY), one_off=True), ""),
    ],
)
def test_a_schedule_that_never_comes_due_is_recognised(entry: PeriodicTask, problem: str) -> None:
    assert find_problem(entry, NOW) == problem


def test_a_schedule_that_runs_once_is_a_problem_for_a_task_that_must_repeat() -> None:
    assert find_problem(make_entry("0 2 * * *", one_off=True), NOW, must_repeat=True) == "runs_once"
