"""Every button of experiments and versions in every state: permissions, and that none breaks."""

import itertools
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from recommender.experiments import eligibility
from recommender.models import Experiment, ModelVersion, TrafficSplit
from tests.support.builders.experiments import START, make_experiment, make_listeners_and_songs, make_version

pytestmark = pytest.mark.django_db
STATES: dict[str, dict[str, Any]] = {
    "waiting": {"status": "waiting", "started_at": None},
    "running": {"status": "running"},
    "ended": {"status": "ended", "outcome": "void", "ended_at": START},
}


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


def ask(staff: Client, model: str, action: str, *pk: int, **form: Any) -> str:
    url = reverse(f"admin:recommender_{model}_{action}", args=pk)
    assert staff.get(url).status_code == 200
    answer = staff.post(url, {"reason": "We want to know.", **form}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize(
    "wrong",
    [
        {"lists": 0, "split": 0},
        {"lists": 101, "split": 0},
        {"lists": 70, "split": 51},
        {"lists": 70, "split": -1},
        {"lists": 70},
        {"lists": 70, "split": 0, "reason": ""},
    ],
)
def test_a_plan_without_a_reason_or_with_wrong_shares_shows_the_form_again(
    staff: Client, wrong: dict[str, Any]
) -> None:
    experiment = make_experiment(**STATES["ended"])

    ask(staff, "modelversion", "start_experiment", experiment.challenger_id, **wrong)

    assert Experiment.objects.count() == 1


def test_no_listener_is_split_until_staff_set_a_split_and_the_newest_split_counts(staff: Client) -> None:
    assert eligibility.current_split_share() == 0.0

    for percent in (30, 10):
        ask(staff, "experiment", "set_split", split=percent)

    assert eligibility.current_split_share() == 0.1


def test_staff_without_the_permission_start_no_experiment_and_set_no_split() -> None:
    experiment = make_experiment(**STATES["ended"])
    reader = User.objects.create_user("bob", is_staff=True)
    for name in ("view_experiment", "view_modelversion"):
        reader.user_permissions.add(Permission.objects.get(codename=name))
    client = Client()
    client.force_login(reader)
    asked = {"reason": "No.", "lists": 70, "split": 10}

    client.post(
        reverse("admin:recommender_modelversion_start_experiment", args=[experiment.challenger_id]), asked
    )
    client.post(reverse("admin:recommender_experiment_set_split"), asked)

    assert (Experiment.objects.count(), TrafficSplit.objects.count()) == (1, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "state", "kind"),
    list(
        itertools.product(
            ("check_now", "promote", "reject", "stop"), STATES, ("refresh", "change", "equals", "anchor")
        )
    ),
)
def test_no_button_of_an_experiment_breaks_in_any_state(
    staff: Client, action: str, state: str, kind: str
) -> None:
    make_listeners_and_songs()
    experiment = make_experiment(kind, split_share=0.2, **STATES[state])
    if kind == "equals":
        Experiment.objects.filter(pk=experiment.pk).update(challenger=experiment.champion)
    url = reverse(f"admin:recommender_experiment_{action}", args=[experiment.pk])

    answers = [staff.get(url), staff.post(url, {"reason": "We want to know."}, follow=True)]

    assert {answer.status_code for answer in answers} <= ({403} if state == "ended" else {200})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "role"),
    list(
        itertools.product(
            ("start_experiment", "make_champion", "delete_files"),
            ("candidate", "challenger", "champion", "retired", "withdrawn"),
        )
    ),
)
def test_no_button_of_a_version_breaks_in_any_role(staff: Client, action: str, role: str) -> None:
    make_version("2026w44.1", role)

    text = ask(staff, "modelversion", action, ModelVersion.objects.get().pk, lists=70, split=10)

    assert "2026w44.1" in text
    assert not Experiment.objects.exists()


@pytest.mark.parametrize("row", ["abc", "7"])
@pytest.mark.parametrize(
    "button",
    [
        *(f"experiment/{{}}/{name}/" for name in ("check-now", "note", "promote", "reject", "stop")),
        *(
            f"modelversion/{{}}/{name}/"
            for name in ("compare-with", "delete-files", "make-champion", "start_experiment")
        ),
    ],
)
def test_a_button_of_a_row_that_does_not_exist_is_not_found(staff: Client, button: str, row: str) -> None:
    url = f"/admin/recommender/{button.format(row)}"

    answers = [staff.get(url), staff.post(url, {"reason": "We want to know.", "lists": 70, "split": 10})]

    assert [answer.status_code for answer in answers] == [404, 404]


@pytest.mark.slow
@pytest.mark.parametrize("state", ["", *STATES])
@pytest.mark.parametrize("action", ["start_aa_test", "set_split", "check_all"])
def test_no_button_of_the_list_of_experiments_breaks_in_any_state(
    staff: Client, action: str, state: str
) -> None:
    if state:
        make_experiment(**STATES[state])

    text = ask(staff, "experiment", action, split=10)

    assert "MoovitaMix" in text
    assert "&amp;#x27;" not in text  # escaped twice
    assert "&lt;span" not in text
