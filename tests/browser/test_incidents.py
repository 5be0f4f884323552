"""Incidents in a browser: found and acknowledged, in light and dark, by keyboard and on a phone."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.alerts.notifications import create_notifications
from ingestion.models import Incident, Notification
from tests.support.accessibility import serious_faults, switch_to_dark

SCROLLS = """
[...document.querySelectorAll("main *, #content *")].filter(one => one.scrollWidth > one.clientWidth + 1
    && ["auto", "scroll"].includes(getComputedStyle(one).overflowX)).map(one => one.className)
"""
FITS = "document.documentElement.scrollWidth <= innerWidth"
# Cells of a list whose text is cut off, or whose label has a capital letter in the middle.
CUT_OFF = """
[...document.querySelectorAll('#result_list [data-label]')].filter(one =>
    one.scrollHeight > one.clientHeight + 1 || one.scrollWidth > one.clientWidth + 1
    || getComputedStyle(one, '::before').textTransform !== 'none').map(one => one.className)
"""
# Cells whose value, not label, gets a capital letter: labels are hidden on a wide page.
CAPITALISED = """
[...document.querySelectorAll('#result_list [data-label]')].filter(one =>
    getComputedStyle(one, '::first-letter').textTransform !== 'none').map(one => one.className)
"""
CONTENT = "main, [role=main], #content"


@pytest.fixture
def operator(transactional_db: None, django_user_model: Any, page: Page, live_server: LiveServer) -> Page:
    """A logged-in operator with one open and one resolved incident."""
    django_user_model.objects.create_superuser("ada", "ada@example.org", "a long password")
    now = timezone.now()
    facts = {"age_hours": 31.2, "limit_hours": 26.0, "brought_in_at": (now - timedelta(hours=31)).isoformat()}
    for key, kind in (("data_stale:songs", "data_stale"), ("run", "run_failed")):
        incidents.open_or_update(Condition(key, kind, "critical", facts), now - timedelta(hours=2))
    create_notifications(
        now, ["email", "slack"], remind_after=timedelta(hours=4), site_url=live_server.url, language="en"
    )
    incidents.resolve("run", now)
    Notification.objects.filter(channel="slack").update(attempts=3, error="Slack answered 503")
    page.goto(f"{live_server.url}/admin/")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Log in").click()
    return page


def test_an_operator_finds_an_incident_and_acknowledges_it(operator: Page, live_server: LiveServer) -> None:
    operator.get_by_role("link", name="Incidents").first.click()
    operator.get_by_role("link", name="Stale data: songs, 31 h 12 min old").click()

    expect(operator.get_by_role("heading", name="Stale data: songs, 31 h 12 min old")).to_be_visible()
    expect(operator.get_by_text("Check the latest runs: did they fail, or not start?")).to_be_visible()
    expect(operator.get_by_text("Slack answered 503")).to_be_visible()
    operator.get_by_role("button", name="Acknowledge").focus()
    operator.keyboard.press("Enter")
    expect(operator.get_by_text("1 incident acknowledged.")).to_be_visible()
    assert Incident.objects.get(key="data_stale:songs").acknowledged_by == "ada"


def test_the_lists_and_the_page_fit_and_are_accessible(operator: Page, live_server: LiveServer) -> None:
    incident = Incident.objects.get(key="data_stale:songs")

    for path in ("incident/", f"incident/{incident.pk}/change/", "notification/"):
        operator.emulate_media(color_scheme="light")
        operator.set_viewport_size({"width": 1280, "height": 900})
        operator.goto(f"{live_server.url}/admin/ingestion/{path}")
        assert serious_faults(operator, CONTENT) == []
        assert operator.evaluate(FITS)
        operator.set_viewport_size({"width": 390, "height": 900})
        switch_to_dark(operator)
        assert serious_faults(operator, CONTENT) == []
        assert operator.evaluate(FITS)
        assert operator.evaluate(CUT_OFF) == []


def test_at_1280_no_list_scrolls_sideways_or_changes_a_value(operator: Page, live_server: LiveServer) -> None:
    operator.set_viewport_size({"width": 1280, "height": 900})
    facts = {"part1": "received", "value": 1234567.0, "low": 2300000.0, "high": 2500000.0, "n": 30}
    long = Condition("unusual:received:listening_history", "unusual", "warning", facts)
    incidents.acknowledge(
        incidents.open_or_update(long, timezone.now()), "a.person.with.a.long.name", timezone.now()
    )

    scrolling = {}
    for name in ("incident", "notification", "ingestionrun", "rejection", "anomalycheck"):
        operator.goto(f"{live_server.url}/admin/ingestion/{name}/")
        expect(operator.get_by_role("textbox").first).to_be_visible()
        scrolling[name] = operator.evaluate(SCROLLS) + operator.evaluate(CAPITALISED)

    assert {name: found for name, found in scrolling.items() if found} == {}
