"""The most played songs, and the order of songs without plays."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ingestion.models import Listener, ListeningHistory, Song
from recommender.models import Chart
from recommender.serving.candidates import charts, popular_and_similar_songs
from recommender.serving.candidates.popular_and_similar_songs import PopularSong
from tests.support.builders.experiments import make_ingestion_run

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


@pytest.fixture(params=["counted by the request", "counted after the import"])
def most_played(request: pytest.FixtureRequest) -> Callable[..., list[PopularSong]]:
    """The charts as of NOW, by both ways."""

    def read(days: int | None = None) -> list[PopularSong]:
        if request.param == "counted after the import":
            charts.count_charts(NOW, run_id=1)
        return popular_and_similar_songs.most_played_songs(NOW, days)

    return read


MostPlayed = Callable[..., list[PopularSong]]


def test_popular_songs_are_ordered_by_plays_with_ties_by_id(most_played: MostPlayed) -> None:
    played([3, 3, 2, 999], days_ago=1)
    played([1, 2, 3], days_ago=30)

    chart = most_played()

    assert [(row.song, row.plays) for row in chart] == [(3, 3), (2, 2), (1, 1)]
    assert chart[0].artist == "Artist 3"


@pytest.mark.parametrize("days", [None, 7])
def test_listeners_count_and_not_their_plays(most_played: MostPlayed, days: int | None) -> None:
    played([4] * 500, days_ago=1)
    played([3, 4], days_ago=1, listener=2)
    played([2, 3], days_ago=2, listener=3)
    played([3], days_ago=3)

    chart = most_played(days)

    assert [(row.song, row.listeners, row.plays) for row in chart] == [(3, 3, 3), (4, 2, 501), (2, 1, 1)]


def test_in_the_charts_of_all_time_a_listener_counts_half_after_ninety_days(most_played: MostPlayed) -> None:
    for listener in (1, 2, 3):
        played([1], days_ago=180, listener=listener)
    played([2], days_ago=0)
    played([3], days_ago=-400)

    chart = most_played()

    assert [(row.song, row.score) for row in chart] == [(2, 1.0), (1, 0.75), (3, 0.5)]


@pytest.mark.parametrize("field", ["name", "artist"])
@pytest.mark.parametrize("blank", ["", "  ", "\t\u00a0"])
def test_a_song_without_name_or_artist_is_not_popular(
    most_played: MostPlayed, field: str, blank: str
) -> None:
    played([1, 2], days_ago=1)
    Song.objects.filter(pk=1).update(**{field: blank})

    assert [row.song for row in most_played()] == [2]


def test_plays_of_recent_days_leave_older_sessions_out(most_played: MostPlayed) -> None:
    played([3], days_ago=1)
    played([1, 2, 1], days_ago=30)

    assert [(row.song, row.plays) for row in most_played(7)] == [(3, 1)]


def test_an_unavailable_song_is_not_popular(most_played: MostPlayed) -> None:
    played([1, 2], days_ago=1)
    Song.objects.filter(pk=1).update(unavailable_at=NOW)

    assert [row.song for row in most_played()] == [2]


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


def test_future_plays_are_in_no_window_and_count_half_for_all_time() -> None:
    played([1, 2], days_ago=1)
    played([1, 3], days_ago=-400)
    charts.count_charts(NOW, run_id=1)

    week = popular_and_similar_songs.most_played_songs(NOW, 7)
    all_time = popular_and_similar_songs.most_played_songs(NOW)

    assert [(row.song, row.plays) for row in week] == [(1, 1), (2, 1)]
    assert [(row.song, row.plays) for row in all_time] == [(1, 2), (2, 1), (3, 1)]


@pytest.mark.parametrize(
    ("days", "counted"), [(1, 1), (6, 1), (7, 2), (366, 3), (367, 4), (730, 4), (9_999, 5)]
)
def test_every_window_has_the_listeners_of_its_days(days: int, counted: int) -> None:
    Listener.objects.bulk_create(Listener(id=pk, created_at=NOW, updated_at=NOW) for pk in (4, 5))
    for listener, days_ago in enumerate((1, 7, 366, 730, 1_200), 1):
        played([1], days_ago=days_ago, listener=listener)
        # An earlier play of the same listener adds none.
        played([1], days_ago=days_ago + 3, listener=listener)
    charts.count_charts(NOW, run_id=1)

    [row] = popular_and_similar_songs.most_played_songs(NOW, days)

    assert row.listeners == counted


def test_a_request_counts_no_plays_once_the_charts_are_counted() -> None:
    played([3], days_ago=1)
    charts.count_charts(NOW, run_id=1)

    with CaptureQueriesContext(connection) as queries:
        popular_and_similar_songs.most_played_songs(NOW, 3)

    assert not [query for query in queries if "listening_history" in query["sql"]]


def test_charts_are_counted_once_after_each_import_and_once_a_day() -> None:
    played([3], days_ago=1)
    made = [charts.count_charts_if_due(NOW), charts.count_charts_if_due(NOW)]
    make_ingestion_run(NOW)
    made += [charts.count_charts_if_due(NOW), charts.count_charts_if_due(NOW + timedelta(hours=21))]

    # A day later the play is two days old, which needs a window more.
    assert made == [2, 0, 2, 3]
    assert Chart.objects.count() == 3


def test_charts_of_a_worker_that_stopped_days_ago_are_not_served() -> None:
    charts.count_charts(NOW - timedelta(days=3), run_id=1)
    played([3], days_ago=1)

    assert [row.song for row in popular_and_similar_songs.most_played_songs(NOW)] == [3]
