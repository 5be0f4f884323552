"""The same task delivered to two processes at the same moment has the effect of one."""

import json
import sys
from typing import Any

import pytest

from tests.support.project import Project

Told = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def told_by() -> dict[str, Told]:
    """The output on each database, computed once for all tests of this file."""
    return {}


@pytest.fixture
def told(project: Project, told_by: dict[str, Told]) -> Told:
    kind = "postgres" if "DATABASE_URL" in project.environment else "sqlite"
    if kind not in told_by:
        process = project.start(sys.executable, "-m", "tests.support.processes.concurrent_tasks")
        said = process.communicate(timeout=600)[0]
        assert process.returncode == 0, said
        lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        told_by[kind] = {line.pop("deed"): line for line in lines}
    return told_by[kind]


def test_an_experiment_judged_by_two_processes_is_decided_once(told: Told) -> None:
    judged = told["judge"]

    assert judged["said"] == ["done", "done"]
    assert judged["roles"] == {"2026w44.1": "retired", "2026w45.1": "champion"}
    assert (judged["lines"], judged["final"], judged["decisions"]) == (2, 1, 1)
    assert judged["tests"][0] == ["change", "promote"]


def test_a_holdback_restored_by_two_processes_is_not_withdrawn(told: Told) -> None:
    judged = told["judge_anchor"]

    assert judged["said"] == ["done", "done"]
    assert judged["roles"] == {"2026w43.1": "retired", "2026w44.1": "champion", "2026w45.1": "withdrawn"}
    assert (judged["lines"], judged["final"], judged["tests"]) == (4, 1, [["anchor", "rollback"]])


def test_either_a_person_or_the_daily_review_decides(told: Told) -> None:
    judged = told["decide_and_judge"]

    outcome = (judged["said"], judged["tests"][0][1], judged["roles"]["2026w45.1"])
    assert outcome in (
        (["ExperimentNotAllowed", "done"], "promote", "champion"),
        (["done", "done"], "reject", "retired"),
    )
    assert (judged["final"], judged["decisions"], judged["chained"]) == (1, 1, True)


def test_lists_closed_by_two_processes_count_once(told: Told) -> None:
    closed = told["close_lists"]

    assert closed == {"said": ["done", "done"], "scores": [[1, 0], [0, 0]], "engaged": [1, 0]}


def test_promotions_by_several_processes_leave_one_champion_and_complete_promotions(told: Told) -> None:
    promoted = told["promote"]

    assert promoted["said"] in (["NotPromotable", "done", "done"], ["done", "done", "done"])
    assert sorted(promoted["roles"].values()) == ["champion", "retired", "retired"]
    assert promoted["lines"] == 1 + promoted["said"].count("done")
    assert (promoted["chained"], promoted["last is champion"]) == (True, True)


def test_two_rollbacks_of_one_champion_withdraw_no_other(told: Told) -> None:
    rolled_back = told["roll_back"]

    assert rolled_back["said"] == ["ChampionChanged", "done"]
    assert rolled_back["roles"] == {
        "2026w43.1": "retired", "2026w44.1": "champion", "2026w45.1": "withdrawn"
    }  # fmt: skip
    assert (rolled_back["lines"], rolled_back["chained"]) == (4, True)


def test_two_weekly_cycles_train_one_version_and_start_one_experiment(told: Told) -> None:
    learnt = told["learn"]

    assert learnt["said"] == ["done", "done"]
    assert learnt["roles"] == ["challenger", "champion"]
    assert (learnt["succeeded"], learnt["tests"]) == (2, [["refresh", "running"]])


def test_two_drift_reviews_store_one_report_of_each_kind_and_run_one_full_retrain(told: Told) -> None:
    looked = told["drift"]

    assert looked["said"] == ["done", "done"]
    assert looked["reports"] == ["feedback", "listening", "recommended", "songs"]
    assert (looked["full"], looked["tests"]) == (1, [["change", "waiting"], ["refresh", "running"]])
