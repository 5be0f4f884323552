"""A newcomer who has only the README: from its first command to a song with its reason."""

import re
import shlex
import signal
import sys
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.project import ROOT, Project, wait_for_line

# The README's command simulates weeks, which takes a minute; these sizes take seconds.
SMALL = ("--weeks=0", "--songs=60", "--listeners=20", "--days=5")
LINKS = re.compile(r"^ +(listeners|operations|models) +http://127\.0\.0\.1:\d+(/\S*)  (.+)$", re.MULTILINE)


def test_a_newcomer_comes_from_the_readme_to_an_explained_recommendation(
    page: Page, sqlite_project: Project, tmp_path: Path
) -> None:
    readme = (ROOT / "README.md").read_text()
    command = re.search(r"^    (python3 manage\.py demo)$", readme, re.MULTILINE)
    promised = LINKS.findall(readme)
    assert command
    python, script, *arguments = shlex.split(command[1])
    assert (python, len(promised)) == ("python3", 3)

    process = sqlite_project.start(
        sys.executable, str(ROOT / script), *arguments, f"--folder={tmp_path / 'demo'}", "--web-port=0",
        "--source-port=0", *SMALL,
    )  # fmt: skip
    printed = wait_for_line(process, "Ctrl-C stops everything.")
    address = re.search(r"listeners +(http://\S+)", printed)
    login = re.search(r"log in as +(\S+) / (\S+)", printed)
    assert address
    assert login
    page.goto(address[1])
    page.get_by_label("Username").fill(login[1])
    page.get_by_label("Password").fill(login[2])
    page.get_by_role("button", name="Log in").click()
    page.locator(".listeners a").first.click()
    reason = page.locator("#mix-row .card .reason").first
    expect(reason).not_to_be_empty()
    page.get_by_role("link", name="Operations").click()
    expect(page.get_by_role("heading", name="All is well")).to_be_visible()
    page.goto("about:blank")
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=600)[0]

    assert LINKS.findall(printed) == promised
    assert "Stopped." in rest
