"""The pages of experiments in the admin, and their actions."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from ingestion.models import AuditEntry, Listener
from recommender.dashboard.experiment_report import ExperimentReport, build_report
from recommender.experiments import lifecycle
from recommender.experiments.interleaving_scores import open_scored_list
from recommender.models import (
    Decision,
    DriftReport,
    EngagedList,
    EngagementDay,
    Experiment,
    ExperimentNote,
    Exposure,
    Promotion,
    ScoredList,
    ServedList,
    SongEvidence,
)
from recommender.registry import registry
from tests.support.builders.experiments import (
    make_healthy_feed,
    make_interleaved_list,
    make_listeners_and_songs,
    make_version,
)
from tests.support.builders.roles import find_role

pytestmark = pytest.mark.django_db
TEAMS = [False, True] * 2


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


@pytest.fixture
def running() -> Experiment:
    """An experiment on its fourth day, with a few rounds."""
    make_listeners_and_songs()
    now = timezone.now()
    registry.promote(make_version("2026w44.1"), reason="The first.", by="test", verify=lambda one: None)
    experiment = lifecycle.propose_experiment(
        make_version("2026w45.1"), kind="change", by="test", now=now - timedelta(days=4),
        gates={"passed": True, "gates": [{"sentence": "50 listeners got 20 songs each."}]},
    )  # fmt: skip
    for day in range(3):
        at = now - timedelta(days=3 - day)
        for listener in (1, 2):
            served = make_interleaved_list(experiment, listener, at, [10, 11, 12, 13], TEAMS)
            open_scored_list(served, experiment, TEAMS)
    ScoredList.objects.update(closed_at=now, wins=2, losses=1)
    make_healthy_feed(now)
    return experiment


def page(staff: Client, name: str, *arguments: Any) -> str:
    answer = staff.get(reverse(f"admin:recommender_{name}", args=arguments))
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_experiments_page_shows_the_verdict_its_checks_and_its_gates(
    staff: Client, running: Experiment
) -> None:
    lifecycle.judge_experiments(timezone.now(), lambda one: None)

    text = page(staff, "experiment_change", running.pk)

    assert "Day 4 of 31, for novelty wears off: 12 rounds won, 6 lost" in text
    assert "First picks by the challenger" in text
    assert "50 listeners got 20 songs each." in text
    assert "At 6 decisive rounds a day (measured) the experiment detects" in text


def test_an_experiments_page_shows_the_numbers_of_the_last_check(staff: Client, running: Experiment) -> None:
    lifecycle.judge_experiments(timezone.now(), lambda one: None)
    checked_at = timezone.now() - timedelta(hours=7)
    Decision.objects.update(at=checked_at)
    ScoredList.objects.update(wins=40)

    text = page(staff, "experiment_change", running.pk)

    assert f"Numbers of the last check, {checked_at:%Y-%m-%d %H:%M}" in text
    assert "12 rounds won, 6 lost" in text
    plain = "The challenger won 12 of 18 rounds against the champion: 66.7\u202f% (95 % "
    assert f"<li>{plain}" in text


def test_groups_of_listeners_and_the_arms_of_the_split_have_plain_numbers(
    staff: Client, running: Experiment
) -> None:
    started = running.started_at
    assert started is not None
    for listener, days in ((1, 27), (2, 29)):
        Listener.objects.filter(pk=listener).update(created_at=started - timedelta(days=days))
    ScoredList.objects.filter(listener=2).update(wins=1, losses=2)
    for listener, arm, engaged in ((1, "challenger", 3), (2, "champion", 1)):
        at = timezone.now() - timedelta(hours=1)
        Exposure.objects.create(experiment=running, listener_id=listener, arm=arm, first_at=at)
        served = ServedList.objects.filter(listener=listener).latest("pk")
        EngagedList.objects.create(
            served_list=served, listener_id=listener, version=running.champion, at=at, songs=4,
            engaged=engaged,
        )  # fmt: skip
    rail = {"name": "Engaged songs a list", "difference": 1.9, "low": 0.4, "high": 3.4, "challengers": 1,
            "champions": 1}  # fmt: skip

    report = checked(running, "change", guardrails=[rail], heavy=[6, 3], light=[0, 0])

    assert [(group.rounds, group.share) for group in report.groups] == [
        ("9", "66.7\u202f%"), ("9", "66.7\u202f%"), ("9", "33.3\u202f%"),
    ]  # fmt: skip
    assert [group.name.split()[0] for group in report.groups] == ["Heavy:", "New:", "Old:"]
    assert report.plain_numbers[1] == (
        "Rounds won per interleaved list: the challenger 1.50, the champion 1.50 "
        "(6 lists with final results)."
    )
    assert report.plain_numbers[2] == (
        "Engaged songs a list, for listeners in the A/B split: the challenger 3.00, the champion 1.00, "
        "adjusted difference +1.90 (95 % +0.40 to +3.40); listeners: 1 and 1."
    )
    assert "Won by the challenger" in page(staff, "experiment_change", running.pk)


def test_staff_add_notes_to_an_experiment_even_after_its_end(staff: Client, running: Experiment) -> None:
    lifecycle.stop_experiment(running, reason="Enough.", by="test", now=timezone.now())
    url = reverse("admin:recommender_experiment_add_note", args=[running.pk])

    assert not ExperimentNote.objects.exists()
    answer = staff.post(url, {"reason": "Holidays from day 2 on <b>."}, follow=True)

    assert "Holidays from day 2 on &lt;b&gt;." in answer.content.decode()
    assert ExperimentNote.objects.get().by == "ada"
    entry = AuditEntry.objects.get(action="note_added")
    assert (entry.actor, entry.target) == ("ada", f"experiment {running.pk}")


def test_a_note_needs_the_permission_to_decide_experiments(running: Experiment) -> None:
    viewer = User.objects.create_user("eve", is_staff=True)
    viewer.groups.add(find_role("viewer"))
    client = Client()
    client.force_login(viewer)
    url = reverse("admin:recommender_experiment_add_note", args=[running.pk])

    assert client.post(url, {"reason": "x"}).status_code == 403
    assert not ExperimentNote.objects.exists()


def test_of_more_checks_than_a_chart_shows_the_last_one_is_the_headline(
    staff: Client, running: Experiment
) -> None:
    lifecycle.judge_experiments(timezone.now(), lambda one: None)
    last = Decision.objects.get()
    for day in range(1, 101):
        Decision.objects.create(
            experiment=running, at=last.at - timedelta(days=day), evidence=last.evidence, rules=last.rules,
            verdict={**last.verdict, "reason": "Long ago."}, outcome="waiting", code="", data_sha256="",
        )  # fmt: skip

    assert "12 rounds won, 6 lost" in page(staff, "experiment_change", running.pk)


def test_before_a_list_is_closed_the_power_comes_from_the_traffic(staff: Client, running: Experiment) -> None:
    ScoredList.objects.update(closed_at=None, wins=0, losses=0)

    text = page(staff, "experiment_change", running.pk)

    # Two listeners a day over three days, of whose lists 70 % are in the experiment, with 1.3 rounds each.
    assert "At 2 decisive rounds a day (expected) the experiment detects" in text


def test_a_waiting_experiment_says_what_it_waits_for(staff: Client, running: Experiment) -> None:
    gates = {"passed": True, "gates": []}
    waiting = lifecycle.propose_experiment(
        make_version("2026w46.1"), kind="refresh", by="test", now=timezone.now(), gates=gates
    )

    text = page(staff, "experiment_change", waiting.pk)

    assert "Not checked yet. It starts when the running experiment ends." in text
    assert "Allocation checks" not in text


def checked(experiment: Experiment, kind: str, **evidence: Any) -> ExperimentReport:
    """The report after one check with this evidence."""
    Experiment.objects.filter(pk=experiment.pk).update(kind=kind)
    lifecycle.judge_experiments(timezone.now(), lambda one: None)
    last = Decision.objects.get()
    Decision.objects.update(evidence={**last.evidence, "kind": kind, **evidence})
    experiment.refresh_from_db()
    return build_report(experiment, timezone.now())


@pytest.mark.parametrize(
    ("kind", "evidence", "limit", "shown"),
    [
        ("change", {"wins": 471, "losses": 226}, 20, 1_000_000.0),
        ("change", {"wins": 30, "losses": 30}, 20, 0.63),
        ("equals", {"wins": 60, "losses": 20}, 20, 545.5),
        ("refresh", {"wins": 5, "losses": 98, "z": -8.38}, -0.75, -8.38),
        ("refresh", {"wins": 5, "losses": 0, "z": 1e9}, -0.75, 10.0),
        ("anchor", {"wins": 20, "losses": 60}, 10, 1_090.9),
        ("anchor", {"wins": 471, "losses": 0}, 10, 0.0106),
    ],
)
def test_the_evidence_chart_draws_what_decides_an_experiment_of_its_kind(
    running: Experiment, kind: str, evidence: dict[str, Any], limit: float, shown: float
) -> None:
    plot = checked(running, kind, **evidence).evidence_plot

    assert plot is not None
    found, decides = json.loads(plot.data)["datasets"]
    assert found["data"] == pytest.approx([shown], rel=0.01)
    assert decides["data"] == [limit]


def test_the_share_of_rounds_won_has_its_confidence_sequence(running: Experiment) -> None:
    report = checked(running, "change", wins=471, losses=226)

    assert report.win_share_plot is not None
    series = json.loads(report.win_share_plot.data)["datasets"]
    assert [one["data"][0] for one in series] == [67.58, 72.87, 62.01, 50]
    assert report.win_share_plot.rows[1][1:] == ["67.6", "62.0", "72.9"]
    assert report.evidence_plot is not None
    assert report.evidence_plot.rows[1][4] == "67.6 (62.0 to 72.9)"


def test_in_a_holdback_the_rounds_won_are_those_of_the_champion(running: Experiment) -> None:
    report = checked(running, "anchor")

    assert report.sides == ("the champion", "the holdback")
    assert [(day["won"], day["lost"]) for day in report.days] == [(2, 4)] * 3


def test_a_stopped_experiment_shows_the_reason_before_the_last_check(running: Experiment) -> None:
    lifecycle.judge_experiments(timezone.now(), lambda one: None)
    stopped_at = timezone.now()
    lifecycle.stop_experiment(running, reason="Enough.", by="ada", now=stopped_at)

    report = build_report(running, timezone.now())

    assert report.title == f"Stopped on {stopped_at:%Y-%m-%d}"
    assert strip_tags(report.headline).startswith("Stopped by ada: Enough. Last check: Day 4 of 31")


def test_an_ended_experiment_shows_no_power_and_no_buttons(staff: Client, running: Experiment) -> None:
    before = page(staff, "experiment_change", running.pk)
    lifecycle.stop_experiment(running, reason="Enough.", by="ada", now=timezone.now())

    after = page(staff, "experiment_change", running.pk)

    assert "decisive rounds a day" not in after
    routes = ("admin:recommender_experiment_stop", "admin:recommender_experiment_promote")
    buttons = [reverse(route, args=[running.pk]) for route in routes]
    assert [button in before for button in buttons] == [True, True]
    assert [button in after for button in buttons] == [False, False]


def test_an_experiments_page_opens_before_its_first_list(staff: Client, running: Experiment) -> None:
    ScoredList.objects.all().delete()

    assert "Not checked yet." in page(staff, "experiment_change", running.pk)


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
        "experiment": "2026w45.1", "decision": "Day 4 of 31", "driftreport": "likes: -20.0 points",
        "engagementday": "2026w44.1",
        "songevidence": "moved because of the feedback of 14 listeners: evidence 9.0 : 1",
    }  # fmt: skip
    assert expected[model] in filled
    Experiment.objects.all().delete()
    Decision.objects.all().delete()
    for rows in (DriftReport, EngagementDay, SongEvidence):
        rows.objects.all().delete()
    page(staff, f"{model}_changelist")


def test_a_day_shows_the_engagement_within_24_hours_once_it_is_known(
    staff: Client, running: Experiment
) -> None:
    today = timezone.now().date()
    day = EngagementDay.objects.create(version=running.champion, day=today, lists=3, listeners=3)
    before = page(staff, "engagementday_change", day.pk)
    EngagementDay.objects.update(early=1 / 3, early_deviation=0.4714)

    after = page(staff, "engagementday_change", day.pk)

    assert ["not imported yet" in text for text in (before, after)] == [True, False]
    assert "0.33" in after
    assert "0.47" in after


def act(staff: Client, running: Experiment, name: str, reason: str) -> str:
    url = reverse(f"admin:recommender_experiment_{name}", args=[running.pk])
    assert staff.get(url).status_code == 200
    answer = staff.post(url, {"reason": reason}, follow=True)
    running.refresh_from_db()
    return answer.content.decode()


def test_staff_stop_an_experiment_with_a_reason(staff: Client, running: Experiment) -> None:
    act(staff, running, "stop", "")
    assert running.status == "running"

    act(staff, running, "stop", "The shares were wrong.")

    assert (running.outcome, running.reason) == ("void", "Stopped by ada: The shares were wrong.")


def test_staff_reject_a_challenger(staff: Client, running: Experiment) -> None:
    act(staff, running, "reject", "It sounds dull.")

    assert running.outcome == "reject"
    assert Promotion.objects.count() == 1


def test_a_challenger_without_files_is_not_promoted_and_the_page_says_why(
    staff: Client, running: Experiment
) -> None:
    text = act(staff, running, "promote", "We need it.")

    assert running.status == "running"
    assert "2026w45.1" in text


def test_staff_without_the_permission_decide_nothing(running: Experiment) -> None:
    reader = User.objects.create_user("bob", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_experiment"))
    client = Client()
    client.force_login(reader)

    answer = client.post(reverse("admin:recommender_experiment_stop", args=[running.pk]), {"reason": "No."})

    assert answer.status_code in {302, 403}
    running.refresh_from_db()
    assert running.status == "running"


def test_staff_start_an_aa_test_of_the_champion_against_itself(staff: Client, running: Experiment) -> None:
    lifecycle.stop_experiment(running, reason="Room for another.", by="test", now=timezone.now())

    staff.post(reverse("admin:recommender_experiment_start_aa_test"))

    aa_test = Experiment.objects.order_by("-pk")[0]
    assert (aa_test.kind, aa_test.status, aa_test.challenger) == ("equals", "running", aa_test.champion)


def test_a_version_without_files_does_not_become_champion_and_the_page_says_why(
    staff: Client, running: Experiment
) -> None:
    url = reverse("admin:recommender_modelversion_make_champion", args=[running.challenger_id])

    answer = staff.post(url, {"reason": "We need it."}, follow=True)

    assert "There is no model in" in answer.content.decode()
    assert registry.current_champion() == running.champion
