"""The models page and its neighbours in a browser: light, dark, phone, screen reader; empty and filled."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, ViewportSize
from pytest_django.live_server_helper import LiveServer

from recommender.experiments import lifecycle
from recommender.models import DriftReport, EngagementDay, Experiment
from recommender.registry import registry
from tests.support.accessibility import serious_faults, switch_to_dark
from tests.support.builders.experiments import make_listeners_and_songs, make_version

PHONE = ViewportSize(width=390, height=844)
DESK = ViewportSize(width=1280, height=900)


@pytest.fixture
def staff(page: Page, live_server: LiveServer, client: Client, django_user_model: Any) -> Page:
    client.force_login(django_user_model.objects.create_superuser("ada"))
    session = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    page.set_viewport_size(DESK)
    return page


@pytest.fixture
def experiment(transactional_db: None) -> Experiment:
    """Versions, days of engagement, a drift report and a running experiment."""
    make_listeners_and_songs()
    now = timezone.now()
    metrics = {"mix": {"ndcg": 0.24, "listeners": 50}, "popularity": {"ndcg": 0.05}}
    labels = ("2026w44.1", "2026w45.1")
    older, newer = (make_version(label, metrics=metrics, cohesion={"silhouette_macro": 0.3, "r2": 0.5})
                    for label in labels)  # fmt: skip
    for number, x in enumerate((0.1, 0.6)):
        newer.clusters.create(number=number, position=number, name=f"Rock, {x}", size=12, plays=40,
                              facts={"map": [x, -x], "examples": [10, 11]})  # fmt: skip
    for one in (older, newer):
        registry.promote(one, reason="It is better.", by="ada", verify=lambda _: None)
    for day in range(9):
        EngagementDay.objects.create(version=newer, day=now.date() - timedelta(days=day), lists=20,
                                     listeners=9, engaged=1.5)  # fmt: skip
    DriftReport.objects.create(
        version=newer, kind="listening", week=now.date() - timedelta(days=7), at=now, effect=0.2, limit=0.1,
        n=900, drifted=True, alarm=True,
        causes=[{"clusters": [{"id": 1, "name": "Rock, 1990s"}], "change": 0.2, "part": 0.1, "songs": []}],
    )  # fmt: skip
    return lifecycle.propose_experiment(make_version("2026w46.1"), kind="change", gates={}, by="ada", now=now)


def paths(experiment: Experiment) -> list[str]:
    return [
        reverse("models"),
        reverse("admin:recommender_experiment_change", args=[experiment.pk]),
        reverse("admin:recommender_experiment_changelist"),
        reverse("admin:recommender_modelversion_change", args=[experiment.champion_id]),
        reverse("admin:recommender_driftreport_changelist"),
        reverse("admin:recommender_driftreport_change", args=[DriftReport.objects.get().pk]),
    ]


def test_pages_have_no_serious_accessibility_fault_and_fit_a_phone(
    staff: Page, live_server: LiveServer, experiment: Experiment
) -> None:
    found = {}
    for path in paths(experiment):
        staff.emulate_media(color_scheme="light")
        staff.set_viewport_size(DESK)
        staff.goto(f"{live_server.url}{path}")
        found[path, "light"] = serious_faults(staff)
        staff.set_viewport_size(PHONE)
        switch_to_dark(staff)
        found[path, "dark"] = serious_faults(staff)
        if staff.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            found[path, "phone"] = ["scrolls sideways"]

    assert {page: faults for page, faults in found.items() if faults} == {}


def test_every_chart_of_the_models_page_is_drawn(
    staff: Page, live_server: LiveServer, experiment: Experiment
) -> None:
    staff.goto(f"{live_server.url}{reverse('models')}")

    staff.wait_for_function("[...document.querySelectorAll('canvas')].every(one => Chart.getChart(one))")

    colours = staff.evaluate(
        "[...document.querySelectorAll('canvas')].map(one => Chart.getChart(one))"
        ".find(one => one.config.type === 'bubble').data.datasets[0].backgroundColor"
    )
    assert staff.locator("canvas").count() == 5
    # One for each cluster, by its style family.
    assert isinstance(colours, list)
    assert all(re.fullmatch(r"#[0-9a-f]{8}", colour) for colour in colours)


def test_an_empty_models_page_has_no_serious_accessibility_fault(
    staff: Page, live_server: LiveServer, transactional_db: None
) -> None:
    staff.goto(f"{live_server.url}{reverse('models')}")

    assert "No model serves yet" in staff.content()
    assert serious_faults(staff) == []
