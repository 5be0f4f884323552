"""Beat goes on if the schedule of one entry can't be computed, and of several Beats one sends tasks."""

import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import psutil
import psycopg
import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from ingestion.jobs.leases import HeldLeases, take_lease
from ingestion.jobs.lock import lock_owner
from ingestion.models import Heartbeat, Lease
from ingestion.schedules import CATCH_UP_ENTRY
from moovitamix.background import beat_scheduler
from moovitamix.background.beat_scheduler import TimetableEntry, TimetableScheduler
from moovitamix.celery import app
from recommender.schedules import CRONTAB_ENTRIES

pytestmark = pytest.mark.django_db(transaction=True)


def make_entry(name: str, **schedule: object) -> PeriodicTask:
    return PeriodicTask.objects.create(name=name, task="ingestion.tasks.watch", **schedule)


def test_a_beat_that_loses_a_conflict_with_another_one_sets_up_its_entries_again() -> None:
    holder = psycopg.connect(**connection.get_connection_params())
    holder.execute("LOCK TABLE django_celery_beat_periodictask IN EXCLUSIVE MODE")
    waiting = logging.Handler(logging.WARNING)
    waiting.emit = lambda _: holder.close()  # type: ignore[method-assign, assignment]
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '20ms'")
    patience = logging.getLogger("ingestion.jobs.database_patience")
    patience.addHandler(waiting)
    try:
        scheduler = TimetableScheduler(app=app)
    finally:
        patience.removeHandler(waiting)

    assert holder.closed
    assert CATCH_UP_ENTRY in scheduler.schedule


