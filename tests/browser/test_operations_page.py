"""The operations pages in a browser: light and dark, on a phone, by keyboard and by screen reader."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, ViewportSize, expect
from pytest_django.live_server_helper import LiveServer

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.models import AnomalyCheck, IngestionRun, Rejection, ResourceReport
from tests.support.accessibility import contrast_faults, serious_faults, switch_to_dark
from tests.support.builders.daily_runs import make_daily_runs

Open = Callable[..., None]
PHONE = ViewportSize(width=390, height=844)
DESK = ViewportSize(width=1280, height=900)
# Keyboard users need a visible focus.
FOCUS_RING = """() => {
    const style = getComputedStyle(document.activeElement);
    return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1 || style.boxShadow !== 'none';
}"""


@pytest.fixture
def run(transactional_db: None) -> IngestionRun:
    """The last of 30 daily runs; it has everything that the pages can show, including an anomaly."""
    runs = make_daily_runs(30, until=timezone.now() - timedelta(hours=1), rejected=1)
    run, now = runs[-1], timezone.now()
    IngestionRun.objects.filter(pk=run.pk).update(
        stages=[{"name": "reading songs", "started_at": run.started_at.isoformat(), "seconds": 15.0}]
    )
    IngestionRun.objects.filter(pk=runs[10].pk).update(status="failed", error_kind="source", error="down")
    ResourceReport.objects.filter(run=run, resource="songs").update(
        sample=[{"key": 7, "field": "album", "old": "Blue", "new": "Blue (Deluxe)"}]
    )
    Rejection.objects.create(
        run=run, last_run=run, resource="songs", payload='{"id": 1}', fingerprint="1", field="name",
        reason="is missing",
    )  # fmt: skip
    AnomalyCheck.objects.filter(run=run).update(value=180.0, verdict="high")
    facts = {"measure": "duration", "resource": "", "value": 180.0, "low": 30.0, "high": 90.0, "n": 30}
    incidents.open_or_update(Condition("unusual:duration", "unusual", "warning", facts, run.pk), now)
    incidents.open_or_update(Condition("beat_dead", "beat_dead", "critical"), now)
    return run


@pytest.fixture
def visit(
    page: Page, live_server: LiveServer, client: Client, django_user_model: Any, run: IngestionRun
) -> Open:
    """Opens a path for an operator who has signed in."""
    client.force_login(django_user_model.objects.create_superuser("ada"))
    session = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    page.set_viewport_size(DESK)

    def open_path(path: str) -> None:
        page.goto(f"{live_server.url}{path}")

    return open_path


@pytest.mark.parametrize("path", ["/", "/runs/{run}/", "/admin/ingestion/incident/"])
def test_a_screen_reader_and_weak_eyes_can_read_it_and_a_phone_scrolls_it_in_one_direction_only(
    page: Page, visit: Open, run: IngestionRun, path: str
) -> None:
    visit(path.format(run=run.pk))

    light = serious_faults(page)
    switch_to_dark(page)
    dark = contrast_faults(page)
    page.set_viewport_size(PHONE)
    phone = serious_faults(page)

    assert (light, dark, phone) == ([], [], [])
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_it_is_dark_where_the_system_prefers_that(page: Page, visit: Open) -> None:
    page.emulate_media(color_scheme="dark")

    visit("/")

    assert page.evaluate("document.documentElement.classList.contains('dark')")


def test_every_chart_is_drawn_and_its_table_opens_by_keyboard(page: Page, visit: Open) -> None:
    visit("/")

    drawn = page.evaluate("[...document.querySelectorAll('canvas')].map((one) => !!Chart.getChart(one))")
    page.get_by_text("Duration as a table").focus()
    page.keyboard.press("Enter")

    assert drawn == [True] * 11
    expect(page.get_by_role("region", name="Duration as a table").get_by_role("row")).to_have_count(30)


@pytest.mark.parametrize("path", ["/", "/runs/{run}/"])
def test_the_keyboard_reaches_every_link_and_shows_where_it_is(
    page: Page, visit: Open, run: IngestionRun, path: str
) -> None:
    visit(path.format(run=run.pk))
    # A run's page loads its log, in place of a link.
    page.wait_for_load_state("networkidle")
    wanted = page.evaluate(
        "() => [...document.querySelectorAll('.mm-page a, .mm-page summary')]"
        ".filter((one) => one.checkVisibility()).length"
    )
    page.evaluate("document.querySelector('.mm-page').setAttribute('tabindex', '-1')")
    page.locator(".mm-page").focus()

    reached, ringed = 0, True
    for _ in range(3 * wanted):
        page.keyboard.press("Tab")
        if not page.evaluate("document.activeElement.closest('.mm-page') !== null"):
            break
        reached += page.evaluate("document.activeElement.matches('a, summary')")
        ringed = ringed and page.evaluate(FOCUS_RING)

    assert reached == wanted > 8
    assert ringed


def test_a_point_of_a_chart_opens_its_run(page: Page, visit: Open, run: IngestionRun) -> None:
    visit("/")
    chart = page.locator("#card-duration ~ .mm-panel canvas")
    width = chart.bounding_box()["width"]  # type: ignore[index]

    chart.click(position={"x": width - 6, "y": 30})

    expect(page.get_by_role("heading", name=f"Run {run.pk} ", exact=False).first).to_be_visible()
    assert page.url.endswith(f"/runs/{run.pk}/")


def test_a_point_says_its_run_and_its_numbers(page: Page, visit: Open, run: IngestionRun) -> None:
    visit("/")
    chart = page.locator("#card-duration ~ .mm-panel canvas")
    width = chart.bounding_box()["width"]  # type: ignore[index]

    chart.hover(position={"x": width - 6, "y": 30})

    expect(page.locator("#mm-tip")).to_contain_text(f"Run {run.pk}")
    expect(page.locator("#mm-tip")).to_contain_text("Duration: 60 s")


def test_the_page_follows_a_run_from_its_start_to_its_end(page: Page, visit: Open) -> None:
    now = timezone.now()
    started = IngestionRun.objects.create(
        trigger="admin", status="running", started_at=now, heartbeat_at=now, host="here", pid=1,
        process_started=0.0, stage="reading songs", stage_done=10, stage_total=100,
    )  # fmt: skip
    visit("/")
    expect(page.locator("#live")).to_contain_text("10 % of this stage")
    assert serious_faults(page) == []
    IngestionRun.objects.update(stage_done=90)
    expect(page.locator("#live")).to_contain_text("90 % of this stage")

    IngestionRun.objects.filter(pk=started.pk).update(status="succeeded", finished_at=timezone.now())

    expect(page.locator("#live")).not_to_contain_text("in progress")
    expect(page.locator("#runs ~ .mm-scroll tbody tr").first).to_contain_text("Succeeded")
