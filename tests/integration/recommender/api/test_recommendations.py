"""Lists, the next song, affinities, similar and popular songs of a trained model through the API."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.serializers import BaseSerializer, ListSerializer

from ingestion.models import ListeningHistory, Song
from recommender.api import serializers
from recommender.models import ApiKey, CandidateList, Feedback, ModelVersion, ServedList
from recommender.serving.reasons.reasons import ReasonCode
from tests.support.builders.api import ApiCaller, make_api_caller, make_listener
from tests.support.builders.recommendations import forget_lists

pytestmark = pytest.mark.django_db


@pytest.fixture
def caller(trained: Path, db: None, settings: Any) -> ApiCaller:
    settings.MODEL_STORAGE = trained
    return make_api_caller()


def differences(answer: Any, described: BaseSerializer, at: str = "") -> list[str]:
    """Where an answer has other fields than its description."""
    if isinstance(described, ListSerializer):
        inner = described.child
        return [found for row in answer for found in differences(row, inner, f"{at}[]")]
    fields = described.fields
    optional = {name for name, field in fields.items() if not field.required and not field.read_only}
    wrong = [f"{at}.{name}" for name in (set(answer) ^ set(fields)) - (optional - set(answer))]
    for name, field in fields.items():
        if isinstance(field, BaseSerializer) and answer.get(name) is not None:
            wrong += differences(answer[name], field, f"{at}.{name}")
    return wrong


def songs_of(answer: Any) -> list[int]:
    return [item["song"]["id"] for item in answer.json()["items"]]


def test_a_user_gets_twenty_new_songs_each_with_a_reason(caller: ApiCaller) -> None:
    heard = {
        song for items in ListeningHistory.objects.filter(user=43937).values_list("items", flat=True)
        for song in items
    }  # fmt: skip

    answer = caller.get("/users/43937/recommendations/?discovery=0.3")

    body = answer.json()
    assert answer.status_code == 200
    assert (body["user_id"], body["arm"], body["stale"]) == (43937, "champion", False)
    assert body["model_version"] == ModelVersion.objects.get(role="champion").label
    assert [item["rank"] for item in body["items"]] == list(range(1, 21))
    assert len(set(songs_of(answer)) - heard) == 20
    assert all(item["reason"] for item in body["items"])
    assert body["discovery"]["asked"] == 0.3
    assert ServedList.objects.get().pk.hex == body["recommendation_id"].replace("-", "")


def test_reasons_have_codes_and_are_in_the_language_that_the_request_accepts(caller: ApiCaller) -> None:
    english = caller.get("/users/43937/recommendations/?discovery=0&n=100")
    address = f"/users/43937/recommendations/?list={english.json()['recommendation_id']}&n=100"
    # German is not there, so the second choice counts.
    french = caller.get(address, **{"Accept-Language": "de, fr;q=0.5"})

    pairs = list(zip(english.json()["items"], french.json()["items"], strict=True))
    codes = {ours["reason_code"] for ours, _theirs in pairs}
    assert "cluster" in codes
    assert codes <= set(ReasonCode)
    for ours, theirs in pairs:
        assert ours["reason"] != theirs["reason"]
        assert (ours["reason_code"], ours["reason_parameters"]) == (
            theirs["reason_code"],
            theirs["reason_parameters"],
        )
        if ours["reason_code"] == "cluster":
            assert ours["reason_parameters"] == {
                "cluster": ours["cluster"]["name"],
                "share": ours["affinity"],
            }
    assert [answer.headers["Content-Language"] for answer in (english, french)] == ["en", "fr"]
    assert "Accept-Language" in french.headers["Vary"]


@pytest.mark.parametrize(
    ("path", "described"),
    [
        ("/users/43937/recommendations/", serializers.RecommendationPageSerializer),
        ("/users/43937/next/", serializers.RecommendationSerializer),
        ("/users/43937/affinities/", serializers.AffinitiesSerializer),
        ("/users/43937/new-releases/", serializers.NewReleasesSerializer),
        ("/songs/51373/similar/", serializers.SimilarSerializer),
        ("/songs/popular/", serializers.PopularSerializer),
    ],
)
def test_a_response_matches_the_openapi_schema(
    caller: ApiCaller, path: str, described: type[BaseSerializer]
) -> None:
    body = caller.get(path).json()

    assert differences(body, described()) == []


@pytest.mark.parametrize("n", [1, 7, 40])
def test_a_list_has_exactly_n_songs(caller: ApiCaller, n: int) -> None:
    assert len(songs_of(caller.get(f"/users/43937/recommendations/?n={n}"))) == n


def test_excluded_songs_are_not_in_the_list(caller: ApiCaller) -> None:
    first = songs_of(caller.get("/users/43937/recommendations/?discovery=0"))
    forget_lists()

    second = songs_of(
        caller.get(f"/users/43937/recommendations/?discovery=0&exclude={first[0]},{first[1]},999999")
    )

    assert set(second).isdisjoint(first[:2])
    assert second[0] == first[2]


def test_pages_continue_the_same_list_and_repeat_no_song(caller: ApiCaller) -> None:
    first = caller.get("/users/43937/recommendations/?n=10")
    second = caller.client.get(first.json()["next"], headers=caller.headers)
    again = caller.client.get(first.json()["next"], headers=caller.headers)
    listed = first.json()["recommendation_id"]
    reread = caller.get(f"/users/43937/recommendations/?list={listed}&n=10")

    assert second.json()["recommendation_id"] == listed
    assert [item["rank"] for item in second.json()["items"]] == list(range(11, 21))
    assert len({*songs_of(first), *songs_of(second)}) == 20
    assert songs_of(again) == songs_of(second)
    assert songs_of(reread) == songs_of(first)


def test_the_last_page_has_no_next_link(caller: ApiCaller) -> None:
    listed = caller.get("/users/43937/recommendations/?n=100").json()["recommendation_id"]

    last = caller.get(f"/users/43937/recommendations/?list={listed}&n=100&page=4")
    beyond = caller.get(f"/users/43937/recommendations/?list={listed}&n=100&page=9")

    assert last.json()["next"] is None
    assert (beyond.status_code, beyond.json()["items"]) == (200, [])


def test_a_user_can_not_continue_another_users_list(caller: ApiCaller) -> None:
    listed = caller.get("/users/43937/recommendations/").json()["recommendation_id"]

    answer = caller.get(f"/users/15508/recommendations/?list={listed}&page=2")

    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"User 15508 was served no list {listed}."


def test_at_a_cold_start_a_user_gets_popular_songs_and_the_reason_says_so(caller: ApiCaller) -> None:
    make_listener(1_000_000, favorite_genres="Nothing Known")

    body = caller.get("/users/1000000/recommendations/").json()

    assert len(body["items"]) == 20
    assert all(item["reason"].startswith("Popular") for item in body["items"])


def test_a_list_costs_few_queries(
    caller: ApiCaller, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    caller.get("/users/43937/recommendations/")

    # The key; the shelf with what could make it stale; what was shown; the songs; the list itself.
    with django_assert_num_queries(5):
        caller.get("/users/43937/recommendations/")


def test_the_next_song_is_a_list_of_one_and_does_not_repeat(caller: ApiCaller) -> None:
    answers = [caller.get("/users/43937/next/") for _ in range(3)]

    assert [len(songs_of(answer)) for answer in answers] == [1, 1, 1]
    assert len({song for answer in answers for song in songs_of(answer)}) == 3


def test_affinities_are_shares_highest_first(caller: ApiCaller) -> None:
    body = caller.get("/users/43937/affinities/").json()

    shares = [row["affinity"] for row in body["results"]]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    assert shares == sorted(shares, reverse=True)


def test_similar_songs_leave_the_song_itself_out(caller: ApiCaller) -> None:
    body = caller.get("/songs/51373/similar/?n=5").json()

    assert len(body["results"]) == 5
    assert 51373 not in [row["song"]["id"] for row in body["results"]]


def test_popular_songs_come_with_listeners_and_are_cached(caller: ApiCaller) -> None:
    answer = caller.get("/songs/popular/?n=3&days=36500")
    again = caller.get("/songs/popular/?n=3&days=36500", **{"If-None-Match": answer.headers["ETag"]})

    rows = answer.json()["results"]
    listeners = [row["listeners"] for row in rows]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert listeners == sorted(listeners, reverse=True)
    assert all(row["plays"] >= row["listeners"] > 0 for row in rows)
    assert again.status_code == 304


def test_clusters_hold_all_songs_and_filter_the_catalogue(caller: ApiCaller) -> None:
    clusters = caller.get("/clusters/").json()["results"]
    biggest = max(clusters, key=lambda row: row["size"])

    page = caller.get(f"/songs/?cluster={biggest['id']}&page_size=500")
    one = caller.get(f"/clusters/{biggest['id']}/")
    none = caller.get("/songs/?cluster=9999999")

    assert sum(row["size"] for row in clusters) == Song.objects.count()
    assert len(page.json()["results"]) == biggest["size"]
    assert one.json() == biggest
    assert none.json()["results"] == []


def test_clusters_and_models_are_cached_until_another_model_serves(caller: ApiCaller) -> None:
    first = [caller.get(path) for path in ("/clusters/", "/models/")]

    again = [
        caller.get(path, **{"If-None-Match": answer.headers["ETag"]})
        for path, answer in zip(("/clusters/", "/models/"), first, strict=True)
    ]

    assert [answer.status_code for answer in (*first, *again)] == [200, 200, 304, 304]


def test_a_model_comes_with_its_configuration_and_metrics(caller: ApiCaller) -> None:
    label = ModelVersion.objects.get().label

    body = caller.get(f"/models/{label}/").json()

    assert (body["label"], body["role"]) == (label, "champion")
    assert body["n_songs"] == Song.objects.count()


def test_ready_is_ok_with_a_model_and_degraded_without_its_files(
    caller: ApiCaller, settings: Any, tmp_path: Path
) -> None:
    ok = caller.client.get("/health/ready/")
    settings.MODEL_STORAGE = tmp_path / "elsewhere"
    degraded = caller.client.get("/health/ready/")

    assert (ok.status_code, ok.json()["status"]) == (200, "ok")
    assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
    assert str(tmp_path) not in degraded.content.decode()


def test_without_the_models_files_popular_songs_are_served_as_a_fallback(
    caller: ApiCaller, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_STORAGE = tmp_path / "elsewhere"

    body = caller.get("/users/43937/recommendations/").json()

    assert body["arm"] == "fallback"
    assert len(body["items"]) == 20


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/users/999999/recommendations/", "There is no user 999999."),
        ("/users/999999/next/", "There is no user 999999."),
        ("/users/999999/affinities/", "There is no user 999999."),
        ("/users/43937/next/?after=999999", "There is no song 999999."),
        ("/songs/999999/similar/", "There is no song 999999."),
        ("/clusters/999999/", "The serving model has no cluster 999999."),
        ("/models/1999w01.1/", "There is no model 1999w01.1."),
        ("/users/99999999999999999999999/recommendations/", "There is no user 99999999999999999999999."),
        ("/songs/99999999999999999999999/similar/", "There is no song 99999999999999999999999."),
    ],
)
def test_an_unknown_id_is_a_404_that_names_it(caller: ApiCaller, path: str, says: str) -> None:
    answer = caller.get(path)

    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == says


def test_an_unknown_list_is_named(caller: ApiCaller) -> None:
    listed = uuid4()

    answer = caller.get(f"/users/43937/recommendations/?list={listed}")

    assert answer.status_code == 404
    assert str(listed) in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/users/43937/recommendations/?n=0", "n"),
        ("/users/43937/recommendations/?n=101", "n"),
        ("/users/43937/recommendations/?n=many", "n"),
        ("/users/43937/recommendations/?discovery=1.1", "discovery"),
        ("/users/43937/recommendations/?discovery=nan", "discovery"),
        ("/users/43937/recommendations/?exclude=1;2", "exclude"),
        (f"/users/43937/recommendations/?exclude={','.join(['1'] * 501)}", "exclude"),
        ("/users/43937/recommendations/?list=7", "list"),
        ("/users/43937/recommendations/?page=2", "list"),
        ("/users/43937/next/?after=x", "after"),
        ("/songs/51373/similar/?n=0", "n"),
        ("/songs/popular/?days=0", "days"),
        ("/songs/?cluster=x", "cluster"),
    ],
)
def test_a_parameter_out_of_its_range_is_named(caller: ApiCaller, path: str, field: str) -> None:
    answer = caller.get(path)

    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == [field]


def test_an_unavailable_song_is_not_recommended(caller: ApiCaller) -> None:
    first = songs_of(caller.get("/users/43937/recommendations/?discovery=0"))
    Song.objects.filter(pk__in=first[:5]).update(unavailable_at=timezone.now())

    second = songs_of(caller.get("/users/43937/recommendations/?discovery=0"))

    assert len(second) == 20
    assert set(second).isdisjoint(first[:5])


class TestLooking:
    """Staff in a browser and HEAD requests look; only a key serves."""

    @pytest.fixture
    def staff(self, trained: Path, db: None, settings: Any) -> Client:
        settings.MODEL_STORAGE = trained
        client = Client()
        client.force_login(User.objects.create_superuser("ada", password="pw"))
        return client

    @pytest.mark.parametrize("path", ["recommendations/?n=5", "next/"])
    def test_staff_who_look_at_the_api_store_nothing(self, staff: Client, path: str) -> None:
        CandidateList.objects.all().delete()

        body = staff.get(f"/api/v1/users/43937/{path}").json()

        assert len(body["items"]) in {1, 5}
        assert body["stored"] is False
        assert not ServedList.objects.exists()
        assert not CandidateList.objects.exists()

    def test_staff_who_open_a_served_list_do_not_extend_it(self, staff: Client) -> None:
        served = make_api_caller().get("/users/43937/recommendations/?n=5").json()

        body = staff.get(
            f"/api/v1/users/43937/recommendations/?n=5&list={served['recommendation_id']}&page=2"
        ).json()

        assert body["items"] == []
        assert len(ServedList.objects.get().items) == 5

    def test_a_head_request_stores_nothing(self, caller: ApiCaller) -> None:
        answer = caller.client.head("/api/v1/users/43937/recommendations/", headers=caller.headers)

        assert answer.status_code == 200
        assert not ServedList.objects.exists()

    def test_a_list_and_an_event_say_which_key_asked(self, caller: ApiCaller) -> None:
        served = caller.get("/users/43937/recommendations/?n=1").json()
        caller.post(
            "/feedback/",
            {"event_id": "1", "user_id": 43937, "song_id": served["items"][0]["song"]["id"], "kind": "like"},
        )

        key = ApiKey.objects.get()
        assert ServedList.objects.get().asked_by == f"key {key.prefix} (A test)"
        assert Feedback.objects.get().key_id == key.pk


def test_the_mode_and_the_share_of_favourites_are_parameters(caller: ApiCaller) -> None:
    favourites = caller.get("/users/43937/recommendations/?mode=favourites").json()
    mixed = caller.get("/users/43937/recommendations/?repeats=0.5&n=10").json()
    single = caller.get("/users/43937/next/?mode=discover").json()

    assert (favourites["mode"], mixed["mode"], single["mode"]) == ("favourites", "mix", "discover")
    assert favourites["items"][0]["heard"]
    assert abs(sum(item["heard"] for item in mixed["items"]) - 5) <= 1
    assert not single["items"][0]["heard"]


def test_a_share_of_favourites_belongs_to_a_mix(caller: ApiCaller) -> None:
    wrong = caller.get("/users/43937/recommendations/?mode=discover&repeats=0.5")
    unknown = caller.get("/users/43937/next/?mode=old")

    assert (wrong.status_code, unknown.status_code) == (400, 400)
    assert "repeats" in str(wrong.json())
    assert "discover, mix, favourites" in str(unknown.json())
