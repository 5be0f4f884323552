"""README and docs/ as tests read them: links, anchors, code blocks, names."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.support.project import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Four spaces after an empty line: a command to copy, or what it prints.
INDENTED = re.compile(r"(?:(?<=\n\n)|\A)((?: {4}.*\n)+)")


class Link(NamedTuple):
    """A link in a document.

    Attributes:
        target: a path; empty for a link within the document.
        anchor: the part after #, or empty.
    """

    target: str
    anchor: str


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def prose(document: Path) -> str:
    """The text without its code blocks."""
    return INDENTED.sub("", FENCE.sub("", document.read_text()))


def links(document: Path) -> list[Link]:
    """Links and pictures within the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(document))
    return [
        Link(*target.partition("#")[::2])
        for target in found
        if not target.startswith(("http://", "https://", "mailto:"))
    ]


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#{1,6} (.+)$", FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_blocks(document: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(document.read_text()) if kind == language]


def commands(document: Path) -> list[str]:
    """Each line of an indented block, and each text between backticks that has no line break."""
    text = document.read_text()
    lines = [line for block in INDENTED.findall(FENCE.sub("", text)) for line in block.splitlines()]
    return [line.strip() for line in lines] + re.findall(r"`([^`\n]+)`", prose(document))


def section(document: Path, title: str) -> str:
    """The text under a heading, up to the next heading of the same level or above."""
    text = document.read_text()
    start = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert start, f"{name_of(document)} has no section {title!r}"
    rest = text[start.end() :]
    end = re.search(rf"^#{{1,{len(start[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest
