"""Writes the pictures of README and docs from twelve simulated weeks; only if MOOVITAMIX_PICTURES=1 asks.

MOOVITAMIX_PICTURES_FOLDER names a folder whose simulation is used again.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, ViewportSize

from tests.support.project import ROOT

WEEKS = 12
IMAGES = ROOT / "docs" / "images"
# Each picture's page, and the links that lead from there to the page that is shown.
PICTURES = {
    "operations": ("/?days=90",),
    "models": ("/models/",),
    "listener": ("/listen/", ".listeners a"),
    # The last run that failed.
    "run": (
        "/admin/ingestion/ingestionrun/?status__exact=failed",
        "#result_list tbody a",
        ".mm-link[href^='/runs/']",
    ),
    "experiment": (
        "/admin/recommender/experiment/?kind__exact=change&outcome__exact=promote",
        "#result_list tbody a",
    ),
    # The newest version and the champion.
    "comparison": ("/admin/recommender/modelversion/", "#result_list tbody a", "a[href*='compare-with']"),
}
SIZE = ViewportSize(width=1200, height=670)

if os.environ.get("MOOVITAMIX_PICTURES") != "1":
    pytest.skip("MOOVITAMIX_PICTURES=1 writes the pictures of README and docs", allow_module_level=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and admin's password of a demo that serves simulated weeks."""
    folder = os.environ.get("MOOVITAMIX_PICTURES_FOLDER") or str(tmp_path_factory.mktemp("pictures"))
    # The demo shows the password when it makes the admin.
    (Path(folder) / "simulated" / "admin-made").unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    demo = subprocess.Popen(
        [sys.executable, "manage.py", "demo", f"--weeks={WEEKS}", f"--folder={folder}"],
        cwd=ROOT,
        env={**environment, "REDIS_URL": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout
    printed = ""
    for line in demo.stdout:
        printed += line
        if line.startswith("Logs are in"):
            break
    found = re.search(r"(http://127\.0\.0\.1:\d+)/admin/.*?admin / (\S+)", printed, re.DOTALL)
    assert found, printed
    yield found[1], found[2]
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=600)


def wait_until_heard(page: Page) -> None:
    """Reload the page until every process has sent a heartbeat, for two minutes at most."""
    silent = page.locator(".mm-quiet")
    for _ in range(60):
        if not silent.count():
            return
        page.wait_for_timeout(2_000)
        page.reload()
    pytest.fail(f"No heartbeat after two minutes: {silent.all_inner_texts()}")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_written(name: str, page: Page, site: tuple[str, str]) -> None:
    address, password = site
    page.set_viewport_size(SIZE)
    path, *links = PICTURES[name]
    page.goto(f"{address}/admin/login/?{urlencode({'next': path})}")
    page.get_by_label("Username").fill("admin")
    page.locator("input[name=password]").fill(password)
    page.keyboard.press("Enter")
    for link in links:
        page.locator(link).first.click()
        page.wait_for_load_state()
    # Celery's processes take some seconds longer to start than the pages.
    wait_until_heard(page)
    page.wait_for_function("[...document.querySelectorAll('canvas')].every(one => Chart.getChart(one))")
    # Charts grow into place.
    page.wait_for_timeout(1_500)

    IMAGES.mkdir(exist_ok=True)
    written = page.screenshot(path=IMAGES / f"{name}.png")

    assert len(written) < 150_000
    assert Path(IMAGES / f"{name}.png").exists()
