"""Two-factor logins: set up by each person, asked for at the login, required by a setting."""

import time
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from ingestion.models import AuditEntry
from tests.support.builders.api import make_api_caller
from tests.support.builders.roles import find_role

pytestmark = pytest.mark.django_db
PASSWORD = "a long password"
PAGE = "/two-factor/"


@pytest.fixture(autouse=True)
def _fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take half a minute for a test, after which the app would show another code."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


@pytest.fixture(autouse=True)
def ada() -> User:
    user = User.objects.create_user("ada", password=PASSWORD, is_staff=True)
    user.groups.add(find_role("owner"))
    return user


def code_of(app: TOTPDevice, steps: int = 0) -> str:
    """What the app shows now, or some half minutes later."""
    totp = TOTP(app.bin_key, app.step, app.t0, app.digits)
    totp.time = time.time() + steps * app.step
    return f"{totp.token():06d}"


def make_app(user: User) -> TOTPDevice:
    return TOTPDevice.objects.create(user=user, name="authenticator app", confirmed=True)


def log_in(client: Client, **fields: str) -> int:
    status: int = client.post(
        "/admin/login/", {"username": "ada", "password": PASSWORD, **fields}
    ).status_code
    return status


def test_a_person_sets_up_an_app_and_then_logs_in_with_its_code() -> None:
    client = Client()
    log_in(client)
    page = client.get(PAGE)
    app = TOTPDevice.objects.get()
    wrong = client.post(PAGE, {"code": "abcdef"})
    TOTPDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)

    done = client.post(PAGE, {"code": f"{code_of(app)[:3]} {code_of(app)[3:]}"})

    assert page.context["secret"].replace(" ", "") in app.config_url
    assert page.context["picture"].startswith("data:image/svg+xml")
    assert "The code is not right" in wrong.content.decode()
    assert done.status_code == 302
    assert TOTPDevice.objects.get().confirmed
    assert log_in(Client()) == 200
    assert log_in(Client(), code=code_of(app, 1)) == 302
    # Each code works once.
    assert log_in(Client(), code=code_of(app, 1)) == 200
    assert AuditEntry.objects.filter(target="set up two-factor logins", actor="ada").exists()


def test_wrong_codes_count_like_wrong_passwords(settings: Any, ada: User) -> None:
    settings.AXES_ENABLED = True
    app = make_app(ada)
    accepted = {code_of(app, steps) for steps in (-1, 0, 1)}
    wrong = next(code for code in ("000000", "000001", "000002", "000003") if code not in accepted)

    statuses = [log_in(Client(), code=wrong) for _ in range(settings.AXES_FAILURE_LIMIT)]

    assert set(statuses[:-1]) == {200}
    assert statuses[-1] == 429


def test_without_an_app_the_password_is_enough() -> None:
    assert log_in(Client()) == 302


def test_the_app_is_removed_with_its_own_code(ada: User) -> None:
    app, client = make_app(ada), Client()
    log_in(client, code=code_of(app))

    client.post(PAGE, {"code": code_of(app, 1)})

    assert not TOTPDevice.objects.exists()


def test_a_session_from_before_the_app_is_verified_with_its_code(settings: Any, ada: User) -> None:
    settings.REQUIRE_TWO_FACTOR = True
    client = Client()
    log_in(client)
    app = make_app(ada)
    page = client.get(PAGE).content.decode()

    done = client.post(PAGE, {"code": code_of(app)})

    assert "Continue" in page
    # Any other link would lead back to this page.
    assert "Log out" in page
    assert "Remove the app" not in page
    assert done["Location"] == "/admin/"
    assert client.get("/").status_code == 200
    assert TOTPDevice.objects.get().confirmed
    assert "Remove the app" in client.get(PAGE).content.decode()


@pytest.mark.parametrize("has_app", [True, False])
def test_after_the_code_the_page_opens_that_was_requested(settings: Any, ada: User, has_app: bool) -> None:
    settings.REQUIRE_TWO_FACTOR = True
    client = Client()
    log_in(client)
    app = make_app(ada) if has_app else None
    requested = "/models/?days=7&sort=-age"

    code_page = client.get(requested)["Location"]
    client.get(code_page)
    done = client.post(code_page, {"code": code_of(app or TOTPDevice.objects.get())})

    assert done["Location"] == requested