def test_a_beat_starts_although_another_one_creates_each_entry_just_before_it() -> None:
    often = IntervalSchedule.objects.create(every=7, period="days")
    created: set[str] = set()

    def create_meanwhile(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        name = params[0] if params and '"django_celery_beat_periodictask"."name" = ' in sql else None
        if sql.startswith("SELECT") and isinstance(name, str) and name not in created:
            created.add(name)
            if not PeriodicTask.objects.filter(name=name).exists():
                make_entry(name, interval=often)
        return result

    with connection.execute_wrapper(create_meanwhile):
        scheduler = TimetableScheduler(app=app)

    assert CATCH_UP_ENTRY in scheduler.schedule
    assert {entry.name for entry in CRONTAB_ENTRIES} <= created


def test_entries_without_a_next_date_are_skipped_and_the_others_stay() -> None:
    make_entry("30 February", crontab=CrontabSchedule.objects.create(day_of_month="30", month_of_year="2"))
    make_entry("millennia", interval=IntervalSchedule.objects.create(every=2_000_000_000, period="days"))

    scheduler = TimetableScheduler(app=app)

    names = set(scheduler.schedule)
    assert CATCH_UP_ENTRY in names
    assert not names & {"30 February", "millennia"}


def test_an_entry_that_can_t_compute_its_next_date_is_not_due(caplog: pytest.LogCaptureFixture) -> None:
    entry = TimetableEntry(
        make_entry("soon", interval=IntervalSchedule.objects.create(every=1, period="days")), app
    )

    def fail(*_: object) -> None:
        raise RuntimeError("unable to rollover")

    entry.schedule.is_due = fail

    assert entry.is_due() == (False, 300.0)
    assert "entry_skipped entry='soon'" in caplog.text


def test_a_solar_entry_does_not_stop_beat() -> None:
    sunset = SolarSchedule.objects.create(event="sunset", latitude=48.9, longitude=2.3)
    make_entry("sunset", solar=sunset)

    assert CATCH_UP_ENTRY in TimetableScheduler(app=app).schedule


class Beat(TimetableScheduler):
    """A scheduler with one entry, which is due; notes what it sends instead of passing it to a broker."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        super().__init__(app=app)

    def enabled_models_qs(self) -> object:
        return PeriodicTask.objects.filter(name="daily")

    def install_default_entries(self, data: object) -> None:
        pass

    def setup_schedule(self) -> None:
        assert list(self.schedule) == ["daily"]

    def apply_entry(self, entry: TimetableEntry, producer: object = None) -> None:
        self.sent.append(entry.name)
        self._tasks_since_sync += 1
        if self.should_sync():
            self._do_sync()

    def tick_until_idle(self) -> bool:
        """Send all due entries; returns whether the scheduler holds the lease."""
        while not self.tick():
            pass
        return self._lease is not None


@pytest.fixture
def beats() -> Iterator[tuple[Beat, Beat]]:
    daily = make_entry("daily", interval=IntervalSchedule.objects.create(every=1, period="days"))
    PeriodicTask.objects.filter(pk=daily.pk).update(last_run_at=timezone.now() - timedelta(days=2))
    first, second = Beat(), Beat()
    yield first, second
    for beat in (first, second):
        beat._finalize.cancel()


def expire_lease(beat: Beat) -> None:
    Lease.objects.update(until=timezone.now() - timedelta(seconds=1))
    beat._lease_renewed -= 2 * beat_scheduler.LEASE_RENEWAL


def test_of_two_beats_one_sends_what_is_due_and_reports_that_it_lives(beats: tuple[Beat, Beat]) -> None:
    first, second = beats

    first.tick_until_idle()
    Heartbeat.objects.all().delete()
    is_second_active = second.tick_until_idle()

    assert (first.sent, second.sent, is_second_active) == (["daily"], [], False)
    assert not Heartbeat.objects.exists()


def test_a_beat_that_takes_over_sends_nothing_again_and_the_other_one_waits(
    beats: tuple[Beat, Beat],
) -> None:
    first, second = beats
    first.tick_until_idle()
    expire_lease(first)

    is_active = second.tick_until_idle(), first.tick_until_idle()

    assert (first.sent, second.sent) == (["daily"], [])
    assert is_active == (True, False)


def test_a_beat_that_is_cut_off_from_the_database_sends_until_its_lease_expires(
    beats: tuple[Beat, Beat],
) -> None:
    cut_off = beats[0]
    cut_off.tick_until_idle()
    cut_off._lease_renewed -= 2 * beat_scheduler.LEASE_RENEWAL

    with patch.object(HeldLeases, "renew", side_effect=OperationalError):
        is_active_at_first = cut_off._holds_lease()
        cut_off._lease_renewed -= beat_scheduler.LEASE_DURATION.total_seconds()
        is_active_later = cut_off._holds_lease()
        # Goes on reporting, which tells of the outage.
        cut_off._last_heartbeat = 0.0
        cut_off.tick_until_idle()

    assert (is_active_at_first, is_active_later) == (True, False)
    assert cut_off._last_heartbeat > 0.0


def test_the_next_beat_need_not_wait_for_one_that_was_stopped(beats: tuple[Beat, Beat]) -> None:
    first, second = beats
    first.tick_until_idle()

    first.close()

    assert second.tick_until_idle()


def test_the_next_beat_need_not_wait_for_a_killed_one_of_this_host(beats: tuple[Beat, Beat]) -> None:
    first, second = beats
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(process.pid).create_time()
    owner = {**lock_owner(), "pid": process.pid, "process_started": started}
    with patch("ingestion.jobs.leases.lock_owner", return_value=owner):
        first.tick_until_idle()
    is_active_before = second.tick_until_idle()

    process.kill()
    process.communicate()

    assert (is_active_before, second.tick_until_idle()) == (False, True)


def test_a_process_of_another_container_with_this_host_name_is_not_taken_for_dead() -> None:
    now, minute = timezone.now(), timedelta(minutes=1)
    with patch("ingestion.jobs.leases._host", return_value=f"{socket.gethostname()} pid:[1]"):
        with patch(
            "ingestion.jobs.leases.lock_owner", return_value={"pid": 2**22 + 1, "process_started": 0.0}
        ):
            assert take_lease("work", now, minute)

    assert take_lease("work", now, minute) is None
    assert take_lease("work", now + 2 * minute, minute)
