"""Accessibility checks of pages: screen readers and contrast, in the light and the dark theme."""

from typing import Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SERIOUS: Final = frozenset({"serious", "critical"})
# The theme follows the system's preference when a page is loaded; colours may then take a moment to change.
DARKEN: Final = """() => {
    document.documentElement.classList.add('dark');
    return Promise.all(document.getAnimations().map((one) => one.finished));
}"""


def serious_faults(page: Page, context: str | None = None) -> list[str]:
    """Serious accessibility faults of the page, or of its part that these selectors name."""
    found = Axe().run(page, context=context).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found
        for node in fault["nodes"]
        if fault["impact"] in SERIOUS
    ]


def switch_to_dark(page: Page) -> None:
    """Switch to the dark theme without loading the page again."""
    page.emulate_media(color_scheme="dark")
    page.evaluate(DARKEN)
