"""The most played songs, and the order of songs without plays."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingestion.models import Listener, ListeningHistory, Song
from recommender.serving import popular_and_similar_songs

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _songs_and_a_listener() -> None:
    Listener.objects.bulk_create(Listener(id=pk, created_at=NOW, updated_at=NOW) for pk in (1, 2, 3))
    Song.objects.bulk_create(
        Song(id=pk, name=f"Song {pk}", artist=f"Artist {pk}", genres="Rock", duration=timedelta(0),
             created_at=NOW - timedelta(days=pk), updated_at=NOW)
        for pk in (1, 2, 3, 4)
    )  # fmt: skip


def played(items: list[int], days_ago: int, listener: int = 1) -> None:
    at = NOW - timedelta(days=days_ago)
    ListeningHistory.objects.create(user_id=listener, items=items, created_at=at, updated_at=at)


def test_popular_songs_are_ordered_by_plays_with_ties_by_id() -> None:
    played([3, 3, 2, 999], days_ago=1)
    played([1, 2, 3], days_ago=30)

    charts = popular_and_similar_songs.most_played_songs(NOW)

    assert [(row.song, row.plays) for row in charts] == [(3, 3), (2, 2), (1, 1)]
    assert charts[0].artist == "Artist 3"


@pytest.mark.parametrize("days", [None, 7])
def test_listeners_count_and_not_their_plays(days: int | None) -> None:
    played([4] * 500, days_ago=1)
    played([3, 4], days_ago=1, listener=2)
    played([2, 3], days_ago=2, listener=3)
    played([3], days_ago=3)

    charts = popular_and_similar_songs.most_played_songs(NOW, days=days)

    assert [(row.song, row.listeners, row.plays) for row in charts] == [(3, 3, 3), (4, 2, 501), (2, 1, 1)]


def test_in_the_charts_of_all_time_a_listener_counts_half_after_ninety_days() -> None:
    for listener in (1, 2, 3):
        played([1], days_ago=180, listener=listener)
    played([2], days_ago=0)
    played([3], days_ago=-400)

    charts = popular_and_similar_songs.most_played_songs(NOW)

    assert [(row.song, row.score) for row in charts] == [(2, 1.0), (1, 0.75), (3, 0.5)]


@pytest.mark.parametrize("field", ["name", "artist"])
@pytest.mark.parametrize("blank", ["", "  ", "\t\u00a0"])
def test_a_song_without_name_or_artist_is_not_popular(field: str, blank: str) -> None:
    played([1, 2], days_ago=1)
    Song.objects.filter(pk=1).update(**{field: blank})

    assert [row.song for row in popular_and_similar_songs.most_played_songs(NOW)] == [2]


def test_plays_of_recent_days_leave_older_sessions_out() -> None:
    played([3], days_ago=1)
    played([1, 2, 1], days_ago=30)

    assert [(row.song, row.plays) for row in popular_and_similar_songs.most_played_songs(NOW, days=7)] == [
        (3, 1)
    ]


def test_an_unavailable_song_is_not_popular() -> None:
    played([1, 2], days_ago=1)
    Song.objects.filter(pk=1).update(unavailable_at=NOW)

    assert [row.song for row in popular_and_similar_songs.most_played_songs(NOW)] == [2]


def test_unavailable_and_future_sessions_are_not_counted() -> None:
    played([1, 2], days_ago=1)
    played([1], days_ago=2)
    played([3], days_ago=-400)
    ListeningHistory.objects.filter(items=[1]).update(unavailable_at=NOW)

    assert [(row.song, row.plays) for row in popular_and_similar_songs.most_played_songs(NOW, days=7)] == [
        (1, 1),
        (2, 1),
    ]
    assert [(row.song, row.plays) for row in popular_and_similar_songs.most_played_songs(NOW)] == [
        (1, 1),
        (2, 1),
        (3, 1),
    ]


def test_songs_without_plays_follow_the_popular_ones_newest_first() -> None:
    played([3], days_ago=1)

    assert [row.song for row in popular_and_similar_songs.most_played_then_new_songs(NOW)] == [3, 1, 2, 4]


def test_plays_are_counted_once_in_ten_minutes(django_assert_num_queries: Any) -> None:
    played([3], days_ago=1)
    popular_and_similar_songs.most_played_songs(NOW)

    with django_assert_num_queries(0):
        assert [row.song for row in popular_and_similar_songs.most_played_songs(NOW)] == [3]


def test_the_shared_genre_is_the_listeners_first_match() -> None:
    assert popular_and_similar_songs.shared_genre("Jazz, Rock ", "pop, rock, jazz") == "rock"
    assert popular_and_similar_songs.shared_genre("Jazz", "") == ""
    assert popular_and_similar_songs.shared_genre("", ",") == ""
