"""Recording of feedback events: duplicates, unknown ids, clocks."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction

from ingestion.models import Listener, Song
from recommender.feedback.events import (
    ConflictingEvents,
    FeedbackEvent,
    RecordedEvent,
    RefusedEvent,
    UnknownEvent,
    UnknownIds,
    record_events,
    record_possible,
    withdraw_event,
)
from recommender.models import CandidateList, Feedback, ServedList

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
NO_LIST = UUID("00000000-0000-0000-0000-000000000001")


@pytest.fixture(autouse=True)
def _two_listeners_and_three_songs() -> None:
    Listener.objects.bulk_create(Listener(id=pk, created_at=NOW, updated_at=NOW) for pk in (1, 2))
    Song.objects.bulk_create(
        Song(id=pk, name=f"Song {pk}", artist="A", duration=timedelta(minutes=3), created_at=NOW,
             updated_at=NOW)
        for pk in (10, 11, 12)
    )  # fmt: skip


def event(event_id: str, song_id: int = 10, user_id: int = 1, **fields: Any) -> FeedbackEvent:
    return FeedbackEvent(event_id, user_id, song_id, fields.pop("kind", Feedback.Kind.LIKE), **fields)


def served_to(listener: int) -> ServedList:
    shelf = CandidateList.objects.create(listener_id=listener, made_at=NOW, candidates=b"")
    return ServedList.objects.create(
        listener_id=listener,
        candidate_list=shelf,
        arm="fallback",
        generated_at=NOW,
        discovery=0.3,
        temperature=0.1,
        seed="s",
        pages=[],
        items=[],
    )


def test_an_event_sent_twice_is_stored_once() -> None:
    fields: dict[str, Any] = {"kind": Feedback.Kind.LISTEN, "seconds": 40.0}

    first = record_events([event("a", **fields)], received_at=NOW)
    again = record_events([event("a", **fields)], received_at=NOW + timedelta(hours=1))

    assert first == [RecordedEvent("a", created=True)]
    assert again == [RecordedEvent("a", created=False)]
    assert list(Feedback.objects.values_list("song_id", "kind", "received_at")) == [(10, "listen", NOW)]


@pytest.mark.parametrize(
    "other",
    [
        {"song_id": 11}, {"user_id": 2}, {"kind": Feedback.Kind.DISLIKE}, {"at": NOW - timedelta(hours=1)},
        {"kind": Feedback.Kind.LISTEN, "seconds": 5.0},
    ],
)  # fmt: skip
def test_an_id_that_is_sent_again_with_other_content_is_refused(other: dict[str, Any]) -> None:
    record_events([event("a")], received_at=NOW)

    with pytest.raises(ConflictingEvents) as refused:
        record_events([event("b"), event("a", **other)], received_at=NOW + timedelta(minutes=1))

    assert refused.value.event_ids == ["a"]
    assert list(Feedback.objects.values_list("event_id", "song_id", "kind")) == [("a", 10, "like")]


def test_an_event_twice_in_one_batch_is_stored_once() -> None:
    recorded = record_events([event("a", 10), event("b", 12), event("a", 10)], received_at=NOW)

    assert recorded == [RecordedEvent("a", True), RecordedEvent("b", True), RecordedEvent("a", False)]
    assert dict(Feedback.objects.values_list("event_id", "song_id")) == {"a": 10, "b": 12}


def test_two_events_with_one_id_in_a_batch_are_refused() -> None:
    with pytest.raises(ConflictingEvents):
        record_events([event("a", 10), event("a", 11)], received_at=NOW)

    assert not Feedback.objects.exists()


def test_ids_are_unique_among_the_events_of_one_key() -> None:
    record_events([event("a", 10)], received_at=NOW, key_id=7)
    record_events([event("a", 11)], received_at=NOW, key_id=8)

    assert dict(Feedback.objects.values_list("key_id", "song_id")) == {7: 10, 8: 11}


def test_an_event_of_an_earlier_release_is_recognised_and_blocks_no_other_app() -> None:
    for key_id, event_id in ((None, "a"), (None, "b")):
        Feedback.objects.create(event_id=event_id, key_id=key_id, listener_id=1, song_id=10, kind="like",
                                at=NOW, received_at=NOW)  # fmt: skip

    recorded = record_events([event("a", 10), event("b", 12)], received_at=NOW, key_id=7)

    assert recorded == [RecordedEvent("a", False), RecordedEvent("b", True)]


def test_an_id_that_another_request_inserts_at_the_same_moment_is_checked_again() -> None:
    def insert_first(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        """Another request inserts the ids just before this request's insert."""
        if sql.startswith("SAVEPOINT") and not Feedback.objects.exists():
            Feedback.objects.bulk_create(
                Feedback(event_id=name, key_id=7, listener_id=1, song_id=10, kind="like", at=NOW,
                         received_at=NOW)
                for name in ("a", "b")
            )  # fmt: skip
        return execute(sql, params, many, context)

    with connection.execute_wrapper(insert_first):
        assert record_events([event("a", 10)], received_at=NOW, key_id=7) == [RecordedEvent("a", False)]
        Feedback.objects.all().delete()
        with pytest.raises(ConflictingEvents):
            record_events([event("b", 12)], received_at=NOW, key_id=7)


