"""The models page, empty and filled: headline, charts, promotions and power."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ingestion.alerts.incidents import Condition, open_or_update
from recommender.experiments import lifecycle
from recommender.models import CandidateList, DriftReport, EngagementDay, Experiment, ModelVersion, ServedList
from recommender.registry import registry
from tests.support.builders.experiments import make_listeners_and_songs, make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.org", "x"))
    return client


def page(staff: Client) -> str:
    answer = staff.get(reverse("models"))
    assert answer.status_code == 200
    return answer.content.decode()


def promote(one: ModelVersion, reason: str) -> None:
    registry.promote(one, reason=reason, by="ada", verify=lambda version: None)


def test_an_empty_page_says_what_comes_next(staff: Client) -> None:
    text = page(staff)

    assert "No model serves yet; listeners get popular songs." in text
    assert text.count("python manage.py retrain") >= 3
    assert "No version has been promoted yet." in text
    assert "<canvas" not in text


def test_a_filled_page_has_charts_with_caption_formula_window_and_sample_and_the_promotions(
    staff: Client,
) -> None:
    make_listeners_and_songs()
    now = timezone.now()
    metrics = {
        "mix": {"ndcg": 0.24, "listeners": 50}, "popularity": {"ndcg": 0.05}, "rp3beta": {"ndcg": 0.2},
        "against_baselines": {
            "popularity": {"difference": 0.19, "low": 0.15, "high": 0.23, "listeners": 50},
            "rp3beta": {"difference": 0.04, "low": -0.01, "high": 0.09, "listeners": 50},
        },
    }  # fmt: skip
    first = make_version("2026w44.1", metrics=metrics, cohesion={"silhouette_macro": 0.3, "r2": 0.5})
    second = make_version("2026w45.1", metrics=metrics, cohesion={"silhouette_macro": 0.31, "r2": 0.5})
    second.clusters.create(number=1, position=0, name="Rock & <Roll>", size=12, plays=40,
                           facts={"map": [0.1, -0.2], "examples": [10, 11]})  # fmt: skip
    promote(first, "The first model.")
    promote(second, "It is better.")
    EngagementDay.objects.create(version=second, day=now.date(), lists=20, listeners=9, engaged=1.5)
    DriftReport.objects.create(
        version=second, kind="listening", week=now.date() - timedelta(days=7), at=now, effect=0.2, limit=0.1,
        n=900, drifted=True, alarm=True,
        causes=[{"clusters": [{"id": 1, "name": "Rock, 1990s"}], "change": 0.2, "part": 0.1, "songs": []}],
    )  # fmt: skip
    lifecycle.propose_experiment(make_version("2026w46.1"), kind="change", gates={}, by="ada", now=now)

    text = page(staff)

    assert text.count("<canvas") == 5
    assert (
        "2026w45.1 has been the champion since today; the experiment with 2026w46.1 is on day 1; "
        "a drift alarm was raised this week." in text
    )
    assert "<li>2026w45.1 serves. It has learned from" in text
    assert (
        "it beats popular songs (NDCG@20 +0.1900, 4.8 times as high; 95 % +0.1500 to +0.2300), and does not "
        "clearly beat RP3beta (NDCG@20 +0.0400, 1.2 times as high; 95 % -0.0100 to +0.0900)." in text
    )
    first_day, last_day = (f"{now + timedelta(days=days):%Y-%m-%d}" for days in (31, 60))
    assert f"this is decided between {first_day} and {last_day}, and earlier only if it is worse." in text
    assert "2026w45.1 replaced 2026w44.1." in text
    assert "Rock, 1990s: +20.0 points" in text
    link = '<a class="mm-link" href="/models/clusters/1/">Rock &amp; &lt;Roll&gt;</a>'
    assert f'<th scope="row">{link}</th><td>12</td><td>40</td>' in text
    assert "Song 10 by Artist 10" in text
    assert "50 listeners each" in text


def test_only_a_champion_that_is_worse_than_a_baseline_is_a_warning(staff: Client) -> None:
    worse = {"difference": -0.04, "low": -0.09, "high": -0.01, "listeners": 50}
    pairs = {"popularity": {**worse, "high": 0.01}, "rp3beta": worse}
    promote(
        make_version(
            "2026w44.1", metrics={"mix": {"ndcg": 0.2, "listeners": 50}, "against_baselines": pairs}
        ),
        "The first model.",
    )

    text = page(staff)

    assert "<strong>2026w44.1 was worse than RP3beta on the week before it was trained:" in text
    assert "2026w44.1 was worse than popular songs" not in text
    assert "it does not clearly beat popular songs" in text


def test_a_withdrawn_champion_is_listed(staff: Client) -> None:
    promote(make_version("2026w44.1"), "The first model.")
    promote(make_version("2026w45.1"), "A try.")
    registry.roll_back(reason="It was worse.", by="the loop", verify=lambda one: None)

    assert "2026w45.1 was withdrawn; 2026w44.1 is champion again." in page(staff)


def test_challengers_that_were_not_promoted_are_listed_between_the_promotions(staff: Client) -> None:
    make_listeners_and_songs()
    now = timezone.now()
    served = make_version("2026w44.1")
    promote(served, "The first model.")
    for number, kind in enumerate(("refresh", "change", "equals", "anchor")):
        challenger = make_version(f"2026w45.{number}")
        Experiment.objects.create(
            kind=kind, status="ended", champion=served, challenger=challenger, by="the loop",
            list_share=0.7, created_at=now, started_at=now, ended_at=now + timedelta(hours=number),
            outcome="reject" if kind == "refresh" else "inconclusive", reason=f"The end of a {kind}.",
        )  # fmt: skip

    text = page(staff)

    assert text.index("2026w45.1 did not win; 2026w44.1 stayed champion.") < text.index(
        "2026w45.0 was rejected; 2026w44.1 stayed champion."
    )
    assert [f"The end of a {kind}." in text for kind in ("refresh", "change", "equals", "anchor")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_refreshes_that_did_not_win_are_a_sentence_on_the_page(staff: Client) -> None:
    facts = {"number": 2, "versions": "2026w46.1, 2026w47.1"}
    open_or_update(Condition("refreshes_unproven", "refreshes_unproven", "notice", facts), timezone.now())

    text = page(staff)

    assert "2 refreshes in a row were promoted although they did not win: 2026w46.1, 2026w47.1." in text


def test_without_an_experiment_the_page_shows_what_a_new_one_could_detect(staff: Client) -> None:
    make_listeners_and_songs(listeners=range(1, 31))
    served = make_version("2026w44.1")
    candidates = CandidateList.objects.create(
        listener_id=1, version=served, made_at=timezone.now(), candidates=b""
    )
    for day in range(7):
        for listener in range(1, 31):
            ServedList.objects.create(
                listener_id=listener,
                candidate_list=candidates,
                version=served,
                arm="champion",
                discovery=0.3,
                seed="s",
                generated_at=timezone.now() - timedelta(days=day, hours=1),
                temperature=0.1,
                pages=[],
                items=[],
            )

    for day in range(4, 18):
        EngagementDay.objects.create(
            version=served, day=(timezone.now() - timedelta(days=day)).date(), lists=30, listeners=30,
            engaged=1.5, final=day > 7,
        )  # fmt: skip

    text = page(staff)

    # 210 lists in six days and an hour, of which 70 % would be in the experiment, with 1.3 rounds each.
    assert "At 32 decisive rounds a day (expected) the experiment detects a 3-point change in" in text
    assert "Your traffic: about 30 listeners a day, 1.5 engaged songs a list." in text


def test_visitors_who_are_not_staff_are_sent_to_the_login() -> None:
    answer = Client().get(reverse("models"))

    assert answer.status_code == 302
    assert "/admin/login/" in answer.headers["Location"]


def test_the_page_takes_eleven_queries_at_most(staff: Client, django_assert_max_num_queries) -> None:  # type: ignore[no-untyped-def]
    make_listeners_and_songs()
    now = timezone.now()
    metrics = {"mix": {"ndcg": 0.2, "listeners": 9}}
    versions = [make_version(f"2026w{number + 10}.1", metrics=metrics) for number in range(30)]
    promote(versions[0], "The first model.")
    versions[0].clusters.create(number=1, position=0, name="Rock", size=12, plays=40,
                                facts={"map": [0.1, -0.2], "examples": [10, 11]})  # fmt: skip
    for challenger in versions[1:4]:
        lifecycle.propose_experiment(challenger, kind="change", gates={}, by="ada", now=now)

    with django_assert_max_num_queries(11):
        text = page(staff)

    assert text.count("is on day 1") == 1
    assert "At 0 decisive rounds" not in text
    assert "No lists are requested: no difference can be detected." in text
