"""Two versions compared by what is stored about them on the same weeks and lists."""

from typing import Any

import pytest

from recommender.dashboard.version_comparison import compare_two_versions
from recommender.engine.experiments.evidence import ExperimentEvidence
from recommender.experiments import decisions
from recommender.models import ModelVersion
from tests.support.builders.experiments import DAY, START, make_experiment, make_version

pytestmark = pytest.mark.django_db


def pair(difference: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"difference": difference, "low": low, "high": high, "listeners": 60, **more}


@pytest.fixture
def older() -> ModelVersion:
    return make_version("2026w44.1", "retired")


def newer(**metrics: Any) -> ModelVersion:
    return make_version("2026w45.1", "champion", cut_off=START + 7 * DAY, metrics=metrics)


def test_a_version_is_compared_with_the_champion_of_its_week_from_either_side(older: ModelVersion) -> None:
    version = newer(against_champion=pair(0.02, 0.01, 0.03, champion="2026w44.1"))

    forth, back = compare_two_versions(version, older), compare_two_versions(older, version)

    assert forth.rows[0].where == "Week 2026-11-02 to 2026-11-09, paired by listener"
    assert forth.rows[0].result == "NDCG@20 +0.0200 (+0.0100 to +0.0300)"
    assert back.rows[0].result == "NDCG@20 -0.0200 (-0.0300 to -0.0100)"
    expected = "On the same weeks and lists, 2026w45.1 is clearly better than 2026w44.1."
    assert (forth.sentence, back.sentence) == (expected, expected)


def test_rounds_on_the_same_lists_count_and_may_contradict_the_week(older: ModelVersion) -> None:
    version = newer(against_champion=pair(0.02, 0.01, 0.03, champion="2026w44.1"))
    test = make_experiment(
        "change", champion=older, challenger=version, status="ended", outcome="reject", ended_at=START
    )
    evidence = ExperimentEvidence("change", days=31, wins=100, losses=300, listeners=40, z=-8.0)
    decisions.store_decision(test, evidence, "", START)

    found = compare_two_versions(older, version)

    assert [row.leader for row in found.rows] == [-1, 1]
    assert found.rows[1].result.startswith("300 : 100 rounds, 75")
    assert found.sentence == "The measurements contradict each other: neither version is clearly better."


def test_rounds_of_few_listeners_make_no_leader(older: ModelVersion) -> None:
    test = make_experiment("change", champion=older, challenger=newer(), status="running")
    evidence = ExperimentEvidence("change", days=31, wins=45, losses=6, listeners=1, z=9.0)
    decisions.store_decision(test, evidence, "", START)

    found = compare_two_versions(older, test.challenger)

    assert [row.leader for row in found.rows] == [0]
    assert "of 1 listeners" in found.rows[0].sample


def test_versions_of_different_weeks_are_not_ranked_by_their_own_weeks() -> None:
    yardstick = {"rp3beta": pair(0.05, 0.04, 0.06)}
    first = make_version("2026w40.1", "retired", metrics={"mix": {"ndcg": 0.1, "listeners": 60},
                                                          "against_baselines": yardstick})  # fmt: skip
    second = newer(mix={"ndcg": 0.3, "listeners": 60}, against_baselines=yardstick)

    found = compare_two_versions(first, second)

    assert [row.is_same_week for row in found.rows] == [False, False]
    assert found.sentence == (
        "2026w40.1 and 2026w45.1 were never measured on the same week. To measure both on the latest week: "
        "python manage.py evaluate 2026w40.1 --against 2026w45.1"
    )
