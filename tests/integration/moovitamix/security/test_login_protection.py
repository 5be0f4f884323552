"""Logins: password guessing is locked out and reported, and sessions end after a working day."""

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from ingestion.alerts.incidents import open_incidents
from ingestion.models import AuditEntry
from moovitamix.security.login_protection import locked_logins

pytestmark = pytest.mark.django_db
PASSWORD = "a long password"
LOGIN = "/admin/login/"


@pytest.fixture(autouse=True)
def _protected(settings: Any) -> None:
    settings.AXES_ENABLED = True
    User.objects.create_superuser("ada", password=PASSWORD)
    User.objects.create_superuser("bob", password=PASSWORD)


def log_in(name: str, password: str, address: str = "10.0.0.1") -> int:
    status: int = (
        Client().post(LOGIN, {"username": name, "password": password}, REMOTE_ADDR=address).status_code
    )
    return status


def guess(times: int, name: str = "ada", address: str = "10.0.0.1") -> list[int]:
    return [log_in(name, f"guess {number}", address) for number in range(times)]


def test_an_address_that_guesses_is_locked_out_reported_and_free_again_later() -> None:
    before = guess(settings.AXES_FAILURE_LIMIT - 1)
    last = guess(1)
    locked_logins(timezone.now())
    reported = list(open_incidents().values_list("key", "severity", "facts__failures"))

    right_password, other_user = log_in("ada", PASSWORD), log_in("bob", PASSWORD)
    elsewhere = log_in("bob", PASSWORD, "10.0.0.2")
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    locked_logins(timezone.now())

    assert set(before) == {200}
    assert last == [429]
    assert (right_password, other_user, elsewhere) == (429, 429, 302)
    assert reported == [("login_locked:10.0.0.1", "warning", settings.AXES_FAILURE_LIMIT)]
    assert not open_incidents().exists()
    assert log_in("ada", PASSWORD) == 302


def test_a_user_whose_password_is_guessed_from_many_addresses_is_locked() -> None:
    for number in range(settings.AXES_FAILURE_LIMIT):
        guess(1, address=f"10.0.1.{number}")

    assert log_in("ada", PASSWORD, "10.0.2.1") == 429
    assert log_in("bob", PASSWORD, "10.0.2.1") == 302


def test_a_login_whose_address_cannot_be_read_works_and_guesses_are_counted() -> None:
    assert log_in("bob", PASSWORD, "unknown") == 302

    assert guess(settings.AXES_FAILURE_LIMIT, address="unknown")[-1] == 429
    assert log_in("ada", PASSWORD, "unknown") == 429


@pytest.mark.parametrize(
    "form",
    [
        {"username": "x" * 10_000, "password": PASSWORD},
        {"username": "", "password": PASSWORD},
        {"username": "ada", "password": PASSWORD, "code": "1" * 13},
    ],
)
def test_a_login_form_that_is_not_valid_is_shown_again_and_recorded_as_no_login(form: dict[str, str]) -> None:
    assert Client().post(LOGIN, form).status_code == 200
    assert not AuditEntry.objects.exists()


def test_passwords_have_twelve_characters_and_sessions_last_a_working_day() -> None:
    with pytest.raises(ValidationError, match="at least 12 characters"):
        validate_password("u7-Kx#m2")
    client = Client()

    client.post(LOGIN, {"username": "ada", "password": PASSWORD})

    assert client.session.get_expiry_age() == 10 * 3_600
