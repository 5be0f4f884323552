"""The admin of periodic tasks: an accepted schedule is obeyed, any other is refused with its reason."""

from datetime import time, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.forms import model_to_dict
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from ingestion.schedules import DAILY_ENTRY, last_due_slot, next_due, sync_timetable
from moovitamix.dashboard.formatting import describe_crontab
from recommender import schedules as recommender_schedules
from tests.support.builders.roles import find_role

pytestmark = pytest.mark.django_db
LONG_AGO = timezone.now() - timedelta(days=30)
WEEKLY = "Learn a new model every week"
CRONTAB_FORM = {
    "minute": "0", "hour": "2", "day_of_month": "*", "month_of_year": "*", "day_of_week": "*",
    "timezone": "UTC",
    "periodictask_set-TOTAL_FORMS": "0", "periodictask_set-INITIAL_FORMS": "0",
}  # fmt: skip
HEARTBEAT = "Give a sign of life every minute"


@pytest.fixture
def staff() -> Client:
    sync_timetable(time(2), "UTC")
    recommender_schedules.sync_timetable()
    PeriodicTask.objects.update(start_time=LONG_AGO)
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


def interval(every: int, period: str) -> dict[str, Any]:
    return {"interval": IntervalSchedule.objects.create(every=every, period=period).pk, "crontab": ""}


def crontab(**fields: str) -> dict[str, Any]:
    wanted = {"minute": "0", "hour": "2", "timezone": "UTC"} | fields
    return {"crontab": CrontabSchedule.objects.create(**wanted).pk}


def edit(staff: Client, entry_name: str = DAILY_ENTRY, /, **changes: Any) -> str:
    """Save the entry's form with these changes; returns the errors, joined."""
    entry = PeriodicTask.objects.get(name=entry_name)
    form = {field: value for field, value in model_to_dict(entry).items() if value not in (None, False)}
    if entry.start_time:
        local = timezone.localtime(entry.start_time)
        del form["start_time"]
        form |= {"start_time_0": f"{local:%Y-%m-%d}", "start_time_1": f"{local:%H:%M:%S}"}
    form["headers"] = "{}"
    address = reverse("admin:django_celery_beat_periodictask_change", args=[entry.pk])
    answer = staff.post(address, form | changes)
    if answer.status_code == 302:
        return ""
    errors = answer.context["adminform"].form.errors
    return " ".join(message for messages in errors.values() for message in messages)


def test_an_interval_is_accepted_and_its_first_run_is_due_when_it_is_saved(staff: Client) -> None:
    before = timezone.now()

    assert edit(staff, **interval(6, "hours")) == ""

    slot, due = last_due_slot(timezone.now()), next_due(timezone.now())
    assert slot is not None
    assert due is not None
    assert before <= slot.at <= timezone.now()
    assert due == slot.at + timedelta(hours=6)


def test_a_crontab_with_several_times_is_accepted_and_counts_from_the_edit(staff: Client) -> None:
    assert edit(staff, **crontab(hour="*/6")) == ""

    assert last_due_slot(timezone.now()) is None
    due = next_due(timezone.now())
    assert due is not None
    assert due - timezone.now() <= timedelta(hours=6)


def test_an_edit_of_the_schedule_s_own_row_counts_from_the_edit_too(staff: Client) -> None:
    schedule = PeriodicTask.objects.get(name=DAILY_ENTRY).crontab
    address = reverse("admin:django_celery_beat_crontabschedule_change", args=[schedule.pk])
    form = CRONTAB_FORM | {"minute": "*/10", "hour": "*"}

    answer = staff.post(address, form)

    assert answer.status_code == 302
    assert last_due_slot(timezone.now()) is None
    assert next_due(timezone.now()) is not None


def test_a_start_time_that_a_person_enters_is_kept(staff: Client) -> None:
    start = timezone.now() + timedelta(days=2)

    refused = edit(
        staff, start_time_0=f"{start:%Y-%m-%d}", start_time_1="06:00:00", **interval(1, "days")
    )  # fmt: skip

    assert refused == ""
    assert next_due(timezone.now()) == start.replace(hour=6, minute=0, second=0, microsecond=0)


def test_a_change_of_the_description_moves_no_slot(staff: Client) -> None:
    before = last_due_slot(timezone.now())

    assert edit(staff, description="Ours") == ""

    assert last_due_slot(timezone.now()) == before
    assert before is not None


@pytest.mark.parametrize("name", [DAILY_ENTRY, WEEKLY])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"day_of_month": "30", "month_of_year": "2"},
            "No date in the next nine years matches this crontab.",
        ),
        (
            {"day_of_month": "31", "month_of_year": "4"},
            "No date in the next nine years matches this crontab.",
        ),
    ],
)
def test_a_crontab_without_a_date_is_refused(
    staff: Client, name: str, fields: dict[str, str], reason: str
) -> None:
    assert edit(staff, name, **crontab(**fields)) == reason


def test_a_schedule_that_runs_once_is_refused_for_our_tasks(staff: Client) -> None:
    clocked = ClockedSchedule.objects.create(clocked_time=timezone.now() + timedelta(days=1))

    assert "runs once and is then disabled" in edit(staff, clocked=clocked.pk, crontab="", one_off="on")
    assert "runs once and is then disabled" in edit(staff, WEEKLY, one_off="on")


