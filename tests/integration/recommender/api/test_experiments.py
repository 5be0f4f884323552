"""Experiments in the API."""

import pytest
from django.utils import timezone

from recommender.experiments import lifecycle
from recommender.registry import registry
from tests.support.builders.api import make_api_caller
from tests.support.builders.experiments import make_listeners_and_songs, make_version

pytestmark = pytest.mark.django_db


def test_an_experiment_comes_with_its_latest_decision() -> None:
    make_listeners_and_songs()
    registry.promote(make_version("2026w44.1"), reason="The first.", by="test", verify=lambda one: None)
    test = lifecycle.propose_experiment(
        make_version("2026w45.1"),
        kind="change",
        gates={"passed": True, "gates": []},
        by="ada",
        now=timezone.now(),
    )
    caller = make_api_caller()

    before = caller.get("/experiments/").json()["results"]
    lifecycle.judge_experiments(timezone.now(), lambda one: None)
    after = caller.get(f"/experiments/{test.pk}/").json()

    assert [(one["challenger"], one["status"], one["latest_decision"]) for one in before] == [
        ("2026w45.1", "running", None)
    ]
    assert after["champion"] == "2026w44.1"
    assert after["latest_decision"]["outcome"] == "waiting"
    assert after["latest_decision"]["evidence"]["wins"] == 0


def test_there_may_be_none() -> None:
    assert make_api_caller().get("/experiments/").json()["results"] == []
