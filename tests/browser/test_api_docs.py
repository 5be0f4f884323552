"""The API's documentation and browsable pages as a person sees them, without a network."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from recommender.api.authentication import issue_key
from recommender.models import Feedback
from tests.support.accessibility import serious_faults
from tests.support.builders.api import make_listener, make_song


@pytest.fixture
def secret(transactional_db: None, django_user_model: Any) -> str:
    make_listener(7)
    return issue_key("A browser", django_user_model.objects.create_user("app"))[1]


def test_a_developer_tries_a_call_in_the_documentation(
    page: Page, live_server: LiveServer, secret: str
) -> None:
    page.goto(f"{live_server.url}/api/docs/")
    page.get_by_role("button", name="Authorize").first.click()
    page.locator(".auth-container input").fill(secret)
    page.locator(".auth-btn-wrapper .authorize").click()
    page.locator(".auth-btn-wrapper .btn-done").click()
    page.locator("#operations-users-users_retrieve .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_placeholder("id").fill("7")
    page.get_by_role("button", name="Execute").click()

    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    expect(page.locator(".live-responses-table")).to_contain_text('"favorite_genres"')


def test_an_operator_leafs_through_the_api_after_the_admins_login(
    page: Page, live_server: LiveServer, secret: str, django_user_model: Any
) -> None:
    django_user_model.objects.create_superuser("ada", "ada@example.org", "a long password")
    page.goto(f"{live_server.url}/admin/login/?next=/api/v1/users/")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Log in").click()

    expect(page).to_have_title(re.compile("^User List .* MoovitaMix API$"))
    expect(page.locator("a.navbar-brand")).to_be_visible()
    expect(page.locator(".response-info")).to_contain_text('"favorite_genres"')


def test_the_documentation_can_be_read_by_everybody(page: Page, live_server: LiveServer) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{live_server.url}/api/docs/")

    ours = "header, h1, main > section:not(#endpoints)"
    assert serious_faults(page, ours) == []
    page.emulate_media(color_scheme="dark")
    assert serious_faults(page, ours) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_sample_app_plays_a_listeners_mix_with_a_token(
    page: Page, live_server: LiveServer, secret: str, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_STORAGE = tmp_path
    for pk in range(1, 4):
        make_song(pk, artist=f"Artist {pk}")
    headers = {"Authorization": f"Bearer {secret}"}
    made = Client().post("/api/v1/tokens/", {"user_id": 7}, content_type="application/json", headers=headers)

    page.goto(f"{live_server.url}/static/clients/player.html")
    page.get_by_label("API").fill(f"{live_server.url}/api/v1")
    page.get_by_label("Listener").fill("7")
    page.get_by_label("Token").fill(made.json()["token"])
    page.get_by_role("button", name="Play my mix").click()
    expect(page.get_by_role("heading", name="Song")).to_be_visible()
    page.get_by_role("button", name="Like", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("You like it.")
    page.get_by_role("button", name="Skip").click()
    expect(page.get_by_role("status")).to_have_text("Skipped.")
    page.get_by_role("button", name="Next song").click()
    page.get_by_role("button", name="Next song").click()
    expect(page.get_by_role("status")).to_have_text("That was your mix.")
    expect(page.get_by_role("button", name="Next song")).to_be_hidden()

    kinds = list(Feedback.objects.order_by("id").values_list("kind", flat=True))
    assert kinds == ["like", "skip", "listen", "listen"]
