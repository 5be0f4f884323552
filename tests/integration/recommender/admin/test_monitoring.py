"""Drift reports, decisions and song evidence in the admin, and the texts of empty lists."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from recommender.experiments import lifecycle
from recommender.models import Decision, DriftReport, SongEvidence, TrainingRun
from recommender.registry import registry
from tests.support.builders.experiments import (
    make_healthy_feed,
    make_listeners_and_songs,
    make_version,
)

pytestmark = pytest.mark.django_db
NOW = timezone.now()
WEEK = date(2026, 10, 19)


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


def read(staff: Client, name: str, *arguments: Any) -> str:
    """The page's text without tags, with single spaces."""
    answer = staff.get(reverse(f"admin:{name}", args=arguments))
    assert answer.status_code == 200
    return " ".join(strip_tags(answer.content.decode()).split())


def drift(**fields: Any) -> DriftReport:
    usual: dict[str, Any] = {
        "kind": "listening", "week": WEEK, "at": NOW, "n": 2183, "listeners": 64, "p": 0.0005,
        "effect": 0.236, "limit": 0.1, "drifted": True, "alarm": True,
    }  # fmt: skip
    return DriftReport.objects.create(version=make_version("2026w41.2"), **{**usual, **fields})


def test_a_drift_report_shows_the_changed_clusters_and_their_songs(staff: Client) -> None:
    make_listeners_and_songs()
    causes = [
        {"clusters": [{"id": 7, "name": "Metal, sad"}, {"id": 8, "name": "Punk"}], "others": 3, "part": 0.03,
         "change": 0.1582, "songs": [{"id": 10, "name": "Song 10 by Artist 10", "plays": 49}]},
    ]  # fmt: skip
    report = drift(causes=causes, season={"week": "2025-10-20", "n": 900, "listeners": 50, "likeness": 0.71})

    text = read(staff, "recommender_driftreport_change", report.pk)

    assert "in the week of 2026-10-19: drift, 2.4 times the limit. Alarm." in text
    assert "2 183 plays of 64 listeners." in text
    assert "Metal, sad; Punk and 3 more +15.8 points Song 10 by Artist 10 (49)" in text
    assert "the same week a year ago: 0.71 of at most 1." in text


def test_a_week_without_drift_shows_its_share_of_the_limit(staff: Client) -> None:
    report = drift(drifted=False, alarm=False, effect=0.0996)

    text = read(staff, "recommender_driftreport_change", report.pk)

    assert "in the week of 2026-10-19: no drift (99 % of the limit)." in text
    assert "No cluster or group changed more than chance explains." in text


def test_a_week_with_too_little_listening_has_no_share_of_a_limit(staff: Client) -> None:
    report = drift(drifted=False, alarm=False, effect=0.0, limit=0.0, p=None)

    assert "not enough data" in read(staff, "recommender_driftreport_change", report.pk)
    assert "not enough data" in read(staff, "recommender_driftreport_changelist")


def decided(kind: str, **evidence: Any) -> Decision:
    registry.promote(make_version("2026w44.1"), reason="The first.", by="test", verify=lambda one: None)
    experiment = lifecycle.propose_experiment(
        make_version("2026w45.1"), kind="change", gates={}, by="test", now=NOW - timedelta(days=9)
    )
    make_healthy_feed(NOW)
    lifecycle.judge_experiments(NOW, lambda one: None)
    decision = Decision.objects.get(experiment=experiment)
    Decision.objects.update(evidence={**decision.evidence, "kind": kind, **evidence})
    return decision


@pytest.mark.parametrize(
    ("kind", "evidence", "grounds"),
    [
        ("change", {"wins": 471, "losses": 226, "late_wins": 289, "late_losses": 142},
         ("Rounds won, challenger : champion 471 : 226 - Evidence that the models differ (e-value) "
         "over 1,000,000 : 1 decided from 20 : 1 Rounds won from day 14 on 289 : 142 promoted "
         "only if the challenger won at least as many of these rounds as the champion")),
        ("refresh", {"listeners": 41, "z": -8.38, "wins": 5, "losses": 98},
         ("Listeners with a decisive round 41 at least 20 z: lead of the challenger, in standard "
         "errors -8.38 rejected below -0.75")),
        ("anchor", {"wins": 206, "losses": 161},
         ("Rounds won, champion : holdback 206 : 161 - Evidence that the champion is worse (e-value) 1 : 10 "
         "rolled back from 10 : 1")),
    ],
)  # fmt: skip
def test_a_decision_shows_each_number_beside_its_rule(
    staff: Client, kind: str, evidence: dict[str, Any], grounds: str
) -> None:
    decision = decided(kind, **evidence)

    text = read(staff, "recommender_decision_change", decision.pk)

    assert f"Not decided: {decision.verdict['reason']}" in text
    assert grounds in text
    assert f"python manage.py explaindecision {decision.pk}" in text


def test_an_ab_split_with_too_few_listeners_has_unknown_bounds(staff: Client) -> None:
    rail = {"name": "Engaged songs a list", "difference": 0.25, "low": -3.4e38, "high": 3.4e38,
            "challengers": 1, "champions": 40}  # fmt: skip
    decision = decided("change", guardrails=[rail])

    assert "+0.25 (unknown to unknown)" in read(staff, "recommender_decision_change", decision.pk)


