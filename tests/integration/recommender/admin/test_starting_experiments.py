"""Experiments that staff start with their own plan, and the A/B split of automatic experiments."""

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
from recommender.serving.list_limits import ServingOptions
from recommender.training.train import TrainingOptions, retrain
from tests.support.builders.recommendations import RECOMMENDED_AT

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _read_running_experiments_anew() -> Iterator[None]:
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
    """A candidate as “Train now” creates it; with another number of clusters it is a change."""
    settings.MODEL_STORAGE = storage
    clusters = ModelVersion.objects.get(role="champion").n_clusters + 1
    run = retrain(TrainingOptions(storage=storage, n_clusters=clusters, seed=11))
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
def test_an_experiment_follows_the_plan_of_the_person_who_starts_it(
    staff: Client, challenger: ModelVersion
) -> None:
    text = ask(staff, "modelversion", "start_experiment", challenger.pk, lists=60, split=20)

    experiment = Experiment.objects.get()
    assert (experiment.kind, experiment.status, experiment.by) == ("change", "running", "ada")
    assert (experiment.list_share, experiment.split_share, experiment.purpose) == (
        0.6,
        0.2,
        "We want to know.",
    )
    assert [gate["name"] for gate in experiment.gates["gates"]][:2] == ["artifact", "smoke"]
    assert "We want to know." in text


@pytest.mark.slow
def test_a_split_serves_both_arms_and_the_page_shows_their_engagement(
    staff: Client, challenger: ModelVersion, storage: Path
) -> None:
    ask(staff, "modelversion", "start_experiment", challenger.pk, lists=70, split=50)
    experiment = Experiment.objects.get()
    here, now = ServingOptions(storage), timezone.now()

    lists = [
        recommendations.recommend(pk, options=here, now=now)
        for pk in Listener.objects.values_list("pk", flat=True)
    ]
    alone = [one for one in lists if one.arm in {"champion", "challenger"} and one.experiment == experiment]
    EngagedList.objects.bulk_create(
        EngagedList(served_list=one, listener_id=one.listener_id, version=one.version, at=now, songs=20,
                    engaged=3 if one.arm == "challenger" else 1)
        for one in alone
    )  # fmt: skip
    lifecycle.judge_experiments(now + timedelta(days=1), lambda one: None)

    arms = Counter(str(one.arm) for one in alone)
    assert set(arms) == {"champion", "challenger"}
    assert Counter(Exposure.objects.values_list("arm", flat=True)) == arms
    text = staff.get(reverse("admin:recommender_experiment_change", args=[experiment.pk])).content.decode()
    assert "Engaged songs a list: +2.00 (" in text
    assert (
        f"listeners: {arms['challenger']} with the challenger, {arms['champion']} with the champion" in text
    )
    quarter = "25\N{NARROW NO-BREAK SPACE}%"
    assert f"{quarter} of the listeners get the challenger alone, {quarter} the champion alone" in text


def test_a_version_that_fails_a_gate_gets_no_experiment_and_the_page_says_why(
    staff: Client, challenger: ModelVersion, storage: Path
) -> None:
    for file in (storage / challenger.label).glob("*.npy"):
        file.unlink()

    text = ask(staff, "modelversion", "start_experiment", challenger.pk, lists=70, split=0)

    assert "did not pass: Its files have changed since the training" in text
    assert not Experiment.objects.exists()


@pytest.mark.slow
def test_automatic_experiments_use_the_split_that_staff_set(
    staff: Client, storage: Path, settings: Any
) -> None:
    settings.MODEL_STORAGE = storage
    text = ask(staff, "experiment", "set_split", split=30)
    experiment = retraining.run_cycle(
        TrainingOptions(storage=storage, seed=11), RECOMMENDED_AT,
        lambda one: artifact.verify_files(storage / one.label, one.artifact_sha256),
    ).experiment  # fmt: skip

    assert experiment is not None
    assert experiment.split_share == 0.3
    assert "30 % of the listeners get one model alone" in " ".join(text.split())
    row = TrafficSplit.objects.get()
    assert (row.share, row.by, row.reason) == (0.3, "ada", "We want to know.")