def test_a_withdrawn_event_no_longer_stands_and_is_not_stored_again() -> None:
    record_events([event("a", 10), event("b", 11)], received_at=NOW, key_id=7)
    newest = Feedback.objects.latest("pk").pk

    for _ in range(2):
        withdraw_event("a", now=NOW + timedelta(hours=1), key_id=7)
    again = record_events([event("a", 10)], received_at=NOW + timedelta(hours=2), key_id=7)

    gone = Feedback.objects.get(event_id="a")
    assert list(Feedback.objects.not_withdrawn().values_list("event_id", flat=True)) == ["b"]
    assert (gone.withdrawn_at, gone.kind, gone.at) == (NOW + timedelta(hours=1), "like", NOW)
    # Candidate lists are stale if there is feedback with an id that they do not know.
    assert gone.pk > newest
    assert again == [RecordedEvent("a", created=False)]


def test_only_the_key_that_sent_an_event_can_withdraw_it() -> None:
    record_events([event("a")], received_at=NOW, key_id=7)

    for event_id, key_id in (("a", 8), ("b", 7)):
        with pytest.raises(UnknownEvent):
            withdraw_event(event_id, now=NOW, key_id=key_id)

    assert Feedback.objects.not_withdrawn().count() == 1


def test_unknown_ids_are_named_by_field_and_nothing_is_recorded() -> None:
    events = [event("a"), event("b", 99, user_id=7), event("c", 98, recommendation_id=NO_LIST)]

    with pytest.raises(UnknownIds) as refused:
        record_events(events, received_at=NOW)

    assert refused.value.fields == {"user_id": [7], "song_id": [98, 99], "recommendation_id": [NO_LIST]}
    assert str(refused.value) == f"Unknown: user_id 7; song_id 98, 99; recommendation_id {NO_LIST}."
    assert not Feedback.objects.exists()


@pytest.mark.parametrize("far", [2**63, -(2**63) - 1, 10**30])
def test_an_id_beyond_64_bits_is_unknown_like_any_other(far: int) -> None:
    with pytest.raises(UnknownIds) as refused:
        record_events([event("a", far, user_id=far)], received_at=NOW)

    assert refused.value.fields == {"user_id": [far], "song_id": [far]}


def test_a_list_of_another_listener_is_refused() -> None:
    served = served_to(2)

    with pytest.raises(UnknownIds) as refused:
        record_events([event("a", recommendation_id=served.pk)], received_at=NOW)

    assert refused.value.fields == {"recommendation_id": [served.pk]}


def test_feedback_is_linked_to_its_list() -> None:
    served = served_to(1)

    record_events([event("a", recommendation_id=served.pk)], received_at=NOW)

    assert list(served.feedback.values_list("event_id", flat=True)) == ["a"]


def test_a_time_in_the_future_is_corrected_and_a_past_one_is_kept() -> None:
    ahead, late = NOW + timedelta(days=3), NOW - timedelta(days=3)

    record_events([event("ahead", at=ahead), event("late", at=late), event("none")], received_at=NOW)

    assert dict(Feedback.objects.values_list("event_id", "at")) == {"ahead": NOW, "late": late, "none": NOW}


def test_only_a_listen_has_seconds() -> None:
    record_events([event("a", kind=Feedback.Kind.LISTEN, seconds=31.5)], received_at=NOW)

    assert Feedback.objects.get().seconds == 31.5
    with pytest.raises(IntegrityError), transaction.atomic():
        record_events([event("b", seconds=31.5)], received_at=NOW)


def test_a_batch_costs_as_many_queries_as_one_event(django_assert_num_queries: Any) -> None:
    # Listeners, songs, stored events, and the insert in its transaction.
    with django_assert_num_queries(6):
        record_events([event(str(number), 10 + number % 3) for number in range(100)], received_at=NOW)

    assert Feedback.objects.count() == 100


def test_no_event_is_no_work(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert record_events([], received_at=NOW) == []


def test_events_that_break_a_rule_do_not_keep_the_others_out() -> None:
    mine = served_to(1).pk
    record_events([event("old")], received_at=NOW)

    sent = [
        event("a", recommendation_id=mine),
        event("b", recommendation_id=NO_LIST),
        event("c", user_id=2, recommendation_id=mine),
        event("d", user_id=9, song_id=99),
        event("old"),
        event("old", song_id=11),
        event("e"),
        event("e", song_id=12),
        event("e"),
    ]
    results = record_possible(sent, received_at=NOW)

    assert results == [
        RecordedEvent("a", True), RefusedEvent("b", ("recommendation_id",)),
        RefusedEvent("c", ("recommendation_id",)), RefusedEvent("d", ("user_id", "song_id")),
        RecordedEvent("old", False), RefusedEvent("old", ()), RecordedEvent("e", True), RefusedEvent("e", ()),
        RecordedEvent("e", False),
    ]  # fmt: skip
    stored = Feedback.objects.order_by("event_id").values_list("event_id", "song_id")
    assert list(stored) == [("a", 10), ("e", 10), ("old", 10)]
