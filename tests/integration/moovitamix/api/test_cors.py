"""Pages of other sites: those of CORS_ORIGINS may use tokens, and no page may use a key."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from recommender.api.authentication import issue_key
from recommender.api.tokens import make_token
from tests.support.builders.api import make_listener

pytestmark = pytest.mark.django_db
APP = "https://app.example.org"
PATH = "/api/v1/songs/popular/"


@pytest.fixture
def secrets(settings: Any) -> dict[str, str]:
    settings.CORS_ORIGINS = [APP]
    make_listener(1)
    key, secret = issue_key("App", User.objects.create_user("app"))
    return {"key": secret, "token": make_token(key, 1, 60)}


def allowed_origin(secret: str, origin: str) -> str | None:
    answer = Client().get(PATH, headers={"Authorization": f"Bearer {secret}", "Origin": origin})
    assert answer.status_code == 200
    found: str | None = answer.headers.get("Access-Control-Allow-Origin")
    return found


def test_a_listed_site_may_use_a_token_and_no_key(secrets: dict[str, str]) -> None:
    assert allowed_origin(secrets["token"], APP) == APP
    assert allowed_origin(secrets["key"], APP) is None
    assert allowed_origin(secrets["token"], "https://evil.example.org") is None


@pytest.mark.parametrize(("origin", "status"), [(APP, 204), ("https://evil.example.org", 401)])
def test_a_browser_may_ask_before_it_sends_a_token(secrets: dict[str, str], origin: str, status: int) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}

    answer = Client().options("/api/v1/feedback/", headers=headers)

    assert answer.status_code == status
    assert ("Access-Control-Allow-Headers" in answer.headers) is (status == 204)


def test_pages_outside_the_api_are_not_opened(secrets: dict[str, str]) -> None:
    answer = Client().get("/health/live/", headers={"Origin": APP})

    assert "Access-Control-Allow-Origin" not in answer.headers
