"""A listener in a browser: likes, skips, undoes, turns the dial; light, dark, phone and without scripts."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect
from pytest_django.live_server_helper import LiveServer

from recommender.dashboard.listen import access
from recommender.models import Feedback, ServedList
from tests.support.accessibility import serious_faults
from tests.support.builders.recommendations import LISTENER
from tests.support.builders.small_world import fill_tables, small_world
from tests.support.builders.trained_model import train_champion

PHONE = ViewportSize(width=390, height=844)
DESK = ViewportSize(width=1280, height=900)


@pytest.fixture
def link(transactional_db: None, live_server: LiveServer, tmp_path: Path, settings: Any) -> str:
    """A listener's link, in a world with a trained model."""
    settings.MODEL_STORAGE = tmp_path
    settings.PLAYER_URL_TEMPLATE = "http://127.0.0.1:9/{id}"
    fill_tables(small_world())
    train_champion(tmp_path)
    return f"{live_server.url}/listen/open/{access.make_link_token(LISTENER)}/"


def test_a_listener_likes_skips_undoes_and_turns_the_dial(page: Page, browser: Browser, link: str) -> None:
    page.set_viewport_size(DESK)
    page.goto(link)
    cards = page.locator("#mix-row .card")
    first, second = cards.nth(0), cards.nth(1)

    first.get_by_text("Like", exact=True).click()
    expect(first).to_contain_text("You like it.")
    second.get_by_role("button", name="Skip").focus()
    page.keyboard.press("Enter")
    expect(second).to_contain_text("Skipped.")
    expect(page.locator("#announcer")).to_have_text("Skipped. It stays away for a month.")
    expect(second.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("Enter")
    expect(second.get_by_role("button", name="Skip")).to_be_visible()
    assert list(Feedback.objects.not_withdrawn().values_list("kind", flat=True)) == ["like"]

    dial = page.get_by_role("slider", name="How adventurous")
    dial.fill("1")
    expect(page.locator("#new-artists")).to_have_text("20 of 20 songs by new artists.")
    with page.expect_response(lambda answer: "moving" not in answer.url):
        dial.dispatch_event("change")
    assert ServedList.objects.filter(discovery=1.0, mode="mix").count() == 1

    assert_readable(page)
    assert_works_without_scripts(browser, link)


def assert_readable(page: Page) -> None:
    for scheme, size in (("light", DESK), ("dark", PHONE)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(size)
        page.reload()
        assert serious_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    # A phone shows rows that scroll sideways, not one long list.
    assert page.evaluate("document.documentElement.scrollHeight") < 5_000


def assert_works_without_scripts(browser: Browser, link: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(link)
    third = page.locator("#mix-row .card").nth(2)
    third.get_by_role("button", name="Dislike").click()
    expect(third).to_contain_text("You will not get it again.")
    page.get_by_role("button", name="Draw again").click()
    expect(page).to_have_url(re.compile("discovery="))
    context.close()
