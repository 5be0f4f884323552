"""The API's documentation and browsable pages as a person sees them, without a network."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from recommender.api.authentication import issue_key
from tests.support.builders.api import make_listener


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