def make_evidence(label: str, **fields: Any) -> SongEvidence:
    made = make_version(label)
    for number, name in ((1, f"Rock of {label}"), (2, f"Metal of {label}")):
        made.clusters.create(number=number, position=number, name=name, size=10)
    usual = {"song_id": 10, "before": 1, "after": 2, "listeners": 14, "log_odds": 2.2, "margin": 0.9}
    return SongEvidence.objects.create(version=made, **{**usual, **fields})


def test_a_songs_page_says_why_the_song_moved_newest_version_first(staff: Client) -> None:
    make_listeners_and_songs()
    make_evidence("2026w43.1", after=1)
    make_evidence("2026w44.1", after=1, listeners=1, log_odds=0.0)
    make_evidence("2026w45.1")

    text = read(staff, "ingestion_song_change", 10)

    newer = (
        "2026w45.1: moved because of the feedback of 14 listeners: evidence 9.0 : 1 for the new cluster. "
        "Rock of 2026w45.1 → Metal of 2026w45.1"
    )
    older = (
        "2026w44.1: not moved: the feedback of 1 listener is no evidence for another cluster. "
        "Rock of 2026w44.1"
    )
    oldest = (
        "2026w43.1: not moved: the feedback of 14 listeners is evidence 9.0 : 1 for another cluster, "
        "which is not enough."
    )
    assert f"{newer} {older} {oldest}" in text
    assert "No model version was trained on feedback on this song" in read(staff, "ingestion_song_change", 11)


def test_the_least_certain_songs_of_the_newest_version_come_first(staff: Client) -> None:
    make_listeners_and_songs()
    make_evidence("2026w44.1", margin=0.0)
    newer = make_evidence("2026w45.1").version
    SongEvidence.objects.create(version=newer, song_id=11, before=1, after=1, listeners=3, log_odds=0.0,
                                margin=0.02)  # fmt: skip

    text = read(staff, "recommender_songevidence_changelist")
    moved = read_filtered(staff, "recommender_songevidence_changelist", moved="yes")
    not_moved = read_filtered(staff, "recommender_songevidence_changelist", moved="no")

    assert text.index("Song 11") < text.index("Song 10")
    assert text.index("of 2026w45.1") < text.index("of 2026w44.1")
    assert ("Song 11" in moved, "Song 10" in moved) == (False, True)
    assert ("Song 11" in not_moved, "Song 10" in not_moved) == (True, False)


def read_filtered(staff: Client, name: str, **wanted: str) -> str:
    answer = staff.get(reverse(f"admin:{name}"), wanted)
    return " ".join(strip_tags(answer.content.decode()).split())


EMPTY = {
    "driftreport": "python manage.py checkdrift",
    "engagementday": "counts lists the day after they were served",
    "songevidence": "The next training uses likes, skips",
    "decision": "The first check follows the day after an experiment starts.",
    "experiment": "Every Sunday, a new version is trained",
    "modelversion": "python manage.py retrain",
    "trainingrun": "python manage.py retrain",
    "promotion": "The first version that passes the offline gates becomes champion",
    "servedlist": "Apps request lists with an API key",
    "feedback": "POST /api/v1/feedback/",
    "apikey": "Add a key for each app",
    "nameword": "Add a word to keep it out",
    "clusternamerule": "Add a rule to show another name",
    "genrealias": "if the source has two names for one genre",
}


@pytest.mark.parametrize(("model", "expected"), EMPTY.items())
def test_an_empty_list_says_what_comes_next(staff: Client, model: str, expected: str) -> None:
    found = read(staff, f"recommender_{model}_changelist")

    assert "Nothing here yet" in found
    assert expected in found


def test_a_filter_without_results_offers_all_rows(staff: Client) -> None:
    drift()

    found = read_filtered(staff, "recommender_driftreport_changelist", kind__exact="feed")

    assert "No row matches" in found
    assert "Show all rows" in found


def test_a_training_run_begins_with_its_result_and_says_when_its_process_started(staff: Client) -> None:
    run = TrainingRun.objects.create(
        trigger="schedule", status="succeeded", started_at=NOW, heartbeat_at=NOW, finished_at=NOW, host="h",
        pid=1, process_started=1_796_026_604.0, summary="Version 2026w48.1 is a candidate.",
    )  # fmt: skip

    text = read(staff, "recommender_trainingrun_change", run.pk)

    assert "Process started 2026-11-30 08:16:44" in text
    assert "1796026604" not in text
    assert text.index("Version 2026w48.1 is a candidate.") < text.index("Process ID")


def test_no_is_a_dash_and_not_a_red_cross(staff: Client) -> None:
    promotion = registry.promote(make_version("2026w44.1"), reason="First.", by="ada", verify=lambda _: None)

    page = staff.get(reverse("admin:recommender_promotion_change", args=[promotion.pk])).content.decode()

    assert '<span title="No">-</span>' in page
    assert "close_small" not in page
