"""The soak benchmark: its plan, and what it counts as growth."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.service.faults.api_checks import read_report
from benchmarks.service.faults.damaged_artifacts import damage_artifacts
from benchmarks.service.faults.hostile_requests import malformed_body
from benchmarks.service.soak import PARTS, QUICK, Plan, memory_growth, plan_from_arguments
from recommender.engine.artifact import write_arrays


def plan(*arguments: str) -> Plan:
    return plan_from_arguments(build_parser().parse_args(["soak", *arguments]))


def test_by_default_it_is_the_long_form_of_all_parts() -> None:
    assert plan() == Plan(kills=50, minutes=5.0, bodies=10_000, artifacts=1_000, examples=100)
    assert plan("--quick").kills == QUICK.kills == 1
    assert plan("--only", "kills", "--only", "slow").parts == ("kills", "slow")
    assert set(PARTS) == {"kills", "clients", "slow", "bodies", "artifacts", "api"}


def test_failures_of_generated_requests_are_read_from_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    throttled = "2. Test Case ID: b\n\n- Expected 401 or 403, got `429 Too Many Requests` for `GET /runs/`"
    report.write_text(
        '<testsuites><testsuite><testcase name="GET /songs/"/><testcase name="GET /runs/">'
        '<failure message="ST103">'
        f"1. Test Case ID: a\n\n- Undocumented status code\n\n{throttled}</failure></testcase>"
        '<testcase name="GET /users/"><skipped/></testcase></testsuite></testsuites>'
    )

    totals = read_report(report)

    assert totals.operations == 2
    assert totals.failures == ["GET /runs/: 1. Test Case ID: a\n\n- Undocumented status code\n\n"]


def test_growth_is_that_of_the_second_half() -> None:
    rows = [
        (float(second), 100.0 + min(second, 60) + max(0, second - 60) / 60) for second in range(0, 120, 2)
    ]

    assert memory_growth(rows) == pytest.approx(1.0, abs=0.01)


def test_bodies_differ_from_each_other_and_repeat_with_the_seed() -> None:
    def bodies(seed: int) -> list[bytes]:
        draws = random.Random(seed)
        return [malformed_body(draws) for _ in range(200)]

    assert bodies(1) == bodies(1)
    assert len(set(bodies(1))) > 100


def test_every_damage_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "2026w47.1"
    arrays: dict[str, Any] = {
        "song_ids": np.arange(50),
        "weights": np.linspace(0, 1, 7),
        "labels": np.ones(9, np.int32),
    }
    sha256 = write_arrays(model, arrays, {"label": model.name})

    totals = damage_artifacts(model, sha256, tmp_path, count=60, seed=1)

    assert totals.accepted == totals.raised == []
    assert sum(totals.refused.values()) == 60
    assert not totals.executed
