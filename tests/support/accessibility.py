"""Accessibility checks of pages: screen readers and contrast, in the light and the dark theme."""

from typing import Any, Final

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

# Only faults that count are returned: to transfer axe's whole report takes as long as to make it.
FIND_FAULTS: Final = """([context, options]) => axe.run(context ?? document, options).then((report) =>
    report.violations.filter((fault) => ["serious", "critical"].includes(fault.impact)).flatMap((fault) =>
        fault.nodes.map((node) => `${fault.id}: ${node.html.slice(0, 200)}`)))"""
# "region" is a moderate fault, and finding it takes a seventh of the time.
ALL_RULES: Final = {"resultTypes": ["violations"], "rules": {"region": {"enabled": False}}}
CONTRAST: Final = {"resultTypes": ["violations"], "runOnly": ["color-contrast", "link-in-text-block"]}
# The theme follows the system's preference when a page is loaded; colours may then take a moment to change,
# and some of these animations are cancelled.
DARKEN: Final = """() => {
    document.documentElement.classList.add('dark');
    return Promise.allSettled(document.getAnimations().map((one) => one.finished));
}"""


def serious_faults(page: Page, context: str | None = None) -> list[str]:
    """Serious accessibility faults of the page, or of its part that these selectors name."""
    return _find_faults(page, context, ALL_RULES)


def contrast_faults(page: Page, context: str | None = None) -> list[str]:
    """Serious faults of colours alone, for a page in its second theme."""
    return _find_faults(page, context, CONTRAST)


def switch_to_dark(page: Page) -> None:
    """Switch to the dark theme without loading the page again."""
    page.emulate_media(color_scheme="dark")
    page.evaluate(DARKEN)


def _find_faults(page: Page, context: str | None, options: dict[str, Any]) -> list[str]:
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE_SCRIPT)
    found: list[str] = page.evaluate(FIND_FAULTS, [context, options])
    return found
