"""SIGKILL at any point of the weekly cycle: the champion still serves, and the next cycle succeeds."""

import json
import signal
import sys
from typing import Any

import pytest

from tests.support.project import Project

BEFORE_ITS_END = 18  # points at which the training's rows are not yet there
AFTER_ITS_END = 4


@pytest.fixture
def deaths(postgres_project: Project) -> list[dict[str, Any]]:
    process = postgres_project.start(sys.executable, "-m", "tests.support.processes.killed_training")
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def test_after_a_kill_at_any_point_the_champion_serves_and_the_next_cycle_succeeds(
    deaths: list[dict[str, Any]],
) -> None:
    unharmed = [death["same"] for death in deaths]
    ended = [(death["left"]["run"], death["left"]["incident"]) for death in deaths]
    reasons = [death["left"]["error"] for death in deaths]
    afterwards = [death["then"] for death in deaths]

    assert {death["signal"] for death in deaths} == {signal.SIGKILL}
    assert len({death["point"] for death in deaths}) == BEFORE_ITS_END + AFTER_ITS_END
    assert unharmed == [True] * len(deaths)
    assert ended == [("abandoned", True)] * BEFORE_ITS_END + [("succeeded", False)] * AFTER_ITS_END
    assert all(
        reason.startswith("Its process ended without reporting a result. Last heartbeat: 20")
        for reason in reasons[:BEFORE_ITS_END]
    )
    # The next cycle ran once for each state that the kills left.
    assert max(death["state"] for death in deaths) < len(deaths) / 2
    whole = {"test": "refresh", "training": "succeeded", "versions": 2, "folders": 2, "incidents": []}
    assert afterwards == [whole] * len(deaths)
