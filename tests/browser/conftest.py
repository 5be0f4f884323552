"""Fixtures of the browser tests: Chromium, which must be installed, because it is not a Python package."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Instead of asking for each request: that would turn the browser's cache off.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
LOOPBACK = {"127.0.0.1", "localhost"}
# A busy machine may take this long for what a quiet one does in a second: the default is 5 seconds.
PATIENCE_MS = 120_000
expect.set_options(timeout=PATIENCE_MS)
FORGET = "() => { localStorage.clear(); sessionStorage.clear(); }"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a file of tests; not for all of them, see below."""
    path = os.environ.get("MOOVITAMIX_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no chromium on PATH, and MOOVITAMIX_CHROMIUM names none")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright runs an event loop in this thread until it stops, and Django would refuse all queries.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser context for all tests of a file, so that each style sheet and script is loaded once."""
    context = browser.new_context(locale="en-GB", timezone_id="UTC", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page without cookies; an error in its scripts or console, or a request elsewhere, fails the test."""
    wrong: list[str] = []

    def check_host(request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in {"data", "blob", "about"} and address.hostname not in LOOPBACK:
            wrong.append(f"request to {request.url}")

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            wrong.append(f"console: {message.text}")

    page = context.new_page()
    page.on("request", check_host)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("console", listen)
    yield page
    context.clear_cookies()
    if urlsplit(page.url).hostname in LOOPBACK:
        page.evaluate(FORGET)
    page.close()
    assert wrong == []
