"""What staff see and do about tests between versions."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from recommender.dashboard.experiment_report import build_report
from recommender.experiments import lifecycle
from recommender.experiments.interleaving_scores import open_scored_list
from recommender.models import (
    Decision,
    DriftReport,
    EngagementDay,
    Experiment,
    Promotion,
    ScoredList,
    SongEvidence,
)
from recommender.registry import registry
from tests.support.builders.experiments import make_interleaved_list, make_listeners_and_songs, make_version

pytestmark = pytest.mark.django_db
TEAMS = [False, True] * 2


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


@pytest.fixture
def running() -> Experiment:
    """A test in its fourth day, with a few rounds."""
    make_listeners_and_songs()
    now = timezone.now()
    registry.promote(make_version("2026w44.1"), reason="The first.", by="test", verify=lambda one: None)
    test = lifecycle.propose_experiment(
        make_version("2026w45.1"), kind="change", by="test", now=now - timedelta(days=4),
        gates={"passed": True, "gates": [{"sentence": "50 listeners got 20 songs each."}]},
    )  # fmt: skip
    for day in range(3):
        at = now - timedelta(days=3 - day)
        for listener in (1, 2):
            open_scored_list(make_interleaved_list(test, listener, at, [10, 11, 12, 13], TEAMS), test, TEAMS)
    ScoredList.objects.update(closed_at=now, wins=2, losses=1)
    return test


def page(staff: Client, name: str, *arguments: Any) -> str:
    answer = staff.get(reverse(f"admin:recommender_{name}", args=arguments))
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_tests_page_tells_its_story(staff: Client, running: Experiment) -> None:
    lifecycle.judge_experiments(timezone.now(), lambda one: None)

    told = page(staff, "experiment_change", running.pk)

    assert "Day 4 of 21, for novelty wears off: 12 rounds won, 6 lost" in told
    assert "First picks by the challenger" in told
    assert "50 listeners got 20 songs each." in told
    assert "At 6 decisive rounds a day (measured) the experiment detects" in told


def test_a_tests_page_tells_what_the_last_look_counted(staff: Client, running: Experiment) -> None:
    lifecycle.judge_experiments(timezone.now(), lambda one: None)
    looked_at = timezone.now() - timedelta(hours=7)
    Decision.objects.update(at=looked_at)
    ScoredList.objects.update(wins=40)

    told = page(staff, "experiment_change", running.pk)

    assert f"Counted at the last look, {looked_at:%Y-%m-%d %H:%M}" in told
    assert "12 rounds won, 6 lost" in told


def test_of_more_looks_than_are_drawn_the_last_one_is_told(staff: Client, running: Experiment) -> None:
    lifecycle.judge_experiments(timezone.now(), lambda one: None)
    last = Decision.objects.get()
    for day in range(1, 101):
        Decision.objects.create(
            experiment=running, at=last.at - timedelta(days=day), evidence=last.evidence, rules=last.rules,
            verdict={**last.verdict, "reason": "Long ago."}, outcome="waiting", code="", data_sha256="",
        )  # fmt: skip

    assert "12 rounds won, 6 lost" in page(staff, "experiment_change", running.pk)


def test_before_a_round_is_closed_the_traffic_says_what_can_be_seen(
    staff: Client, running: Experiment
) -> None:
    ScoredList.objects.update(closed_at=None, wins=0, losses=0)

    told = page(staff, "experiment_change", running.pk)

    # Two listeners a day over three days, of whose lists 70 % are in the test, with 1.3 rounds each.
    assert "At 2 decisive rounds a day (expected) the experiment detects" in told


def test_a_test_that_waits_says_what_for(staff: Client, running: Experiment) -> None:
    gates = {"passed": True, "gates": []}
    waiting = lifecycle.propose_experiment(
        make_version("2026w46.1"), kind="refresh", by="test", now=timezone.now(), gates=gates
    )

    told = page(staff, "experiment_change", waiting.pk)

    assert "Nobody has looked at it yet. It waits for the test before it to end." in told
    assert "Was it fair?" not in told


def looked(test: Experiment, kind: str, **evidence: Any) -> dict[str, Any]:
    """The page's story after one look that counted this."""
    Experiment.objects.filter(pk=test.pk).update(kind=kind)
    lifecycle.judge_experiments(timezone.now(), lambda one: None)
    last = Decision.objects.get()
    Decision.objects.update(evidence={**last.evidence, "kind": kind, **evidence})
    test.refresh_from_db()
    return vars(build_report(test, timezone.now()))