@pytest.mark.parametrize("address", ["https://example.org/", "//example.org/", "javascript:alert(1)"])
def test_after_the_code_no_other_site_is_opened(ada: User, address: str) -> None:
    client = Client()
    client.force_login(ada)
    app = make_app(ada)

    done = client.post(f"{PAGE}?{urlencode({'next': address})}", {"code": code_of(app)})

    assert done["Location"] == "/admin/"


def test_a_form_sent_without_a_code_is_not_requested_again(settings: Any, ada: User) -> None:
    settings.REQUIRE_TWO_FACTOR = True
    client = Client()
    log_in(client)

    assert client.post("/models/", {})["Location"] == PAGE


def test_of_two_secrets_made_at_once_the_first_is_set_up(ada: User) -> None:
    first, _ = (TOTPDevice.objects.create(user=ada, confirmed=False) for _ in range(2))
    client = Client()
    log_in(client)

    page = client.get(PAGE)
    client.post(PAGE, {"code": code_of(first)})

    assert page.context["secret"].replace(" ", "") in first.config_url
    assert TOTPDevice.objects.get(confirmed=True) == first


def test_a_part_of_a_page_reloads_the_page_instead_of_showing_the_secret(settings: Any) -> None:
    settings.REQUIRE_TWO_FACTOR = True
    client = Client()
    log_in(client)

    answer = client.get("/operations/live/", headers={"HX-Request": "true"})

    assert (answer.status_code, answer["HX-Refresh"], answer.content) == (204, "true", b"")


def test_somebody_who_is_not_staff_ends_at_the_login(settings: Any) -> None:
    settings.REQUIRE_TWO_FACTOR = True
    client = Client()
    client.force_login(User.objects.create_user("bob"))

    answer = client.get("/", follow=True)

    assert answer.status_code == 200
    assert answer.request["PATH_INFO"] == "/admin/login/"


def test_a_site_that_requires_it_keeps_others_on_the_page_that_sets_it_up(settings: Any) -> None:
    settings.REQUIRE_TWO_FACTOR = True
    client, caller = Client(), make_api_caller()
    log_in(client)
    before = {path: client.get(path) for path in ("/", "/admin/", "/api/v1/songs/", PAGE)}
    client.post(PAGE, {"code": code_of(TOTPDevice.objects.get())})
    after = [client.get(path).status_code for path in ("/", "/admin/", "/api/v1/songs/")]
    TOTPDevice.objects.all().delete()

    assert [answer.status_code for answer in before.values()] == [302, 302, 403, 200]
    assert before["/"]["Location"] == f"{PAGE}?next=/"
    assert before["/api/v1/songs/"].json()["error"]["code"] == "permission_denied"
    assert after == [200, 200, 200]
    # The app is gone, and so are the rights of its session.
    assert client.get("/").status_code == 302
    # Apps with a key are no people, and somebody who is not logged in gets the login.
    assert caller.get("/songs/").status_code == 200
    assert Client().get("/")["Location"].startswith("/admin/login/")


def test_an_owner_removes_a_lost_app_and_sees_no_secret(ada: User) -> None:
    app = make_app(User.objects.create_user("bob", is_staff=True))
    client = Client()
    client.force_login(ada)
    pages = [f"/admin/otp_totp/totpdevice/{page}" for page in ("", f"{app.pk}/change/")]
    shown = "".join(client.get(page).content.decode() for page in pages)

    client.post(f"/admin/otp_totp/totpdevice/{app.pk}/delete/", {"post": "yes"})

    assert "bob" in shown
    assert app.key not in shown
    assert not TOTPDevice.objects.exists()
    assert AuditEntry.objects.filter(target__startswith="deleted TOTP device", actor="ada").exists()


def test_the_command_removes_the_app_of_the_only_owner(ada: User) -> None:
    make_app(ada)

    call_command("resettwofactor", "ada")

    assert not TOTPDevice.objects.exists()
    with pytest.raises(CommandError, match="ada has not set up an authenticator app"):
        call_command("resettwofactor", "ada")
    with pytest.raises(CommandError, match="There is no user 'eve'"):
        call_command("resettwofactor", "eve")


def test_it_is_off_by_default() -> None:
    assert settings.REQUIRE_TWO_FACTOR is False
