"""What the README promises stands there, and what stands there is promised."""

import re
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from tests.support.project import ROOT

README = (ROOT / "README.md").read_text()
OURS = sorted(
    name for name, app in get_commands().items() if app in {"moovitamix", "ingestion", "recommender"}
)


@pytest.mark.parametrize("name", OURS)
def test_every_command_has_help_and_stands_in_the_readme(name: str) -> None:
    command = load_command_class(get_commands()[name], name)

    assert len(command.help) > 40
    assert f"`{name}" in README or f"manage.py {name}" in README


def test_every_variable_of_the_readme_is_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    table = README[README.index("## Settings") : README.index("## When things break")]

    named = re.findall(r"`([A-Z][A-Z_]{3,})`", table)

    assert len(named) > 8
    assert [name for name in named if f"\n{name}=" not in example] == []


def test_every_file_the_readme_points_to_is_there() -> None:
    paths = re.findall(r"\| `((?:ingestion|moovitamix|recommender)/[\w/.]*)` \|", README)

    assert len(paths) > 6
    assert [path for path in paths if not Path(ROOT, path).exists()] == []


def test_the_exit_codes_of_the_readme_are_those_of_the_pipeline() -> None:
    sentence = (
        "0 succeeded, 1 failed, 2 partial (what is sure was applied), 3 another run holds the lock,\n"
        "4 refused (the source looks like another catalogue; nothing was written)"
    )

    assert sentence in README


@pytest.mark.parametrize(("file", "least"), [("docs/failures.md", 25), ("README.md", 16)])
def test_every_test_that_a_table_of_failures_names_is_there(file: str, least: int) -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / file).read_text())
    # Two rooms may have files of one name.
    files = [(path.name, path.read_text()) for path in (ROOT / "tests").rglob("test_*.py")]
    there = {(place, name) for place, text in files for name in re.findall(r"def (test_\w+)\(", text)}

    assert len(named) > least
    assert set(named) - there == set()
