"""The admin in a browser: login and first pages."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer


@pytest.fixture
def operator(transactional_db: None, django_user_model: Any) -> Any:
    return django_user_model.objects.create_superuser("ada", "ada@example.org", "a long password")


def test_an_operator_signs_in_and_sees_the_front_page(
    page: Page, live_server: LiveServer, operator: Any
) -> None:
    page.goto(f"{live_server.url}/admin/")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Log in").click()

    expect(page).to_have_url(f"{live_server.url}/admin/")
    expect(page.get_by_label("Username")).to_have_count(0)
