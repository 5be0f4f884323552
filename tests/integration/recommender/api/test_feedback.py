"""Feedback through the API: recorded once, or refused with the reason."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from recommender.models import CandidateList, Feedback, ServedList
from tests.support.builders.api import ApiCaller, make_api_caller, make_listener, make_song

pytestmark = pytest.mark.django_db


@pytest.fixture
def caller() -> ApiCaller:
    make_listener(1)
    make_listener(2)
    make_song(10)
    return make_api_caller()


def event(**fields: Any) -> dict[str, Any]:
    return {"event_id": "e1", "user_id": 1, "song_id": 10, "kind": "like", **fields}


def make_list(listener: int) -> ServedList:
    now = timezone.now()
    shelf = CandidateList.objects.create(listener_id=listener, made_at=now, candidates=b"")
    return ServedList.objects.create(
        listener_id=listener,
        candidate_list=shelf,
        arm="fallback",
        generated_at=now,
        discovery=0.3,
        temperature=0.1,
        seed="s",
        pages=[],
        items=[],
    )


@pytest.mark.parametrize("kind", ["like", "dislike", "skip", "wrong_style", "clear"])
def test_an_event_is_recorded(caller: ApiCaller, kind: str) -> None:
    answer = caller.post("/feedback/", event(kind=kind))

    assert answer.status_code == 201
    assert answer.json() == {"created": 1, "results": [{"event_id": "e1", "created": True}]}
    assert Feedback.objects.get().kind == kind


def test_a_listen_is_stored_with_its_seconds_and_its_list(caller: ApiCaller) -> None:
    served = make_list(1)

    answer = caller.post(
        "/feedback/",
        event(kind="listen", seconds=12.5, recommendation_id=str(served.pk), at="2026-11-01T10:00:00+02:00"),
    )

    row = Feedback.objects.get()
    assert answer.status_code == 201
    assert (row.seconds, row.served_list_id) == (12.5, served.pk)
    assert row.at.isoformat() == "2026-11-01T08:00:00+00:00"


def test_an_event_sent_twice_counts_once(caller: ApiCaller) -> None:
    caller.post("/feedback/", event())

    answer = caller.post("/feedback/", [event(), event(event_id="e2")])
    third = caller.post("/feedback/", event())

    assert answer.json()["results"] == [
        {"event_id": "e1", "created": False},
        {"event_id": "e2", "created": True},
    ]
    assert (answer.status_code, third.status_code) == (201, 200)
    assert Feedback.objects.count() == 2


def test_an_id_that_belongs_to_another_event_of_the_key_is_a_conflict(caller: ApiCaller) -> None:
    caller.post("/feedback/", event())

    answer = caller.post("/feedback/", [event(event_id="e2"), event(kind="dislike")])
    other_app = make_api_caller("other").post("/feedback/", event(kind="dislike"))

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert answer.json()["error"]["message"] == (
        "Already recorded with other content: e1. Each event needs its own id."
    )
    assert other_app.status_code == 201
    assert sorted(Feedback.objects.values_list("event_id", "kind")) == [("e1", "dislike"), ("e1", "like")]


def test_an_event_can_be_taken_back_by_the_app_that_sent_it(caller: ApiCaller) -> None:
    caller.post("/feedback/", [event(), event(event_id="odd/id é")])

    foreign = make_api_caller("other").delete("/feedback/e1/")
    answers = [
        caller.delete(path) for path in ("/feedback/e1/", "/feedback/e1/", "/feedback/odd%2Fid%20%C3%A9/")
    ]
    unknown = caller.delete("/feedback/e9/")

    assert [answer.status_code for answer in answers] == [204, 204, 204]
    assert [foreign.status_code, unknown.status_code] == [404, 404]
    assert unknown.json()["error"]["message"] == "This key has sent no event e9."
    assert not Feedback.objects.not_withdrawn().exists()


def test_an_app_reads_the_feedback_that_it_has_sent_and_no_other(caller: ApiCaller) -> None:
    make_song(11)
    sent = [event(), event(event_id="e2", song_id=11, kind="skip"), event(event_id="e3", kind="dislike")]
    caller.post("/feedback/", sent)
    make_api_caller("other").post("/feedback/", event(event_id="foreign"))
    caller.delete("/feedback/e3/")

    rows = caller.get("/feedback/?user=1").json()["results"]
    on_song = caller.get("/feedback/?user=1&song=11").json()["results"]
    one = caller.get("/feedback/e1/").json()

    assert [(row["event_id"], row["song_id"], row["kind"]) for row in rows] == [
        ("e2", 11, "skip"),
        ("e1", 10, "like"),
    ]
    assert on_song == rows[:1]
    assert one == rows[1]
    assert {caller.get(f"/feedback/{name}/").status_code for name in ("e3", "foreign")} == {404}
    assert caller.get("/feedback/").json()["error"]["fields"].keys() == {"user"}


@pytest.mark.parametrize(
    ("ahead", "status"),
    [
        (timedelta(hours=23), 201), (timedelta(days=2), 400), (timedelta(days=-4 * 365), 201),
        (timedelta(days=-6 * 365), 400),
    ],
)  # fmt: skip
def test_the_time_of_a_broken_clock_is_refused_with_the_reason(
    caller: ApiCaller, ahead: timedelta, status: int
) -> None:
    at = (timezone.now() + ahead).replace(microsecond=0)

    answer = caller.post("/feedback/", event(at=at.isoformat()))

    assert answer.status_code == status
    if status == 400:
        [says] = answer.json()["error"]["fields"]["at"]
        assert says == (
            f"{at.isoformat()} is more than 1 day ahead or 1825 days ago, so the device's clock is probably "
            "wrong. Leave `at` out to use the time of the request."
        )
    else:
        assert Feedback.objects.get().at <= timezone.now()


def test_unknown_ids_are_named_and_nothing_is_recorded(caller: ApiCaller) -> None:
    unknown = str(uuid4())

    answer = caller.post(
        "/feedback/",
        [event(), event(event_id="e2", user_id=8, song_id=9),
         event(event_id="e3", recommendation_id=unknown)],
    )  # fmt: skip

    assert answer.status_code == 400
    assert answer.json()["error"]["fields"] == {
        "user_id": ["Unknown: 8."], "song_id": ["Unknown: 9."], "recommendation_id": [f"Unknown: {unknown}."],
    }  # fmt: skip
    assert Feedback.objects.count() == 0


def test_another_users_list_is_unknown(caller: ApiCaller) -> None:
    served = make_list(2)

    answer = caller.post("/feedback/", event(recommendation_id=str(served.pk)))

    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == ["recommendation_id"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["event_id", "user_id", "song_id", "kind"]),
        (event(kind="love"), ["kind"]),
        (event(kind="listen"), ["seconds"]),
        (event(seconds=3), ["seconds"]),
        (event(kind="listen", seconds=-1), ["seconds"]),
        (event(kind="listen", seconds=86_401), ["seconds"]),
        (event(kind="listen", seconds="NaN"), ["seconds"]),
        (event(event_id=""), ["event_id"]),
        (event(event_id="x" * 65), ["event_id"]),
        (event(event_id="a\0b"), ["event_id"]),
        (event(event_id={"a": 1}), ["event_id"]),
        (event(user_id="one"), ["user_id"]),
        (event(user_id="1_0"), ["user_id"]),
        (event(kind="listen", seconds="1_0"), ["seconds"]),
        (event(kind="listen", seconds=True), ["seconds"]),
        (event(user_id=2**63), ["user_id"]),
        (event(user_id=-(2**63) - 1), ["user_id"]),
        (event(song_id=-1), ["song_id"]),
        (event(song_id=None), ["song_id"]),
        (event(recommendation_id="7"), ["recommendation_id"]),
        (event(at="tomorrow"), ["at"]),
        (event(at="9999-01-01T00:00:00Z"), ["at"]),
        (event(at="0001-01-01T00:00:00+14:00"), ["at"]),
        (event(at="1970-01-01T00:00:00Z"), ["at"]),
        (event(occurred_at="2026-11-01T10:00:00Z"), ["occurred_at"]),
        ([event(), event(kind="love")], ["1.kind"]),
        ([event(), event(event_id="e2", format="json")], ["1.format"]),
        ([], ["body"]),
        ([[]], ["0"]),
        ("text", ["body"]),
        (7, ["body"]),
        (None, ["body"]),
    ],
)
def test_an_invalid_event_is_refused_with_the_field(caller: ApiCaller, body: Any, fields: list[str]) -> None:
    answer = caller.post("/feedback/", body)

    assert answer.status_code == 400
    assert sorted(answer.json()["error"]["fields"]) == sorted(fields)
    assert Feedback.objects.count() == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("occurred_at", "Unknown field. Did you mean at? "),
        ("recomendation_id", "Unknown field. Did you mean recommendation_id? "),
        ("songId", "Unknown field. Did you mean song_id? "),
        ("device", "Unknown field. "),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(
    caller: ApiCaller, name: str, message: str
) -> None:
    answer = caller.post("/feedback/", event(**{name: "2026-11-01T10:00:00Z"}))

    known = "Known fields: at, event_id, kind, recommendation_id, seconds, song_id, user_id."
    assert answer.status_code == 400
    assert answer.json()["error"]["fields"] == {name: [message + known]}
    assert Feedback.objects.count() == 0


def test_an_unknown_field_hides_the_missing_one_that_it_stands_for(caller: ApiCaller) -> None:
    sent = event()
    sent["song"] = sent.pop("song_id")

    answer = caller.post("/feedback/", sent)

    assert list(answer.json()["error"]["fields"]) == ["song"]
    assert "Did you mean song_id?" in answer.json()["error"]["message"]


def test_five_of_many_unknown_fields_are_named(caller: ApiCaller) -> None:
    answer = caller.post("/feedback/", event(**{f"extra{number}": 1 for number in range(100_000)}))

    assert answer.status_code == 400
    assert len(answer.json()["error"]["fields"]) == 5


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "parse_error"),
        (b"[" * 100_000, "application/json", 400, "parse_error"),
        (b"\xff\xfe", "application/json", 400, "parse_error"),
        (b'{"event_id": "\\ud800"}', "application/json", 400, "parse_error"),
        (b"", "application/json", 400, "invalid"),
        (b" " * 2_621_441, "application/json", 413, "payload_too_large"),
        (b"kind=like", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ],
)
def test_an_invalid_body_is_refused(
    caller: ApiCaller, body: bytes, content_type: str, status: int, code: str
) -> None:
    answer = caller.client.generic(
        "POST", "/api/v1/feedback/", body, content_type=content_type, headers=caller.headers
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_at_most_a_thousand_events_are_recorded_at_once(
    caller: ApiCaller, django_assert_max_num_queries: Any
) -> None:
    events = [event(event_id=f"e{number}") for number in range(1_001)]

    too_many = caller.post("/feedback/", events)
    with django_assert_max_num_queries(8):
        answer = caller.post("/feedback/", events[:1_000])

    assert too_many.status_code == 400
    assert answer.json()["created"] == 1_000


def test_feedback_has_its_own_rate_limit(caller: ApiCaller, settings: Any) -> None:
    settings.API_RATE = "1/hour"
    settings.API_FEEDBACK_RATE = "2/hour"

    asked = [caller.get("/users/").status_code for _ in range(2)]
    told = [caller.post("/feedback/", event()).status_code for _ in range(3)]

    assert asked == [200, 429]
    assert told == [201, 200, 429]
