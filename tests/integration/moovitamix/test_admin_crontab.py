"""A crontab's form: its time zone is written by name."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule

pytestmark = pytest.mark.django_db
FORM = {"minute": "30", "hour": "2", "day_of_month": "*", "month_of_year": "*", "day_of_week": "*"}
NO_TASKS = {"periodictask_set-TOTAL_FORMS": "0", "periodictask_set-INITIAL_FORMS": "0"}


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


def crontab_in_paris() -> CrontabSchedule:
    return CrontabSchedule.objects.create(**FORM, timezone="Europe/Paris")


def test_the_zone_is_shown_and_kept_by_its_name(staff: Client) -> None:
    crontab = crontab_in_paris()
    address = reverse("admin:django_celery_beat_crontabschedule_change", args=[crontab.pk])

    shown = staff.get(address).content.decode()
    staff.post(address, FORM | NO_TASKS | {"timezone": "Europe/Berlin"})
    crontab.refresh_from_db()

    assert 'value="Europe/Paris"' in shown
    assert shown.count("Europe/") < 20
    assert str(crontab.timezone) == "Europe/Berlin"


@pytest.mark.parametrize("name", ["Paris", "../../etc/passwd", "Europe/Pari\u00df", "/etc/localtime"])
def test_a_zone_that_is_none_is_named_and_nothing_changes(staff: Client, name: str) -> None:
    crontab = crontab_in_paris()
    address = reverse("admin:django_celery_beat_crontabschedule_change", args=[crontab.pk])

    told = staff.post(address, FORM | NO_TASKS | {"timezone": name})
    crontab.refresh_from_db()

    assert told.status_code == 200
    assert f"There is no time zone {name}." in told.content.decode()
    assert str(crontab.timezone) == "Europe/Paris"


def test_what_was_not_changed_is_not_called_changed(staff: Client) -> None:
    crontab = crontab_in_paris()
    address = reverse("admin:django_celery_beat_crontabschedule_change", args=[crontab.pk])

    form = staff.get(address).context["adminform"].form

    assert not form.fields["timezone"].has_changed(form.initial["timezone"], "Europe/Paris")
