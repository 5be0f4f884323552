"""A 304 never stands for a model that no longer serves, nor for a role that has changed."""

from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from recommender.experiments import lifecycle
from recommender.models import ModelVersion
from recommender.registry import registry
from tests.support.builders.api import make_api_caller
from tests.support.builders.small_world import fill_tables, small_world

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
PATHS = ("/clusters/", "/models/", "/songs/?cluster=1")


@pytest.fixture
def first_and_second(tmp_path: Path, settings: Any) -> list[ModelVersion]:
    """Two trained versions, the second of which serves."""
    settings.MODEL_STORAGE = tmp_path / "models"
    fill_tables(small_world())
    call_command("retrain", "--seed", "1")
    call_command("retrain", "--seed", "2", "--promote")
    return list(ModelVersion.objects.order_by("id"))


def elsewhere(settings: Any, tmp_path: Path) -> None:
    """Use another folder of models, so that this process looks up the champion at once."""
    settings.MODEL_STORAGE = copytree(settings.MODEL_STORAGE, tmp_path / "copy")


@pytest.mark.parametrize(
    ("known", "header"), [("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")]
)
def test_after_a_rollback_the_older_model_is_sent(
    first_and_second: list[ModelVersion], settings: Any, tmp_path: Path, known: str, header: str
) -> None:
    caller = make_api_caller()
    before = [caller.get(path) for path in PATHS]
    call_command("rollback", "--reason", "complaints")
    elsewhere(settings, tmp_path)

    after = [
        caller.get(path, **({header: answer.headers[known]} if known in answer.headers else {}))
        for path, answer in zip(PATHS, before, strict=True)
    ]

    assert [answer.status_code for answer in (*before, *after)] == [200] * 6
    assert after[0].json()["model_version"] == first_and_second[0].label


def test_a_model_is_sent_again_after_its_role_has_changed(first_and_second: list[ModelVersion]) -> None:
    caller = make_api_caller()
    third = ModelVersion.objects.get(pk=first_and_second[0].pk)
    registry.release_challenger(third, as_candidate=True)
    before = caller.get("/models/")
    lifecycle.propose_experiment(third, kind="refresh", gates={}, by="ada", now=timezone.now())

    after = caller.get("/models/", **{"If-None-Match": before.headers["ETag"]})

    assert after.status_code == 200
    assert [row["role"] for row in after.json()["results"]] == ["champion", "challenger"]
