"""Beat goes on with its other entries if the schedule of one can't be computed."""

import pytest
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from ingestion.schedules import CATCH_UP_ENTRY
from moovitamix.background.beat_scheduler import TimetableEntry, TimetableScheduler
from moovitamix.celery import app

pytestmark = pytest.mark.django_db(transaction=True)


def make_entry(name: str, **schedule: object) -> PeriodicTask:
    return PeriodicTask.objects.create(name=name, task="ingestion.tasks.watch", **schedule)


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
