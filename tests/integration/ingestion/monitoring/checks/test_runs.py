"""A run that did not start, or does not end, opens one incident."""

import socket
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from ingestion.jobs.heartbeats import record_heartbeat
from ingestion.jobs.lock import lock_owner
from ingestion.models import Heartbeat, Incident, IngestionRun
from ingestion.monitoring.checks.freshness import data_fresh
from ingestion.monitoring.checks.runs import runs_finished, runs_started
from ingestion.monitoring.run_review import follow_up_all
from ingestion.schedules import DAILY_ENTRY, due_slot, sync_timetable

pytestmark = pytest.mark.django_db
DUE = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
GRACE = 15 * MINUTE


def schedule(at: time = time(2), zone: str = "UTC") -> None:
    """The daily entry, as if it had been there for a year."""
    sync_timetable(at, zone)
    PeriodicTask.objects.filter(name=DAILY_ENTRY).update(start_time=DUE - timedelta(days=365))


def make_run(started: datetime, *, minutes: float | None = 10, **fields: Any) -> IngestionRun:
    """A run; without minutes it is still running."""
    usual: dict[str, Any] = {
        "trigger": "schedule", "status": "succeeded", "started_at": started, "heartbeat_at": started,
        "host": "elsewhere", "pid": 1, "process_started": 1.0,
        "finished_at": started + timedelta(minutes=minutes or 0),
    }  # fmt: skip
    at_work = {"status": "running", "finished_at": None} if minutes is None else {}
    return IngestionRun.objects.create(**usual | at_work | fields)


def alive(part: str, at: datetime, since: datetime) -> None:
    record_heartbeat(part, since)
    Heartbeat.objects.filter(part=part).update(at=at)


def is_night(now: datetime) -> bool:
    """Whether the simulated watchdog runs every minute; by day, once in an hour or two is enough."""
    return now.hour >= 22 or now.hour < 6


def open_reasons() -> dict[str, str]:
    return {one.key: one.facts["reason"] for one in Incident.objects.filter(resolved_at=None)}


def test_a_run_that_is_due_may_take_its_grace() -> None:
    schedule()
    make_run(DUE - timedelta(days=1))

    runs_started(DUE + GRACE - MINUTE)

    assert not Incident.objects.exists()


def test_a_run_that_did_not_start_is_critical_and_says_what_was_due() -> None:
    schedule()
    make_run(DUE - timedelta(days=1))

    runs_started(DUE + GRACE)

    incident = Incident.objects.get()
    assert (incident.key, incident.severity) == ("run_not_started", "critical")
    assert incident.facts == {
        "due_at": "2026-11-23T02:00:00+00:00",
        "slot": "2026-11-23 02:00 UTC",
        "reason": "beat_dead",
        "limit_minutes": 15.0,
        "next_due_at": "2026-11-24T02:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("pulses", "reason"),
    [
        ({}, "beat_dead"),
        ({"beat": 10}, "beat_dead"),
        ({"beat": 1}, "worker_gone"),
        ({"beat": 1, "worker": 10}, "worker_gone"),
        ({"beat": 1, "worker": 1}, "not_taken"),
        ({"scheduler": 10}, "scheduler_dead"),
        ({"scheduler": 1}, "not_taken"),
        ({"scheduler": 600, "beat": 10}, "beat_dead"),
    ],
)
def test_why_it_did_not_start_is_told_apart(pulses: dict[str, float], reason: str) -> None:
    schedule()
    now = DUE + GRACE
    for part, minutes in pulses.items():
        alive(part, now - minutes * MINUTE, since=DUE - timedelta(days=1))

    runs_started(now)

    assert open_reasons() == {"run_not_started": reason}


@pytest.mark.parametrize("status", ["succeeded", "failed", "abandoned"])
def test_a_slot_that_had_its_run_has_started_however_it_ended(status: str) -> None:
    schedule()
    ended: dict[str, Any] = (
        {} if status == "succeeded" else {"status": status, "error": "x", "error_kind": "x"}
    )
    make_run(DUE + MINUTE, slot="2026-11-23 02:00 UTC", **ended)

    runs_started(DUE + GRACE)

    assert not Incident.objects.exists()


def test_the_run_that_catches_up_ends_the_incident_and_is_named() -> None:
    schedule()
    runs_started(DUE + GRACE)
    run = make_run(DUE + HOUR, slot="2026-11-23 02:00 UTC")

    runs_started(DUE + 2 * HOUR)

    incident = Incident.objects.get()
    assert (incident.resolved_at, incident.resolved_by_run) == (DUE + 2 * HOUR, run)


def test_a_run_by_hand_ends_it_and_a_trial_does_not() -> None:
    schedule()
    runs_started(DUE + GRACE)
    make_run(DUE + HOUR, trigger="command", dry_run=True)
    runs_started(DUE + 2 * HOUR)
    still_there = Incident.objects.get().resolved_at is None
    by_hand = make_run(DUE + 3 * HOUR, trigger="command")

    runs_started(DUE + 4 * HOUR)

    assert still_there
    assert Incident.objects.get().resolved_by_run == by_hand


def test_nothing_is_due_without_a_timetable() -> None:
    make_run(DUE - timedelta(days=30), trigger="command")

    runs_started(DUE + 5 * HOUR)

    assert not Incident.objects.exists()