def test_a_solar_schedule_is_refused(staff: Client) -> None:
    sunset = SolarSchedule.objects.create(event="sunset", latitude=48.9, longitude=2.3)

    assert edit(staff, WEEKLY, solar=sunset.pk, crontab="").startswith("Solar schedules are not supported.")


@pytest.mark.parametrize(
    ("name", "every", "period", "reason"),
    [
        (DAILY_ENTRY, 10, "seconds", "An ingestion can't run more often than once a minute."),
        (DAILY_ENTRY, 400, "days", "An interval may not be longer than 366 days."),
        (HEARTBEAT, 1, "hours", "at most 2 minutes"),
    ],
)
def test_an_interval_that_can_t_be_obeyed_is_refused(
    staff: Client, name: str, every: int, period: str, reason: str
) -> None:
    assert reason in edit(staff, name, **interval(every, period))


def test_an_expired_entry_is_refused_unless_it_is_disabled(staff: Client) -> None:
    over = {"expires_0": "2026-01-01", "expires_1": "00:00:00"}

    assert edit(staff, **over).startswith("It has expired")
    assert edit(staff, enabled="", **over) == ""


def test_the_name_task_and_arguments_of_our_tasks_stay(staff: Client) -> None:
    assert "by its name" in edit(staff, name="Mine")
    assert "by its task name" in edit(staff, regtask="ingestion.tasks.watch")
    assert edit(staff, kwargs='{"day": 1}') == "This task takes no arguments."


def test_a_shared_interval_is_not_changed_to_one_that_a_task_can_t_obey(staff: Client) -> None:
    shared = PeriodicTask.objects.get(name=HEARTBEAT).interval
    address = reverse("admin:django_celery_beat_intervalschedule_change", args=[shared.pk])

    answer = staff.post(address, {"every": "6", "period": "hours"})

    assert answer.status_code == 200
    assert "Heartbeat: Choose an interval of at most 2 minutes" in answer.content.decode()
    shared.refresh_from_db()
    assert (shared.every, shared.period) == (1, "minutes")


def test_a_crontab_without_a_date_is_not_even_created(staff: Client) -> None:
    address = reverse("admin:django_celery_beat_crontabschedule_add")
    form = CRONTAB_FORM | {"day_of_month": "30", "month_of_year": "2"}

    text = staff.post(address, form).content.decode()

    assert "No date in the next nine years matches this crontab." in text


@pytest.mark.parametrize("model", ["periodictask", "crontabschedule"])
def test_our_tasks_and_their_schedules_can_t_be_deleted(staff: Client, model: str) -> None:
    entry = PeriodicTask.objects.get(name=DAILY_ENTRY)
    pk = entry.pk if model == "periodictask" else entry.crontab.pk
    change_list = reverse(f"admin:django_celery_beat_{model}_changelist")

    alone = staff.post(reverse(f"admin:django_celery_beat_{model}_delete", args=[pk]), {"post": "yes"})
    staff.post(change_list, {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})

    assert "Disable it instead of deleting it." in alone.content.decode()
    assert PeriodicTask.objects.filter(pk=entry.pk, crontab=entry.crontab).exists()


def test_a_person_s_own_task_may_run_once_and_be_deleted(staff: Client) -> None:
    add = reverse("admin:django_celery_beat_periodictask_add")
    form = {"name": "Mine", "task": "ingestion.tasks.ingest_by_hand", "enabled": "on", "one_off": "on",
            "args": "[]", "kwargs": "{}", "headers": "{}", **crontab(hour="5")}  # fmt: skip
    staff.post(add, form)
    mine = PeriodicTask.objects.get(name="Mine")

    staff.post(reverse("admin:django_celery_beat_periodictask_delete", args=[mine.pk]), {"post": "yes"})

    assert not PeriodicTask.objects.filter(name="Mine").exists()


@pytest.mark.parametrize(
    ("times", "english", "french"),
    [
        ("45 3 *", "every day at 03:45 UTC", "chaque jour à 03:45 UTC"),
        ("0 4 0", "every Sunday at 04:00 UTC", "chaque dimanche à 04:00 UTC"),
        ("0 4 7", "every Sunday at 04:00 UTC", "chaque dimanche à 04:00 UTC"),
        ("5 6 1", "every Monday at 06:05 UTC", "chaque lundi à 06:05 UTC"),
    ],
)  # fmt: skip
def test_a_crontab_is_shown_in_words(times: str, english: str, french: str) -> None:
    minute, hour, day_of_week = times.split()
    schedule = CrontabSchedule(minute=minute, hour=hour, day_of_week=day_of_week, timezone="UTC")

    assert describe_crontab(schedule) == english
    with translation.override("fr"):
        assert describe_crontab(schedule) == french


def test_a_rarer_crontab_is_shown_in_english_as_its_package_words_it() -> None:
    schedule = CrontabSchedule(minute="0,30", hour="*", timezone="UTC")

    with translation.override("fr"):
        assert describe_crontab(schedule).startswith('<span lang="en">At 0')


def test_the_page_that_deletes_a_role_names_the_role_and_not_each_permission(staff: Client) -> None:
    role = find_role("viewer")

    page = staff.get(reverse("admin:auth_group_delete", args=[role.pk])).content.decode()

    assert "viewer" in page
    assert "Group_permissions object" not in page
    assert "relationship" not in page
