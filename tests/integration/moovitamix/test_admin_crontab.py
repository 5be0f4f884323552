"""The crontab form: the time zone is entered by name."""

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


def test_the_time_zone_is_shown_and_saved_by_name(staff: Client) -> None:
    crontab = crontab_in_paris()
    address = reverse("admin:django_celery_beat_crontabschedule_change", args=[crontab.pk])

    shown = staff.get(address).content.decode()
    staff.post(address, FORM | NO_TASKS | {"timezone": "Europe/Berlin"})
    crontab.refresh_from_db()

    assert 'value="Europe/Paris"' in shown
    assert shown.count("Europe/") < 20
    assert str(crontab.timezone) == "Europe/Berlin"


@pytest.mark.parametrize("name", ["Paris", "../../etc/passwd", "Europe/Pari\u00df", "/etc/localtime"])
def test_an_unknown_time_zone_is_an_error_and_changes_nothing(staff: Client, name: str) -> None:
    crontab = crontab_in_paris()
    address = reverse("admin:django_celery_beat_crontabschedule_change", args=[crontab.pk])

    response = staff.post(address, FORM | NO_TASKS | {"timezone": name})
    crontab.refresh_from_db()

    assert response.status_code == 200
    assert f"There is no time zone {name}." in response.content.decode()
    assert str(crontab.timezone) == "Europe/Paris"


def test_an_unchanged_time_zone_is_not_reported_as_changed(staff: Client) -> None:
    crontab = crontab_in_paris()
    address = reverse("admin:django_celery_beat_crontabschedule_change", args=[crontab.pk])

    form = staff.get(address).context["adminform"].form

    assert not form.fields["timezone"].has_changed(form.initial["timezone"], "Europe/Paris")
