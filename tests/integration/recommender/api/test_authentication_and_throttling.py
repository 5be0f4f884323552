"""API keys: authentication, permissions, rate limits and the error messages."""

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from ingestion.api.sliding_window import Rate
from moovitamix.backends.redis_cache import FallbackRedisCache
from recommender.api.authentication import issue_key
from recommender.api.throttling import (
    MAX_FAILURES,
    FailedAuthentications,
    KeyThrottle,
    client_address,
    parse_rate,
)
from recommender.models import ApiKey, sql
from tests.support.builders.api import ApiCaller, make_api_caller, make_listener

pytestmark = pytest.mark.django_db
Clock = list[float]
WITHOUT_KEY = (
    "Send a key with the request, as `Authorization: Bearer KEY`. "
    "A key is made in the admin, or with: python manage.py apikey NAME --user USER"
)


@pytest.fixture
def user() -> User:
    return User.objects.create_user("app")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The throttle's time, at the beginning of a minute."""
    now = [1_200_000_000.0]
    monkeypatch.setattr(KeyThrottle, "clock", staticmethod(lambda: now[0]))
    return now


@pytest.fixture
def failure_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    now = [1_200_000_000.0]
    monkeypatch.setattr(FailedAuthentications, "clock", staticmethod(lambda: now[0]))
    return now


@pytest.fixture(autouse=True)
def _redis_is_up() -> Iterator[None]:
    yield
    FallbackRedisCache._down_until = None


def test_only_a_keys_digest_is_stored(user: User) -> None:
    row, secret = issue_key("iOS app", user)

    assert len(secret) == 64
    assert row.prefix == secret[:8]
    assert secret not in str(ApiKey.objects.values().get())


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token"])
def test_a_key_is_accepted_as_bearer_and_as_token(user: User, scheme: str) -> None:
    _, secret = issue_key("iOS app", user)

    answer = ApiCaller(secret, scheme).get("/users/")

    assert answer.status_code == 200


