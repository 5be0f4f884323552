"""Scopes, rotation and last use of keys, and tokens with which a browser acts for one listener."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from ingestion.models import AuditEntry
from recommender.api.authentication import allow_personal_data, issue_key
from recommender.api.permissions import ROUTE_SCOPES
from recommender.models import ApiKey, Feedback, ServedList
from recommender.models.api_keys import Scope
from tests.support.builders.api import ApiCaller, make_listener, make_song

pytestmark = pytest.mark.django_db
EVENT = {"event_id": "a", "user_id": 1, "song_id": 1, "kind": "like"}
PATHS = {
    Scope.CATALOGUE: "/songs/", Scope.RECOMMEND: "/songs/popular/", Scope.PERSONAL_DATA: "/users/1/",
}  # fmt: skip


@pytest.fixture
def user() -> User:
    make_listener(1)
    make_listener(2)
    make_song(1)
    return User.objects.create_user("app")


def caller_with(user: User, *scopes: str) -> ApiCaller:
    return ApiCaller(issue_key("An app", user, scopes=scopes)[1])


def metrics_status(caller: ApiCaller) -> int:
    status: int = caller.client.get("/metrics", headers=caller.headers).status_code
    return status


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("catalogue", {"catalogue"}), ("recommend", {"recommend"}), ("feedback", {"feedback"}),
        ("metrics", {"metrics"}), ("personal-data", set()),
    ],
)  # fmt: skip
def test_a_scope_opens_its_part_of_the_api_and_no_other(user: User, scope: str, allowed: set[str]) -> None:
    caller = caller_with(user, scope)

    statuses = {
        "catalogue": caller.get("/songs/").status_code,
        "recommend": caller.get("/songs/popular/").status_code,
        "feedback": caller.post("/feedback/", EVENT).status_code,
        "metrics": metrics_status(caller),
    }

    assert {name for name, status in statuses.items() if status in {200, 201}} == allowed
    assert {status for name, status in statuses.items() if name not in allowed} <= {401, 403}


def test_the_refusal_names_the_scope(user: User) -> None:
    answer = caller_with(user, "feedback").get("/songs/")

    assert answer.json()["error"]["code"] == "permission_denied"
    assert "lacks the scope catalogue" in answer.json()["error"]["message"]


def test_personal_data_needs_the_users_permission_and_the_scope_and_is_in_the_audit_trail(user: User) -> None:
    allow_personal_data(user)
    without, having = caller_with(user, "catalogue"), caller_with(user, "catalogue", "personal-data")

    seen = ["email" in caller.get("/users/1/").json() for caller in (without, having, having)]

    assert seen == [False, True, True]
    assert AuditEntry.objects.filter(action="personal_data_read").count() == 1


def test_every_route_of_the_api_has_a_scope() -> None:
    routes = {
        pattern.name
        for prefix in get_resolver().url_patterns
        if str(prefix.pattern).startswith("api/v1/")
        for pattern in getattr(prefix, "url_patterns", [prefix])
    }

    assert routes == set(ROUTE_SCOPES)


def test_a_key_knows_when_it_was_last_used(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = caller_with(user, "catalogue")
    before = timezone.now()
    caller.get("/songs/")
    first = ApiKey.objects.get().last_used_at
    caller.get("/songs/")

    assert first is not None
    assert first >= before
    assert ApiKey.objects.get().last_used_at == first


def test_rotation_makes_a_like_key_and_lets_the_old_one_live_for_a_while(user: User) -> None:
    key, secret = issue_key("iOS app", user, scopes=["catalogue"])
    out = StringIO()

    call_command("apikey", rotate=key.prefix, overlap_days=3, quiet=True, stdout=out)

    new = ApiKey.objects.exclude(pk=key.pk).get()
    old = ApiKey.objects.get(pk=key.pk)
    assert (new.name, new.user, new.scopes, new.expires_at) == ("iOS app", user, ["catalogue"], None)
    assert old.expires_at is not None
    assert timedelta(days=2.9) < old.expires_at - timezone.now() < timedelta(days=3.1)
    assert [ApiCaller(one).get("/songs/").status_code for one in (secret, out.getvalue().strip())] == [
        200,
        200,
    ]


def test_revoking_can_take_back_what_a_leaked_key_sent(user: User) -> None:
    leaked, secret = issue_key("leaked", user)
    ApiCaller(secret).post("/feedback/", [EVENT, {**EVENT, "event_id": "b", "kind": "skip"}])
    caller_with(user, "feedback").post("/feedback/", {**EVENT, "event_id": "c"})

    call_command("apikey", revoke=leaked.prefix, undo_feedback=True, stdout=StringIO())

    assert list(Feedback.objects.filter(withdrawn_at=None).values_list("event_id", flat=True)) == ["c"]
    assert Feedback.objects.count() == 3
    assert AuditEntry.objects.get(action="feedback_undone").target.endswith("2 events")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"name": "a", "user": "app", "scopes": "catalog"},
            "There is no scope catalog. Choose from catalogue",
        ),
        ({"rotate": "00000000"}, "No key starts with"),
    ],
)
def test_the_command_refuses_what_it_does_not_know(user: User, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("apikey", **options)


def token_for(caller: ApiCaller, **body: Any) -> str:
    answer = caller.post("/tokens/", {"user_id": 1, **body})
    assert answer.status_code == 201
    token: str = answer.json()["token"]
    return token


def test_a_token_acts_for_its_listener_alone(user: User) -> None:
    browser = ApiCaller(token_for(caller_with(user, "recommend", "feedback", "catalogue")))

    allowed = [
        browser.get("/users/1/recommendations/").status_code,
        browser.get("/songs/popular/").status_code,
        browser.post("/feedback/", EVENT).status_code,
        browser.get("/feedback/").status_code,
        browser.get("/feedback/a/").status_code,
    ]
    refused = [
        browser.get("/users/2/recommendations/").status_code,
        browser.get("/users/1/").status_code,
        browser.post("/feedback/", {**EVENT, "event_id": "b", "user_id": 2}).status_code,
        browser.post("/feedback/", [EVENT, {**EVENT, "event_id": "b", "user_id": 2}]).status_code,
        browser.get("/feedback/?user=2").status_code,
        browser.post("/tokens/", {"user_id": 2}).status_code,
        metrics_status(browser),
    ]

    assert allowed == [200, 200, 201, 200, 200]
    assert set(refused[:-1]) == {403}
    assert refused[-1] == 401
    # Its lists are stored, as those of a key are: feedback may name them.
    assert ServedList.objects.get().asked_by == f"key {ApiKey.objects.get().prefix} (An app)"
    # Events carry the key that the token was made with.
    assert Feedback.objects.get().key_id == ApiKey.objects.get().pk
    Feedback.objects.update(listener_id=2)
    assert [browser.get("/feedback/a/").status_code, browser.delete("/feedback/a/").status_code] == [404, 404]


def test_a_token_ends_with_its_time_its_key_and_any_change(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = caller_with(user, "recommend")
    token = token_for(caller, seconds=60)
    changed = token[:-1] + ("A" if token[-1] != "A" else "B")
    path = "/users/1/recommendations/"
    before = ApiCaller(token).get(path).status_code
    with monkeypatch.context() as later:
        now = timezone.now().timestamp()
        later.setattr("django.core.signing.time.time", lambda: now + 61)
        late = ApiCaller(token).get(path).status_code
    ApiKey.objects.update(revoked_at=timezone.now())

    revoked = ApiCaller(token).get(path).status_code

    assert (before, late, revoked, ApiCaller(changed).get(path).status_code) == (200, 401, 401, 401)


@pytest.mark.parametrize("body", [{"user_id": 99}, {"user_id": 1, "seconds": 86_401}, {"user_id": "x"}, {}])
def test_a_token_for_an_unknown_listener_or_too_long_is_refused(user: User, body: dict[str, Any]) -> None:
    assert caller_with(user, "recommend").post("/tokens/", body).status_code in {400, 404}


def test_a_request_for_a_token_has_no_unknown_field(user: User) -> None:
    answer = caller_with(user, "recommend").post("/tokens/", {"user_id": 1, "second": 60})

    assert answer.status_code == 400
    assert answer.json()["error"]["fields"] == {
        "second": ["Unknown field. Did you mean seconds? Known fields: seconds, user_id."]
    }


def test_a_staff_session_can_not_make_tokens(user: User) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))

    answer = client.post("/api/v1/tokens/", {"user_id": 1}, content_type="application/json")

    assert answer.status_code == 403
