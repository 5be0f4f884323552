"""Recording of feedback events: duplicates, unknown ids, clocks."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, transaction

from ingestion.models import Listener, Song
from recommender.feedback.events import FeedbackEvent, RecordedEvent, UnknownIds, record_events
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


def test_an_event_sent_twice_is_stored_once_with_its_first_values() -> None:
    first = record_events([event("a")], received_at=NOW)
    again = record_events([event("a", 11, kind=Feedback.Kind.DISLIKE)], received_at=NOW + timedelta(hours=1))

    assert first == [RecordedEvent("a", created=True)]
    assert again == [RecordedEvent("a", created=False)]
    assert list(Feedback.objects.values_list("song_id", "kind", "received_at")) == [(10, "like", NOW)]


def test_an_event_twice_in_one_batch_is_stored_once() -> None:
    recorded = record_events([event("a", 10), event("b", 12), event("a", 11)], received_at=NOW)

    assert recorded == [RecordedEvent("a", True), RecordedEvent("b", True), RecordedEvent("a", False)]
    assert dict(Feedback.objects.values_list("event_id", "song_id")) == {"a": 10, "b": 12}


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
    with django_assert_num_queries(4):
        record_events([event(str(number), 10 + number % 3) for number in range(100)], received_at=NOW)

    assert Feedback.objects.count() == 100


def test_no_event_is_no_work(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert record_events([], received_at=NOW) == []