def test_who_switches_the_schedule_off_ends_the_incident() -> None:
    schedule()
    runs_started(DUE + GRACE)
    PeriodicTask.objects.filter(name=DAILY_ENTRY).update(enabled=False)

    runs_started(DUE + HOUR)

    assert Incident.objects.get().resolved_by_run is None
    assert open_reasons() == {}


def test_a_slot_waits_for_the_run_that_holds_the_lock_and_then_has_its_grace_again() -> None:
    schedule()
    long_one = make_run(DUE - HOUR, minutes=None, trigger="command", heartbeat_at=DUE + GRACE)
    runs_started(DUE + GRACE)
    IngestionRun.objects.filter(pk=long_one.pk).update(status="succeeded", finished_at=DUE + HOUR)

    runs_started(DUE + HOUR + MINUTE)
    said_too_early = Incident.objects.exists()
    runs_started(DUE + HOUR + GRACE)

    assert not said_too_early
    assert list(open_reasons()) == ["run_not_started"]


def test_a_machine_that_was_off_at_the_time_has_its_grace_when_it_is_on_again() -> None:
    schedule()
    on_again = DUE + 7 * HOUR
    alive("beat", on_again + MINUTE, since=on_again)

    runs_started(on_again + MINUTE)
    said_too_early = Incident.objects.exists()
    alive("beat", on_again + GRACE, since=on_again)
    runs_started(on_again + GRACE)

    assert not said_too_early
    assert list(open_reasons()) == ["run_not_started"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clock", "first_told"),
    [
        # 02:30 does not exist: due at 03:30, an hour later than it looks, which is 01:30 UTC.
        (datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 1, 45, tzinfo=UTC)),
        # 02:30 comes twice: due at the first, which is 00:30 UTC.
        (datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 0, 45, tzinfo=UTC)),
    ],
)
def test_on_both_daylight_saving_days_a_missing_run_is_told_of_once_and_in_time(
    clock: datetime, first_told: datetime
) -> None:
    schedule(time(2, 30), "Europe/Paris")
    make_run(clock - 10 * HOUR)

    for minute in range(0, 18 * 60, 5):
        now = clock + minute * MINUTE
        if is_night(now) or minute % 60 == 0:
            runs_started(now)

    incident = Incident.objects.get()
    assert incident.opened_at == first_told
    assert incident.resolved_at is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first_day", "on_time"),
    [
        (datetime(2026, 3, 27, 3, tzinfo=UTC), ["02:30", "03:30", "02:30", "02:30"]),
        (datetime(2026, 10, 23, 3, tzinfo=UTC), ["02:30", "02:30", "02:30", "02:30"]),
    ],
)
def test_days_around_both_clock_changes_with_a_run_each_are_quiet(
    first_day: datetime, on_time: list[str]
) -> None:
    schedule(time(2, 30), "Europe/Paris")
    paris = ZoneInfo("Europe/Paris")
    started: dict[str, datetime] = {}

    for minute in range(0, 4 * 24 * 60, 30):
        now = first_day + minute * MINUTE
        if not is_night(now) and minute % 120:
            continue
        slot = due_slot(now)
        if slot is not None and slot not in started:
            started[slot] = now.astimezone(paris)
            run = make_run(now, slot=slot)
            run.reports.create(resource="songs", received=5, unchanged=5)
        runs_started(now)
        runs_finished(now)
        data_fresh(now)

    assert not Incident.objects.exists()
    assert len(started) == 5
    # The first look falls between two runs; the others are on time.
    assert [f"{at:%H:%M}" for at in started.values()][1:] == on_time


def test_a_run_that_takes_too_long_is_critical_until_it_is_over() -> None:
    run = make_run(DUE, minutes=None, heartbeat_at=DUE + 181 * MINUTE, stage="reading songs")
    runs_finished(DUE + 181 * MINUTE)
    incident = Incident.objects.get()
    IngestionRun.objects.filter(pk=run.pk).update(status="succeeded", finished_at=DUE + 4 * HOUR)

    runs_finished(DUE + 4 * HOUR)

    assert (incident.key, incident.severity, incident.run) == ("run_not_finished", "critical", run)
    assert incident.facts["running_seconds"] == 181 * 60
    assert (incident.facts["reason"], incident.facts["stage"]) == ("too_long", "reading songs")
    incident.refresh_from_db()
    assert (incident.resolved_at, incident.resolved_by_run) == (DUE + 4 * HOUR, run)


def test_a_run_whose_heart_stands_still_is_abandoned_by_the_check_and_told_of_at_once() -> None:
    now = timezone.now()
    run = make_run(now - HOUR, minutes=None, heartbeat_at=now - 6 * MINUTE)

    runs_finished(now)
    follow_up_all(now)

    run.refresh_from_db()
    assert run.status == "abandoned"
    incident = Incident.objects.get()
    assert (incident.key, incident.kind, incident.run) == ("run", "run_abandoned", run)


def test_a_run_whose_process_is_gone_need_not_miss_heartbeats_to_be_abandoned() -> None:
    now = timezone.now()
    make_run(now - MINUTE, minutes=None, heartbeat_at=now, host=socket.gethostname(), pid=2**22 - 1)

    runs_finished(now)

    assert IngestionRun.objects.get().status == "abandoned"


def test_a_living_run_is_left_alone() -> None:
    now = timezone.now()
    make_run(now - MINUTE, minutes=None, heartbeat_at=now, **lock_owner())

    runs_finished(now)

    assert IngestionRun.objects.get().status == "running"
    assert not Incident.objects.exists()