@pytest.mark.parametrize(
    ("kind", "evidence", "limit", "shown"),
    [
        ("change", {"wins": 471, "losses": 226}, 20, 1_000_000.0),
        ("change", {"wins": 30, "losses": 30}, 20, 0.63),
        ("equals", {"wins": 60, "losses": 20}, 20, 545.5),
        ("refresh", {"wins": 5, "losses": 98, "z": -8.38}, -0.84, -8.38),
        ("refresh", {"wins": 5, "losses": 0, "z": 1e9}, -0.84, 10.0),
        ("anchor", {"wins": 20, "losses": 60}, 10, 1_090.9),
        ("anchor", {"wins": 471, "losses": 0}, 10, 0.0106),
    ],
)
def test_the_evidence_that_is_drawn_is_what_decides_a_test_of_its_kind(
    running: Experiment, kind: str, evidence: dict[str, Any], limit: float, shown: float
) -> None:
    story = looked(running, kind, **evidence)

    found, decides = json.loads(story["evidence_chart"].data)["datasets"]
    assert found["data"] == pytest.approx([shown], rel=0.01)
    assert decides["data"] == [limit]


def test_the_share_of_rounds_won_is_told_with_its_confidence_sequence(running: Experiment) -> None:
    story = looked(running, "change", wins=471, losses=226)

    share = json.loads(story["win_share_chart"].data)["datasets"]
    assert [one["data"][0] for one in share] == [67.58, 72.87, 62.01, 50]
    assert story["checks"][1][4] == "67.6 (62.0 to 72.9)"


def test_against_an_anchor_rounds_are_won_by_the_champion(running: Experiment) -> None:
    story = looked(running, "anchor")

    assert story["sides"] == ("the champion", "the anchor")
    assert [(day["won"], day["lost"]) for day in story["days"]] == [(2, 4)] * 3


def test_a_test_that_was_stopped_says_so_before_what_was_seen_last(running: Experiment) -> None:
    lifecycle.judge_experiments(timezone.now(), lambda one: None)
    lifecycle.stop_experiment(running, reason="Enough.", by="ada", now=timezone.now())

    story = build_report(running, timezone.now())

    assert story.title == f"Void on {timezone.now():%Y-%m-%d}"
    assert story.headline.startswith("Stopped by ada: Enough. The last look: Day 4 of 21")


def test_a_test_that_is_over_tells_of_nothing_to_come(staff: Client, running: Experiment) -> None:
    before = page(staff, "experiment_change", running.pk)
    lifecycle.stop_experiment(running, reason="Enough.", by="ada", now=timezone.now())

    after = page(staff, "experiment_change", running.pk)

    assert "decisive rounds a day" not in after
    routes = ("admin:recommender_experiment_stop", "admin:recommender_experiment_promote")
    buttons = [reverse(route, args=[running.pk]) for route in routes]
    assert [button in before for button in buttons] == [True, True]
    assert [button in after for button in buttons] == [False, False]


def test_a_tests_page_opens_before_anything_was_counted(staff: Client, running: Experiment) -> None:
    ScoredList.objects.all().delete()

    assert "Nobody has looked at it yet." in page(staff, "experiment_change", running.pk)


