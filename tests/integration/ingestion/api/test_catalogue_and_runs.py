"""The API serves songs, users, listening history, runs and the status."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from django.utils.http import http_date

from ingestion.models import IngestionRun, Rejection
from tests.support.builders.api import (
    ApiCaller,
    make_api_caller,
    make_listener,
    make_run,
    make_session,
    make_song,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def caller() -> ApiCaller:
    return make_api_caller()


def ids(answer: Any) -> list[int]:
    return [row["id"] for row in answer.json()["results"]]


def test_a_song_has_all_fields_of_the_source(caller: ApiCaller) -> None:
    make_song(7, release_year=1999, audio_features={"tempo": 120.5})

    answer = caller.get("/songs/7/")

    assert answer.json() == {
        "id": 7, "name": "Song 7", "artist": "Artist 0", "songwriters": "A. Writer", "album": "First",
        "genres": "Rock", "duration": 200, "release_year": 1999, "audio_features": {"tempo": 120.5},
        "available": True, "created_at": "2026-11-01T10:00:00Z", "updated_at": "2026-11-01T10:00:00Z",
    }  # fmt: skip


def test_times_are_in_utc_in_every_time_zone(caller: ApiCaller, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Paris"
    make_song(7)

    answer = caller.get("/songs/7/")

    assert answer.json()["created_at"] == "2026-11-01T10:00:00Z"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [1, 2, 3, 4]),
        ("genre=rock", [1, 2]),
        ("genre=POP", [2, 3]),
        ("genre=punk", []),
        ("artist=abba", [3]),
        ("artist=abb", []),
        ("q=nothing", [2]),
        ("q=gold", [3]),
        ("available=true", [1, 2, 3]),
        ("available=0", [4]),
        ("genre=rock&q=1", [1]),
        ("genre=", [1, 2, 3, 4]),
    ],
)
def test_songs_are_filtered_by_genre_artist_and_text(caller: ApiCaller, query: str, found: list[int]) -> None:
    make_song(1, genres="Rock")
    make_song(2, genres="Hip Hop, rock, Pop", name="Nothing Else")
    make_song(3, genres="Pop,Punk Rock", artist="ABBA", album="Gold")
    make_song(4, genres="Jazz", unavailable_at=timezone.now())

    answer = caller.get(f"/songs/?{query}")

    assert ids(answer) == found


def test_pages_link_to_the_next_and_the_previous_one(caller: ApiCaller) -> None:
    for pk in range(1, 8):
        make_song(pk)

    first = caller.get("/songs/?page_size=3")
    second = caller.client.get(first.json()["next"], headers=caller.headers)
    last = caller.client.get(second.json()["next"], headers=caller.headers)
    back = caller.client.get(last.json()["previous"], headers=caller.headers)

    assert [ids(page) for page in (first, second, last, back)] == [[1, 2, 3], [4, 5, 6], [7], [4, 5, 6]]
    assert (first.json()["previous"], last.json()["next"]) == (None, None)


def test_a_page_needs_no_count_and_leaves_no_row_out(
    caller: ApiCaller, django_assert_num_queries: Any
) -> None:
    make_run("songs")
    for pk in range(1, 4):
        make_song(pk)

    # The key, the catalogue's edition (two), the page.
    # One of them stores when the key was last used, once a minute.
    with django_assert_num_queries(5):
        answer = caller.get("/songs/")

    assert ids(answer) == [1, 2, 3]


def test_a_users_sessions_come_newest_first_and_between_two_times(caller: ApiCaller) -> None:
    make_listener(1)
    make_listener(2)
    days = [make_session(1, [day], created_at=datetime(2026, 11, day, tzinfo=UTC)) for day in (2, 3, 1)]
    make_session(2, [9])

    whole = caller.get("/listening-history/?user=1")
    between = caller.get("/listening-history/?user=1&since=2026-11-02&until=2026-11-03T00:00:00Z")
    paged = caller.get("/listening-history/?user=1&page_size=1")
    second = caller.client.get(paged.json()["next"], headers=caller.headers)
    everybody = caller.get("/listening-history/")

    assert ids(whole) == [days[1].pk, days[0].pk, days[2].pk]
    assert [row["items"] for row in between.json()["results"]] == [[2]]
    assert ids(second) == [days[0].pk]
    assert len(ids(everybody)) == 4


def test_runs_have_their_status_and_counts(caller: ApiCaller) -> None:
    good = make_run("songs", received=3, new=3)
    bad = make_run(status="failed", error_kind="unavailable", error="no answer")

    answer = caller.get("/runs/")
    failed = caller.get("/runs/?status=failed")

    assert ids(answer) == [bad.pk, good.pk]
    assert answer.json()["results"][1]["resources"]["songs"]["received"] == 3
    assert answer.json()["results"][1]["seconds"] == pytest.approx(30)
    assert ids(failed) == [bad.pk]
    assert caller.get(f"/runs/{good.pk}/").json()["status"] == "succeeded"


def test_runs_cost_two_queries_however_many_there_are(
    caller: ApiCaller, django_assert_num_queries: Any
) -> None:
    for _ in range(5):
        make_run("songs", "users")

    # One finds the key and one stores when it was last used, once a minute.
    with django_assert_num_queries(4):
        caller.get("/runs/")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/songs/?available=maybe", "available"),
        ("/songs/?q=%00", "q"),
        (f"/songs/?q={'x' * 201}", "q"),
        ("/songs/?page_size=0", "page_size"),
        ("/songs/?page_size=501", "page_size"),
        ("/songs/?page_size=many", "page_size"),
        ("/songs/?cursor=nonsense", "cursor"),
        ("/songs/?cursor=cD1ub25zZW5zZQ==", "cursor"),
        ("/users/?available=2", "available"),
        ("/listening-history/?user=x", "user"),
        ("/listening-history/?user=9223372036854775808", "user"),
        ("/listening-history/?user=1_0", "user"),
        ("/listening-history/?since=yesterday", "since"),
        ("/listening-history/?until=0001-01-01T00:00:00%2B14:00", "until"),
        ("/runs/?status=fine", "status"),
    ],
)
def test_an_invalid_parameter_is_named(caller: ApiCaller, path: str, field: str) -> None:
    answer = caller.get(path)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid"
    assert list(answer.json()["error"]["fields"]) == [field]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/songs/99/", "There is no song 99."),
        ("/songs/99999999999999999999999999/", "There is no song 99999999999999999999999999."),
        ("/users/99/", "There is no user 99."),
        ("/runs/99/", "There is no run 99."),
    ],
)
def test_an_unknown_id_is_a_404_that_names_it(caller: ApiCaller, path: str, says: str) -> None:
    answer = caller.get(path)

    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": "not_found", "message": says, "fields": {}}}


def test_an_unchanged_list_is_answered_with_304(caller: ApiCaller) -> None:
    make_song(1)
    finished_at = timezone.now()
    make_run("songs", finished_at=finished_at)
    first = caller.get("/songs/")

    by_tag = caller.get("/songs/", **{"If-None-Match": first.headers["ETag"]})
    by_time = caller.get("/songs/", **{"If-Modified-Since": first.headers["Last-Modified"]})
    other_query = caller.get("/songs/?q=1", **{"If-None-Match": first.headers["ETag"]})

    assert [answer.status_code for answer in (first, by_tag, by_time, other_query)] == [200, 304, 304, 200]
    assert by_tag.content == b""
    assert by_tag.headers["ETag"] == first.headers["ETag"]
    assert first.headers["Last-Modified"] == http_date(int(finished_at.timestamp()))
    assert first.headers["Cache-Control"] == "private, no-cache"


def test_a_list_is_sent_again_after_a_run_and_after_a_replay_of_rejections(caller: ApiCaller) -> None:
    run = make_run("songs")
    tag = caller.get("/songs/").headers["ETag"]

    Rejection.objects.create(
        run=run, last_run=run, resource="songs", payload="{}", fingerprint="0", resolved_at=timezone.now()
    )
    after_rejections = caller.get("/songs/", **{"If-None-Match": tag})
    make_run("songs")
    after_run = caller.get("/songs/", **{"If-None-Match": after_rejections.headers["ETag"]})

    assert (after_rejections.status_code, after_run.status_code) == (200, 200)


def test_during_a_run_responses_have_no_etag(caller: ApiCaller) -> None:
    make_run("songs")
    make_run(status="running")

    answer = caller.get("/songs/")

    assert answer.status_code == 200
    assert "ETag" not in answer.headers


def test_two_users_have_different_etags(caller: ApiCaller) -> None:
    make_run("songs")
    tag = caller.get("/songs/").headers["ETag"]

    other = make_api_caller("other", personal_data=True).get("/songs/", **{"If-None-Match": tag})
    nobody = ApiCaller().get("/songs/", **{"If-None-Match": tag})

    assert (other.status_code, nobody.status_code) == (200, 401)


def test_status_names_what_is_oldest_first(caller: ApiCaller) -> None:
    old = make_run("users", "songs", finished_at=timezone.now() - timedelta(hours=5),
                   started_at=timezone.now() - timedelta(hours=6))  # fmt: skip
    new = make_run("songs", status="partial")
    make_run("users", dry_run=True)
    make_run("users", status="failed")

    answer = caller.get("/status/").json()["results"]

    assert [(row["name"], row["source"]) for row in answer] == [
        ("listening_history", None), ("model", None), ("users", str(old.pk)), ("songs", str(new.pk)),
    ]  # fmt: skip
    assert answer[2]["age_seconds"] == pytest.approx(5 * 3600, abs=60)
    assert IngestionRun.objects.count() == 4
