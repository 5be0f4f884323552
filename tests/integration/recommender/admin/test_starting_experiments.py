"""What staff start: a test of a version as they plan it, and the A/B split of the loop's own tests."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ingestion.models import Listener
from recommender import retraining
from recommender.engine import artifact
from recommender.experiments import assignment, lifecycle
from recommender.models import EngagedList, Experiment, Exposure, ModelVersion, TrafficSplit
from recommender.serving import recommendations
from recommender.serving.options import ServingOptions
from recommender.training.train import TrainingOptions, retrain
from tests.support.builders.recommendations import RECOMMENDED_AT

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _look_at_once() -> Iterator[None]:
    assignment.RUNNING_EXPERIMENTS.invalidate()
    yield
    assignment.RUNNING_EXPERIMENTS.invalidate()


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


@pytest.fixture
def challenger(storage: Path, settings: Any) -> ModelVersion:
    """Learnt by hand, as with “Train now”: a candidate that nothing tests."""
    settings.MODEL_STORAGE = storage
    run = retrain(TrainingOptions(storage=storage, n_clusters=5, seed=11))
    assert run.version is not None
    return run.version


def ask(staff: Client, model: str, action: str, *pk: int, **form: Any) -> str:
    url = reverse(f"admin:recommender_{model}_{action}", args=pk)
    assert staff.get(url).status_code == 200
    answer = staff.post(url, {"reason": "We want to know.", **form}, follow=True)
    assert answer.status_code == 200
    assignment.RUNNING_EXPERIMENTS.invalidate()
    return answer.content.decode()


@pytest.mark.slow
def test_a_version_is_tested_as_a_person_plans_it(staff: Client, challenger: ModelVersion) -> None:
    told = ask(staff, "modelversion", "start_test", challenger.pk, lists=60, split=20)

    test = Experiment.objects.get()
    assert (test.kind, test.status, test.by) == ("change", "running", "ada")
    assert (test.list_share, test.split_share, test.purpose) == (0.6, 0.2, "We want to know.")
    assert [gate["name"] for gate in test.gates["gates"]][:2] == ["artifact", "smoke"]
    assert "We want to know." in told


@pytest.mark.slow
def test_a_split_that_staff_start_serves_both_arms_and_shows_what_they_engage_in(
    staff: Client, challenger: ModelVersion, storage: Path
) -> None:
    ask(staff, "modelversion", "start_test", challenger.pk, lists=70, split=50)
    test = Experiment.objects.get()
    here, now = ServingOptions(storage), timezone.now()

    lists = [
        recommendations.recommend(pk, options=here, now=now)
        for pk in Listener.objects.values_list("pk", flat=True)
    ]
    alone = [one for one in lists if one.arm in {"champion", "challenger"} and one.experiment == test]
    EngagedList.objects.bulk_create(
        EngagedList(served_list=one, listener_id=one.listener_id, version=one.version, at=now, songs=20,
                    engaged=3 if one.arm == "challenger" else 1)
        for one in alone
    )  # fmt: skip
    lifecycle.judge_experiments(now + timedelta(days=1), lambda one: None)

    arms = Counter(str(one.arm) for one in alone)
    assert set(arms) == {"champion", "challenger"}
    assert Counter(Exposure.objects.values_list("arm", flat=True)) == arms
    told = staff.get(reverse("admin:recommender_experiment_change", args=[test.pk])).content.decode()
    assert "Engaged songs a list: +2.00 (" in told
    assert f"{arms['challenger']} against {arms['champion']} listeners" in told
    assert "25.0% of the listeners by the challenger alone, 25.0% by the champion alone" in told


def test_a_version_that_a_gate_refuses_is_not_tested_and_staff_are_told_why(
    staff: Client, challenger: ModelVersion, storage: Path
) -> None:
    for file in (storage / challenger.label).glob("*.npy"):
        file.unlink()

    told = ask(staff, "modelversion", "start_test", challenger.pk, lists=70, split=0)

    assert "did not pass: Its files are not as they were written" in told
    assert not Experiment.objects.exists()


@pytest.mark.slow
def test_the_loops_own_tests_split_as_many_listeners_as_staff_set(
    staff: Client, storage: Path, settings: Any
) -> None:
    settings.MODEL_STORAGE = storage
    told = ask(staff, "experiment", "set_split", split=30)
    test = retraining.run_cycle(
        TrainingOptions(storage=storage, seed=11), RECOMMENDED_AT,
        lambda one: artifact.verify_files(storage / one.label, one.artifact_sha256),
    ).experiment  # fmt: skip

    assert test is not None
    assert test.split_share == 0.3
    assert "30 % of the\n    listeners get lists of one model alone" in told
    row = TrafficSplit.objects.get()
    assert (row.share, row.by, row.reason) == (0.3, "ada", "We want to know.")