def test_a_key_costs_one_query(user: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    caller = ApiCaller(issue_key("iOS app", user)[1])
    caller.get("/")  # notes when the key was last used, once a minute

    with django_assert_num_queries(1):
        answer = caller.get("/")

    assert answer.status_code == 200


@pytest.mark.parametrize("secret", [None, "", "Basic", "wrong", "x" * 10_000, "é"])
def test_a_request_with_a_wrong_key_is_refused(secret: str | None) -> None:
    answer = ApiCaller(secret).get("/users/")

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="MoovitaMix API"'


def test_the_error_without_a_key_says_how_to_get_one() -> None:
    answer = ApiCaller().get("/users/")

    assert answer.json() == {
        "error": {"code": "not_authenticated", "message": WITHOUT_KEY, "fields": {}},
    }


def test_the_error_for_an_expired_or_revoked_key_says_what_to_do(user: User) -> None:
    expired_at = timezone.now() - timedelta(seconds=1)
    row, secret = issue_key("iOS app", user, expires_at=expired_at)

    answer = ApiCaller(secret).get("/users/")

    assert answer.status_code == 401
    assert answer.json()["error"] == {
        "code": "authentication_failed",
        "message": f"The key {row.prefix}... expired on {expired_at:%Y-%m-%d}. "
        "Make another one: python manage.py apikey NAME --user USER",
        "fields": {},
    }


def test_a_change_of_a_key_counts_from_the_next_request(user: User) -> None:
    row, secret = issue_key("iOS app", user)
    caller = ApiCaller(secret)
    all_changes: list[dict[str, object]] = [
        {"name": "app"},
        {"scopes": []},
        {"scopes": ["catalogue"]},
        {"revoked_at": timezone.now()},
    ]
    statuses = []
    for changes in all_changes:
        ApiKey.objects.filter(pk=row.pk).update(**changes)
        statuses.append(caller.get("/users/").status_code)

    assert statuses == [200, 403, 200, 401]


def test_a_change_of_a_key_s_user_counts_from_the_next_request(user: User) -> None:
    caller = ApiCaller(issue_key("iOS app", user)[1])
    before = caller.get("/users/").status_code
    User.objects.update(is_active=False)

    assert (before, caller.get("/users/").status_code) == (200, 401)


def test_no_name_address_or_digest_is_kept_in_memory(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    User.objects.update(email="ada@example.org", password="a hash")
    row, _ = issue_key("iOS app", user)
    kept: list[object] = []
    convert = sql._converted_values

    def note(*arguments: Any) -> Any:
        kept.extend(arguments[-1])
        return convert(*arguments)

    monkeypatch.setattr(sql, "_converted_values", note)
    found = ApiKey.read_with_user("id", row.pk)

    assert found is not None
    assert found.user.email == "ada@example.org"
    assert kept
    assert not {"ada@example.org", "a hash", "app", "iOS app", row.digest} & set(kept)


def test_what_a_request_does_with_its_key_does_not_change_the_next_one(user: User) -> None:
    row, _ = issue_key("iOS app", user)
    first, second = (ApiKey.read_with_user("id", row.pk) for _ in range(2))
    assert first is not None
    assert second is not None

    first.scopes.clear()
    first.user.username = "other"

    assert (second.scopes, second.user.username) == (row.scopes, "app")
    third = ApiKey.read_with_user("id", row.pk)
    assert third is not None
    assert third.scopes == row.scopes


def test_a_key_of_an_inactive_user_is_refused(user: User) -> None:
    _, secret = issue_key("iOS app", user)
    User.objects.update(is_active=False)

    answer = ApiCaller(secret).get("/users/")

    assert answer.status_code == 401
    assert "Activate the user" in answer.json()["error"]["message"]


@pytest.mark.slow
def test_only_a_staff_session_opens_the_browsable_pages() -> None:
    User.objects.create_superuser("admin", password="pw")
    User.objects.create_user("listener", password="pw")
    staff, other = Client(), Client()
    staff.login(username="admin", password="pw")
    other.login(username="listener", password="pw")

    pages = [client.get("/api/v1/users/", headers={"Accept": "text/html"}) for client in (staff, other)]

    assert [page.status_code for page in pages] == [200, 401]
    assert "MoovitaMix" in pages[0].content.decode()


def test_a_session_that_posts_needs_the_csrf_token() -> None:
    User.objects.create_superuser("admin", password="pw")
    staff = Client(enforce_csrf_checks=True)
    staff.login(username="admin", password="pw")

    answer = staff.post("/api/v1/users/", {}, content_type="application/json")

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "permission_denied"


def test_personal_data_is_shown_only_with_the_permission() -> None:
    make_listener(1)

    plain = make_api_caller("plain").get("/users/1/").json()
    trusted = make_api_caller("trusted", personal_data=True).get("/users/1/").json()

    assert sorted(plain) == ["available", "created_at", "favorite_genres", "id", "updated_at"]
    assert sorted(set(trusted) - set(plain)) == ["email", "first_name", "gender", "last_name"]
    assert trusted["email"] == "user1@example.org"


def test_no_cache_may_share_a_response_between_users() -> None:
    answer = make_api_caller().get("/users/")

    assert answer.headers["Cache-Control"] == "private, no-store"
    assert {"Authorization", "Cookie", "Accept"} <= {
        word.strip() for word in answer.headers["Vary"].split(",")
    }


def test_a_throttled_key_does_not_slow_the_other_keys(settings: Settings, clock: Clock) -> None:
    settings.API_RATE = "3/min"
    busy, other = make_api_caller("busy"), make_api_caller("other")

    answers = [busy.get("/users/") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    # Three in this minute: a third of them counts no more 20 s into the next one.
    assert answers[3].headers["Retry-After"] == "80"
    assert answers[3].json()["error"]["code"] == "throttled"
    assert other.get("/users/").status_code == 200


def test_a_request_after_the_named_wait_is_accepted(settings: Settings, clock: Clock) -> None:
    settings.API_RATE = "3/min"
    caller = make_api_caller()
    for _ in range(4):
        refused = caller.get("/users/")
    wait = int(refused.headers["Retry-After"])

    clock[0] += wait - 1
    early = caller.get("/users/")
    clock[0] += 1
    in_time = caller.get("/users/")

    assert (early.status_code, in_time.status_code) == (429, 200)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("600/min", Rate(600, 60)), ("5/s", Rate(5, 1)), ("1000000/day", Rate(1_000_000, 86_400)),
     ("7/H", Rate(7, 3_600))],
)  # fmt: skip
def test_a_rate_is_parsed_in_every_spelling(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "600", "0/min", "-1/min", "600/week", "many/min", "600/", "6.5/min"])
def test_an_invalid_rate_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="such as API_RATE=600/min"):
        parse_rate(text)


