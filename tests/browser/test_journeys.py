"""People in a browser, each from the first page to the end of what they came for."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from ingestion.demo.server import DemoServer
from ingestion.models import IngestionRun, Song
from ingestion.services import ingest_now
from recommender.models import Feedback, ModelVersion, ServedList
from recommender.registry import registry
from tests.support.accessibility import serious_faults
from tests.support.builders.experiments import make_version
from tests.support.builders.recommendations import LISTENER
from tests.support.builders.small_world import fill_tables, small_world
from tests.support.builders.trained_model import train_champion
from tests.support.servers.list_source import ListSource


@pytest.fixture
def staff(
    page: Page, live_server: LiveServer, client: Client, django_user_model: Any, settings: Any, tmp_path: Path
) -> Page:
    """The first page, opened by somebody with all rights; runs that are started there run in the process."""
    settings.REDIS_URL, settings.BROKER_DIR = "", tmp_path / "broker"
    settings.STAGING_DIR = tmp_path / "staging"
    settings.MODEL_STORAGE = tmp_path / "models"
    client.force_login(django_user_model.objects.create_superuser("ada"))
    session = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    page.set_viewport_size({"width": 1280, "height": 900})
    return page


@pytest.fixture
def source_of_next_time() -> Iterator[DemoServer]:
    """A source that works; BASE_URL is another address until the test sets it."""
    with DemoServer(ListSource()) as server:
        yield server


def test_an_operator_finds_why_the_last_run_failed_and_runs_it_again(
    staff: Page, live_server: LiveServer, settings: Any, source_of_next_time: DemoServer
) -> None:
    settings.BASE_URL, settings.SOURCE_ATTEMPTS = "http://127.0.0.1:9", 1
    failed = ingest_now(trigger="schedule", slot="2026-11-23 02:00 UTC")
    settings.BASE_URL = source_of_next_time.url
    settings.TIME_ZONE = "Asia/Tokyo"  # the browser is in UTC

    staff.goto(live_server.url)
    expect(staff.get_by_role("heading", name="The ingestion run failed")).to_be_visible()
    staff.get_by_role("link", name=f"Why run {failed.pk} did not succeed").click()
    expect(staff.get_by_text("http://127.0.0.1:9").first).to_be_visible()
    expect(staff.get_by_text(f"{failed.started_at:%H:%M} on your clock")).to_be_visible()
    assert serious_faults(staff) == []
    staff.get_by_role("link", name="Run again").click()
    staff.get_by_role("button", name="Run now").click()
    expect(staff.get_by_text("The run has been started.")).to_be_visible()
    staff.get_by_role("link", name="Operations").first.click()
    # The page follows the run by itself.
    row = staff.get_by_role("row").filter(
        has=staff.get_by_role("link", name=f"Run {failed.pk + 1}", exact=True)
    )
    expect(row).to_contain_text("Succeeded", timeout=30_000)
    expect(staff.get_by_role("heading", name="The ingestion run failed")).to_be_hidden()

    assert IngestionRun.objects.latest("pk").trigger == "admin"
    assert Song.objects.exists()


def test_a_newcomer_gets_an_explained_song_and_a_data_scientist_rolls_back(
    staff: Page, live_server: LiveServer, settings: Any
) -> None:
    """One trained model for both: a training takes longer than the journeys."""
    fill_tables(small_world())
    first = train_champion(settings.MODEL_STORAGE)
    second = make_version("2026w50.1", metrics=first.metrics, artifact_sha256=first.artifact_sha256)
    shutil.copytree(settings.MODEL_STORAGE / first.label, settings.MODEL_STORAGE / second.label)
    registry.promote(second, reason="Better offline.", by="ada", verify=lambda _: None)

    explain_a_song(staff, live_server)
    compare_and_roll_back(staff, first, second)


def test_a_developer_comes_from_the_documentation_to_a_list_in_python_and_javascript(
    staff: Page, live_server: LiveServer, settings: Any, tmp_path: Path
) -> None:
    fill_tables(small_world())
    train_champion(settings.MODEL_STORAGE)

    staff.goto(live_server.url)
    staff.get_by_role("link", name="API keys").click()
    staff.get_by_role("link", name="Add API key").first.click()
    staff.get_by_label("Name*").fill("My app")
    staff.locator("select[name=user]").select_option(label="ada", force=True)
    for scope in ("read songs, listeners", "request lists", "send feedback"):
        staff.get_by_label(scope).check()
    staff.get_by_role("button", name="Save", exact=True).click()
    shown = staff.get_by_text("Copy it now").inner_text()
    staff.get_by_role("link", name="API documentation").click()
    snippets = {name: staff.locator(f"#quickstart-{name}").inner_text() for name in ("python", "javascript")}
    key = re.search(r"is ([0-9a-f]{40,})\.", shown)
    assert key
    environment = {**os.environ, "MOOVITAMIX_KEY": key[1]}
    (tmp_path / "quickstart.mjs").write_text(snippets["javascript"])

    assert_lists_five_songs([sys.executable, "-c", snippets["python"]], tmp_path, environment)
    assert ServedList.objects.filter(version__role="champion").count() == 1
    assert Feedback.objects.filter(kind="like").count() == 1
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the list in Python was checked, the one in JavaScript was not")
    assert_lists_five_songs([node, "quickstart.mjs"], tmp_path, environment)
    assert ServedList.objects.filter(version__role="champion").count() == 2
    assert Feedback.objects.filter(kind="like").count() == 2


def assert_lists_five_songs(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """The command prints five songs, each with its reason."""
    printed = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert len(re.findall(r"^\d .+ by .+ - \w.+$", printed, re.MULTILINE)) == 5


def explain_a_song(page: Page, live_server: LiveServer) -> None:
    page.goto(live_server.url)
    page.get_by_role("link", name="Listener page").click()
    page.get_by_label("Listener ID").fill(str(LISTENER))
    page.get_by_role("button", name="Show").click()
    card = page.locator("#mix-row .card").first
    expect(card.locator(".reason")).not_to_be_empty()
    page.get_by_text("For staff: how this mix was drawn").click()
    expect(page.locator("#mix-row details")).to_contain_text("2026w50.1")
    assert serious_faults(page) == []
    page.get_by_role("link", name="Operations").click()
    page.get_by_role("link", name=re.compile("Models$")).click()


def compare_and_roll_back(page: Page, first: ModelVersion, second: ModelVersion) -> None:
    expect(page.get_by_text(second.label).first).to_be_visible()
    page.get_by_role("link", name="Model versions").first.click()
    page.get_by_role("link", name="Compare versions").first.click()
    page.get_by_label("First").select_option(label=second.label)
    page.get_by_label("Second").select_option(label=first.label)
    page.get_by_role("button", name="Compare two versions").click()
    expect(page.get_by_role("heading", name=f"{second.label} and {first.label}")).to_be_visible()
    assert serious_faults(page) == []
    page.get_by_role("link", name="Model versions").first.click()
    page.get_by_role("link", name="Roll back").first.click()
    page.get_by_label("Reason").fill("Listeners complain.")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_text(f"{first.label} is the champion now.")).to_be_visible()

    assert dict(ModelVersion.objects.values_list("label", "role")) == {
        first.label: "champion", second.label: "withdrawn"
    }  # fmt: skip
