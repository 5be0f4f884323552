"""Experiment, decision, drift and song-evidence pages in a browser: accessibility, layout and keyboard."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, ViewportSize, expect
from pytest_django.live_server_helper import LiveServer

from recommender.experiments import lifecycle
from recommender.experiments.interleaving_scores import open_scored_list
from recommender.models import Decision, DriftReport, EngagementDay, Experiment, ScoredList, SongEvidence
from recommender.registry import registry
from tests.support.accessibility import serious_faults, switch_to_dark
from tests.support.builders.experiments import (
    make_healthy_feed,
    make_interleaved_list,
    make_listeners_and_songs,
    make_version,
)

PHONE = ViewportSize(width=390, height=844)
DESK = ViewportSize(width=1280, height=900)
TEAMS = [False, True] * 2
# A scrolling region needs a name and must be reachable by Tab.
UNREACHED = """() => [...document.querySelectorAll('.mm-scroll')]
    .filter((one) => one.tabIndex !== 0 || !(one.ariaLabel || one.getAttribute('aria-labelledby')))
    .map((one) => one.outerHTML)"""
WIDE = "document.documentElement.scrollWidth > window.innerWidth"
SIDEWAYS = """() => [...document.querySelectorAll('#content *')].filter((one) => one.checkVisibility()
    && ['auto', 'scroll'].includes(getComputedStyle(one).overflowX) && one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.className)"""


@pytest.fixture
def staff(page: Page, live_server: LiveServer, client: Client, django_user_model: Any) -> Page:
    client.force_login(django_user_model.objects.create_superuser("ada"))
    session = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    page.set_viewport_size(DESK)
    return page


@pytest.fixture
def experiment(transactional_db: None) -> Experiment:
    """A checked experiment on its fourth day, a waiting one, a drift report and a moved song."""
    make_listeners_and_songs()
    now = timezone.now()
    first = make_version("2026w44.1")
    registry.promote(first, reason="The first.", by="test", verify=lambda one: None)
    gates = {"passed": True, "gates": [{"sentence": "50 listeners got 20 songs each."}]}
    experiment = lifecycle.propose_experiment(
        make_version("2026w45.1"), kind="change", by="test", now=now - timedelta(days=4), gates=gates
    )
    for day in range(3):
        for listener in (1, 2):
            served = make_interleaved_list(
                experiment, listener, now - timedelta(days=3 - day), [10, 11, 12, 13], TEAMS
            )
            open_scored_list(served, experiment, TEAMS)
    ScoredList.objects.update(closed_at=now, wins=2, losses=1)
    make_healthy_feed(now)
    lifecycle.judge_experiments(now, lambda one: None)
    lifecycle.propose_experiment(make_version("2026w46.1"), kind="refresh", by="test", now=now, gates=gates)
    for number, name in ((1, "Rock, energetic, 1990s"), (2, "Metal, sad, energetic")):
        first.clusters.create(number=number, position=number, name=name, size=10)
    causes = [{"clusters": [{"id": 2, "name": "Metal, sad, energetic"}], "others": 0, "change": 0.16,
               "songs": [{"id": 10, "name": "Song 10 by Artist 10", "plays": 49}]}]  # fmt: skip
    DriftReport.objects.create(
        version=first, kind="listening", week=now.date(), at=now, n=2183, listeners=64, p=0.0005,
        effect=0.236, limit=0.1, drifted=True, alarm=True, causes=causes,
    )  # fmt: skip
    EngagementDay.objects.create(version=first, day=now.date(), lists=20, listeners=9, engaged=1.5)
    SongEvidence.objects.create(
        version=first, song_id=10, before=1, after=2, listeners=14, log_odds=2.2, margin=0.9
    )
    return experiment


def pages() -> dict[str, str]:
    waiting = Experiment.objects.get(status="waiting")
    rows = {
        "experiment": waiting,
        "decision": Decision.objects.get(),
        "driftreport": DriftReport.objects.get(),
        "engagementday": EngagementDay.objects.get(),
        "songevidence": SongEvidence.objects.get(),
    }
    found = {name: reverse(f"admin:recommender_{name}_change", args=[row.pk]) for name, row in rows.items()}
    return {
        **found,
        "models": reverse("models"),
        "running experiment": reverse(
            "admin:recommender_experiment_change", args=[Decision.objects.get().experiment_id]
        ),
        "song": reverse("admin:ingestion_song_change", args=[10]),
        "versions": reverse("admin:recommender_modelversion_compare"),
        "start": reverse("admin:recommender_modelversion_start_experiment", args=[waiting.challenger_id]),
        "split": reverse("admin:recommender_experiment_set_split"),
    }


def lists() -> dict[str, str]:
    names = (
        "experiment",
        "decision",
        "driftreport",
        "engagementday",
        "songevidence",
        "promotion",
        "modelversion",
    )
    return {name: reverse(f"admin:recommender_{name}_changelist") for name in names}


def test_pages_are_accessible_and_fit_the_screen(
    staff: Page, live_server: LiveServer, experiment: Experiment
) -> None:
    found = {}
    for name, path in {**pages(), **{f"{name} list": path for name, path in lists().items()}}.items():
        staff.emulate_media(color_scheme="light")
        staff.set_viewport_size(DESK)
        staff.goto(f"{live_server.url}{path}")
        # Only lists are wide: their columns must fit beside the menu.
        sideways = staff.evaluate(SIDEWAYS) if name.endswith(" list") else []
        found[name, "light"] = (
            serious_faults(staff),
            staff.evaluate(WIDE),
            staff.evaluate(UNREACHED),
            sideways,
        )
        staff.set_viewport_size(PHONE)
        switch_to_dark(staff)
        found[name, "dark"] = (serious_faults(staff), staff.evaluate(WIDE), staff.evaluate(UNREACHED), [])

    assert {page: one for page, one in found.items() if one != ([], False, [], [])} == {}


def test_an_experiments_page_draws_evidence_share_and_rounds(
    staff: Page, live_server: LiveServer, experiment: Experiment
) -> None:
    staff.goto(f"{live_server.url}{pages()['running experiment']}")

    staff.wait_for_function("[...document.querySelectorAll('canvas')].every(one => Chart.getChart(one))")

    assert staff.locator("canvas").count() == 3
    drawn = "(at) => Chart.getChart(document.querySelectorAll('canvas')[at]).scales.y.type"
    assert [staff.evaluate(drawn, at) for at in range(3)] == ["logarithmic", "linear", "linear"]


def test_an_experiment_is_stopped_by_keyboard_with_a_reason(
    staff: Page, live_server: LiveServer, experiment: Experiment
) -> None:
    staff.goto(f"{live_server.url}{pages()['running experiment']}")
    staff.get_by_role("link", name="Stop").focus()
    staff.keyboard.press("Enter")
    staff.get_by_label("Reason").fill("The shares were wrong.")
    staff.get_by_role("button", name="Stop the experiment").focus()
    staff.keyboard.press("Enter")

    expect(staff.get_by_role("heading", name="Stopped on")).to_be_visible()
    expect(staff.get_by_text("Stopped by ada: The shares were wrong.").first).to_be_visible()
    expect(staff.get_by_role("link", name="Promote")).to_have_count(0)


def test_drift_reports_lead_to_their_songs(
    staff: Page, live_server: LiveServer, experiment: Experiment
) -> None:
    staff.goto(f"{live_server.url}{lists()['driftreport']}")
    staff.locator("#result_list tbody a").first.click()
    staff.get_by_role("link", name="Song 10 by Artist 10").click()

    expect(staff.get_by_role("heading", name="Feedback on this song's cluster")).to_be_visible()
    expect(
        staff.get_by_text("2026w44.1: moved because of the feedback of 14 listeners: evidence 9.0 : 1")
    ).to_be_visible()