def test_the_command_creates_a_working_key_and_shows_it_once(user: User) -> None:
    out = StringIO()

    call_command("apikey", "iOS app", user="app", stdout=out)

    secret = out.getvalue().split()[0]
    assert ApiCaller(secret).get("/users/").status_code == 200
    assert "It may not see listeners' personal data." in out.getvalue()


def test_the_command_gives_a_new_user_the_right_to_personal_data() -> None:
    make_listener(1)
    out = StringIO()

    call_command(
        "apikey", "reports", user="reports", create_user=True, personal_data=True, quiet=True, stdout=out
    )

    assert ApiCaller(out.getvalue().strip()).get("/users/1/").json()["first_name"] == "Ada"
    assert not User.objects.get().has_usable_password()


def test_the_command_lists_and_revokes(user: User) -> None:
    row, secret = issue_key("iOS app", user)
    before, after = StringIO(), StringIO()

    call_command("apikey", list=True, stdout=before)
    call_command("apikey", revoke=row.prefix, stdout=StringIO())
    call_command("apikey", list=True, stdout=after)

    assert before.getvalue() == (
        f"{row.prefix}  active                never used       app  iOS app  "
        "[catalogue, recommend, feedback]\n"
    )
    row.refresh_from_db()
    assert f"revoked {row.revoked_at:%Y-%m-%d}" in after.getvalue()
    answer = ApiCaller(secret).get("/users/")
    assert answer.status_code == 401
    assert "was revoked on" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "x"}, "Name the key and its user"),
        ({"name": "x", "user": "nobody"}, "There is no user 'nobody'. Add --create-user"),
        ({"name": "x" * 101, "user": "app"}, "may have at most 100 characters"),
        ({"name": "iOS", "user": "x" * 151, "create_user": True}, "--user can't be created: .* at most 150"),
        ({"name": "iOS", "user": "a b", "create_user": True}, "--user can't be created: Enter a valid"),
        ({"name": "x", "user": "app", "days": 0}, "--days takes a whole number from 1"),
        ({"revoke": "0000"}, "No key starts with '0000'"),
    ],
)
def test_the_command_says_what_is_missing(user: User, arguments: dict[str, object], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        call_command("apikey", **arguments)


def test_many_invalid_keys_from_one_address_do_not_reach_the_database(
    user: User, failure_clock: Clock, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    known = ApiCaller(issue_key("iOS app", user)[1])
    known.get("/users/")
    guesses = [ApiCaller(f"guess {number}").get("/users/").status_code for number in range(MAX_FAILURES)]

    with django_assert_num_queries(0):
        refused = ApiCaller("one more").get("/users/")

    assert guesses == [401] * MAX_FAILURES
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "60"
    assert known.get("/users/").status_code == 200
    assert (
        ApiCaller("another").client.get("/metrics", headers={"Authorization": "Bearer x"}).status_code == 429
    )
    other = ApiCaller("elsewhere")
    assert (
        other.client.get("/api/v1/users/", headers=other.headers, REMOTE_ADDR="10.0.0.9").status_code == 401
    )
    failure_clock[0] += 60
    assert ApiCaller("next minute").get("/users/").status_code == 401


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "10.9.9.9", "127.0.0.1"),  # a client can send this header itself
        (1, "1.1.1.1, 10.9.9.9", "10.9.9.9"),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (1, "not an address", "not an address"),
    ],
)
def test_the_address_is_what_the_nearest_proxy_saw(
    settings: Settings, proxies: int, forwarded: str, expected: str
) -> None:
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": proxies}
    request = RequestFactory().get("/", headers={"X-Forwarded-For": forwarded})

    assert client_address(request) == expected


@pytest.mark.parametrize("url", ["redis://127.0.0.1:9/0"])
def test_requests_are_answered_and_counted_while_redis_is_gone(
    settings: Settings, user: User, url: str
) -> None:
    settings.REDIS_URL, settings.API_RATE = url, "2/min"
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": url}}
    caller = ApiCaller(issue_key("iOS app", user)[1])

    statuses = [caller.get("/users/").status_code for _ in range(3)]

    assert statuses == [200, 200, 429]