@pytest.mark.parametrize("model", ["experiment", "decision", "driftreport", "engagementday", "songevidence"])
def test_every_list_opens_empty_and_filled(staff: Client, running: Experiment, model: str) -> None:
    lifecycle.judge_experiments(timezone.now(), lambda one: None)
    today = timezone.now().date()
    DriftReport.objects.create(
        version=running.champion, kind="feedback", week=today, at=timezone.now(), drifted=True,
        causes=[{"name": "likes", "part": 0.1, "change": -0.2}],
    )  # fmt: skip
    EngagementDay.objects.create(version=running.champion, day=today)
    SongEvidence.objects.create(
        version=running.champion, song_id=10, before=1, after=2, listeners=14, log_odds=2.2, margin=0.9
    )

    filled = page(staff, f"{model}_changelist")

    expected = {
        "experiment": "2026w45.1", "decision": "Day 4 of 21", "driftreport": "likes: -20.0 points",
        "engagementday": "2026w44.1", "songevidence": "moved: 14 listeners, odds 9.0 : 1",
    }  # fmt: skip
    assert expected[model] in filled
    Experiment.objects.all().delete()
    Decision.objects.all().delete()
    for rows in (DriftReport, EngagementDay, SongEvidence):
        rows.objects.all().delete()
    page(staff, f"{model}_changelist")


def test_a_day_tells_what_came_within_24_hours_once_it_is_known(staff: Client, running: Experiment) -> None:
    today = timezone.now().date()
    day = EngagementDay.objects.create(version=running.champion, day=today, lists=3, listeners=3)
    before = page(staff, "engagementday_change", day.pk)
    EngagementDay.objects.update(early=1 / 3, early_deviation=0.4714)

    after = page(staff, "engagementday_change", day.pk)

    assert ["not read in yet" in told for told in (before, after)] == [True, False]
    assert "0.33" in after
    assert "0.47" in after


def act(staff: Client, running: Experiment, name: str, reason: str) -> str:
    url = reverse(f"admin:recommender_experiment_{name}", args=[running.pk])
    assert staff.get(url).status_code == 200
    answer = staff.post(url, {"reason": reason}, follow=True)
    running.refresh_from_db()
    return answer.content.decode()


def test_a_test_is_stopped_with_a_reason(staff: Client, running: Experiment) -> None:
    act(staff, running, "stop", "")
    assert running.status == "running"

    act(staff, running, "stop", "The shares were wrong.")

    assert (running.outcome, running.reason) == ("void", "Stopped by ada: The shares were wrong.")


def test_a_test_is_rejected_by_hand(staff: Client, running: Experiment) -> None:
    act(staff, running, "reject", "It sounds dull.")

    assert running.outcome == "reject"
    assert Promotion.objects.count() == 1


def test_a_challenger_whose_files_are_gone_is_not_promoted_and_staff_are_told(
    staff: Client, running: Experiment
) -> None:
    told = act(staff, running, "promote", "We need it.")

    assert running.status == "running"
    assert "2026w45.1" in told


def test_a_person_without_the_permission_decides_nothing(running: Experiment) -> None:
    reader = User.objects.create_user("bob", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_experiment"))
    client = Client()
    client.force_login(reader)

    answer = client.post(reverse("admin:recommender_experiment_stop", args=[running.pk]), {"reason": "No."})

    assert answer.status_code in {302, 403}
    running.refresh_from_db()
    assert running.status == "running"


def test_the_champion_is_tested_against_itself(staff: Client, running: Experiment) -> None:
    lifecycle.stop_experiment(running, reason="Room for another.", by="test", now=timezone.now())

    staff.post(reverse("admin:recommender_experiment_start_equals"))

    test = Experiment.objects.order_by("-pk")[0]
    assert (test.kind, test.status, test.challenger) == ("equals", "running", test.champion)


def test_a_version_whose_files_are_gone_is_not_made_champion_and_staff_are_told(
    staff: Client, running: Experiment
) -> None:
    url = reverse("admin:recommender_modelversion_make_champion", args=[running.challenger_id])

    answer = staff.post(url, {"reason": "We need it."}, follow=True)

    assert "There is no model in" in answer.content.decode()
    assert registry.current_champion() == running.champion
