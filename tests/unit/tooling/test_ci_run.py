""".ci/run: every check in turn, and the first failure ends it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.project import ROOT

STEPS = [
    "python3 manage.py test --version",
    "ruff check .",
    "ruff format --check .",
    "djlint templates --lint --check --quiet",
    "mypy .",
    "lint-imports",
    "python3 manage.py makemigrations --check --dry-run",
    "python3 manage.py check",
    "python3 manage.py test -x",
]
# Writes down what was asked, and fails where it is told to.
TOOL = """#!/bin/sh
asked="$(basename "$0")${*:+ $*}"
echo "$asked" >> asked
[ "$asked" != "$FAIL" ]
"""


def run(folder: Path, fail: str = "", *further: str) -> tuple[int, list[str]]:
    """Run a copy of .ci/run between tools that only write down their names."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name in ("python3", "ruff", "djlint", "mypy", "lint-imports", "chromium", "nginx", "java", *further):
        (tools / name).write_text(TOOL)
        (tools / name).chmod(0o755)
    path = f"{tools}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", str(folder / ".ci" / "run"), "-x"], env={"PATH": path, "FAIL": fail}, cwd="/", check=False
    )
    return done.returncode, (folder / "asked").read_text().splitlines()


def test_every_check_runs_and_the_tests_come_last(tmp_path: Path) -> None:
    code, asked = run(tmp_path)

    assert code == 0
    assert asked == STEPS


def test_the_packages_of_the_spark_test_are_installed_and_may_fail(tmp_path: Path) -> None:
    install = "pip install --quiet --disable-pip-version-check --require-hashes -r requirements-spark.lock"

    code, asked = run(tmp_path, install, "pip")

    assert code == 0
    assert asked == [STEPS[0], install, *STEPS[1:]]


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_the_first_failure_ends_it(tmp_path: Path, step: int) -> None:
    code, asked = run(tmp_path, fail=STEPS[step])

    assert code != 0
    assert asked == STEPS[: step + 1]
