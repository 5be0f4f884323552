"""A seeded part of `python -m benchmarks proof`: random misleading sources against a plain reference."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.imports.random_sources.cases import CaseRunner
from tests.support.project import Project

# Enough for every kind of fault; the benchmark runs 2 000.
POSTGRES_SEEDS = range(1, 16)
SQLITE_CASES = 45
# Incidents cost a quarter of a run's time.
REVIEW_EVERY = 4


@pytest.mark.slow
@pytest.mark.django_db
def test_random_sources_on_postgresql_are_imported_as_their_status_promises(tmp_path: Path) -> None:
    runner = CaseRunner(tmp_path / "staging", REVIEW_EVERY)

    with runner.serving():
        cases = [runner.run_case(seed) for seed in POSTGRES_SEEDS]

    assert [case.describe() for case in cases if case.problems] == []
    statuses = Counter(day.status for case in cases for day in case.days)
    assert statuses["succeeded"] >= 8
    assert statuses["partial"] >= 4


@pytest.mark.slow
def test_random_sources_on_sqlite_are_imported_as_their_status_promises(sqlite_project: Project) -> None:
    process = sqlite_project.start(
        sys.executable, "-m", "benchmarks.imports.proof_cases", "1000", str(SQLITE_CASES),
        str(sqlite_project.folder / "staging"), str(REVIEW_EVERY), LOG_LEVEL="ERROR",
    )  # fmt: skip
    said = process.communicate(timeout=600)[0]

    assert process.returncode == 0, said
    cases = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert len(cases) == SQLITE_CASES
    assert [case["text"] for case in cases if case["problems"]] == []
