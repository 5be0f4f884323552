"""Listener profiles: plays, skips and excluded songs from history and feedback."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ingestion.models import Listener, ListeningHistory, Song
from recommender import listener_profiles
from recommender.models import CandidateList, Feedback, ServedList
from tests.support.project import Project

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DURATIONS = {20: timedelta(seconds=20)}
MODEL_SONGS = np.array([10, 12, 13, 20], dtype=np.int64)


@pytest.fixture(autouse=True)
def _two_listeners() -> None:
    Listener.objects.bulk_create(
        Listener(id=pk, favorite_genres="Rock, Jazz", created_at=NOW, updated_at=NOW) for pk in (1, 2)
    )
    Song.objects.bulk_create(
        Song(
            id=pk,
            name="",
            artist="A",
            duration=DURATIONS.get(pk, timedelta(0)),
            created_at=NOW,
            updated_at=NOW,
        )
        for pk in range(10, 21)
    )


def played(items: list[int], *, days_ago: float = 0, listener: int = 1) -> None:
    at = NOW - timedelta(days=days_ago)
    ListeningHistory.objects.create(user_id=listener, items=items, created_at=at, updated_at=at)


def said(kind: str, song: int, *, days_ago: float = 0, **fields: Any) -> Feedback:
    return Feedback.objects.create(
        event_id=f"{kind}-{song}-{days_ago}", listener_id=1, song_id=song, kind=kind,
        at=NOW - timedelta(days=days_ago), received_at=NOW, **fields,
    )  # fmt: skip


def known() -> listener_profiles.ListenerProfile:
    return listener_profiles.read_profiles([1], NOW)[1]


def dense(matrix: Any) -> list[list[float]]:
    return [[round(float(value), 4) for value in row] for row in matrix.toarray()]


def test_plays_are_in_the_models_columns_and_halve_in_ninety_days() -> None:
    played([10, 11, 12, 12])
    played([12, 20], days_ago=90)
    played([20], days_ago=180)

    row = known().model_profile(MODEL_SONGS)

    assert dense(row.plays) == [[1, 3, 0, 2]]
    assert row.recent is not None
    assert dense(row.recent) == [[1, 2.5, 0, 0.75]]
    assert row.genres == ["rock, jazz"]
    assert row.keys is not None
    assert row.keys.tolist() == [1]


def test_a_listen_counts_from_thirty_seconds_on_and_a_like_counts_twice() -> None:
    said("listen", 10, seconds=29.9)
    said("listen", 12, seconds=30.0)
    said("like", 13)

    assert dense(known().model_profile(MODEL_SONGS).plays) == [[0, 1, 2, 0]]


def test_a_short_song_is_heard_after_half_of_its_length() -> None:
    said("listen", 20, days_ago=1, seconds=9.9)
    assert known().songs.tolist() == []

    said("listen", 20, days_ago=2, seconds=10)
    assert known().play_counts.tolist() == [1]


def test_likes_are_a_state_and_no_plays() -> None:
    played([10])
    for days_ago in range(30):
        said("like", 10, days_ago=days_ago)
    said("dislike", 12, days_ago=2)
    said("like", 12, days_ago=1)
    said("skip", 13, days_ago=2)
    said("like", 13, days_ago=1)
    said("like", 20, days_ago=2)
    said("clear", 20, days_ago=1)

    found = known()

    assert found.songs.tolist() == [10, 12, 13]
    assert found.plays.tolist() == [3, 2, 2]
    assert found.play_counts.tolist() == [1, 0, 0]
    assert (found.excluded, found.skipped.tolist()) == (frozenset(), [])


def test_a_withdrawn_event_is_as_if_it_had_never_been_sent() -> None:
    said("dislike", 10, days_ago=2)
    newest = said("like", 10, days_ago=1, withdrawn_at=NOW)

    found = known()

    assert (found.songs.tolist(), found.excluded) == ([], frozenset({10}))
    # A candidate list that knows it is fresh.
    assert found.feedback_id == newest.pk


def test_a_play_that_the_app_and_the_source_report_counts_once() -> None:
    played([10, 12], days_ago=2)
    said("listen", 10, days_ago=2 - 1 / 24, seconds=100)  # an hour later: the same play
    said("listen", 12, days_ago=1, seconds=100)  # a day later: another play
    said("listen", 13, days_ago=2, seconds=100)

    assert dict(zip(known().songs.tolist(), known().play_counts.tolist(), strict=True)) == {
        10: 1,
        12: 2,
        13: 1,
    }


def test_skips_fade_like_plays() -> None:
    said("skip", 10, days_ago=90)
    said("dislike", 12, days_ago=180)

    assert dense(known().model_profile(MODEL_SONGS).skips) == [[0.5, 0.5, 0, 0]]


def test_a_disliked_song_is_excluded_for_good_and_a_skipped_one_for_a_month() -> None:
    said("dislike", 10, days_ago=5000)
    said("skip", 12, days_ago=29)
    said("skip", 13, days_ago=31)

    row = known().model_profile(MODEL_SONGS)

    assert row.excluded is not None
    assert row.skips is not None
    assert dense(row.excluded) == [[1, 1, 0, 0]]
    assert dense(row.skips) == [[0, 0.7998, 0.7876, 0]]


@pytest.mark.parametrize("detailed", [1, 10_000])
def test_a_wrong_style_excludes_the_song_from_the_cluster_it_was_served_in(
    monkeypatch: pytest.MonkeyPatch, detailed: int
) -> None:
    monkeypatch.setattr(listener_profiles, "DETAILED_EVENTS", detailed)
    shelf = CandidateList.objects.create(listener_id=1, made_at=NOW, candidates=b"")
    served = ServedList.objects.create(
        listener_id=1,
        candidate_list=shelf,
        arm="fallback",
        generated_at=NOW,
        discovery=0.3,
        temperature=0.1,
        seed="",
        pages=[],
        items=[{"song": 12, "cluster": 7}, {"song": 13, "cluster": 8}],
    )
    said("wrong_style", 12, served_list=served)
    said("wrong_style", 20)

    assert known().excluded_clusters == {12: 7, 20: None}


def test_a_profile_has_each_songs_last_play_and_the_newest_session_and_feedback() -> None:
    played([10], days_ago=70)
    played([10, 12], days_ago=3)
    newest = said("listen", 12, days_ago=1, seconds=99)

    found = known()

    assert dict(zip(found.songs.tolist(), found.last_played_at.tolist(), strict=True)) == {
        10: (NOW - timedelta(days=3)).timestamp(),
        12: (NOW - timedelta(days=1)).timestamp(),
    }
    assert found.history_at == NOW - timedelta(days=3)
    assert found.feedback_id == newest.pk


def test_the_profile_of_a_listener_without_events_is_empty() -> None:
    found = known()

    assert dense(found.model_profile(MODEL_SONGS).plays) == [[0, 0, 0, 0]]
    assert (found.history_at, found.feedback_id, found.excluded) == (None, 0, frozenset())
    assert found.model_profile(np.array([], dtype=np.int64)).plays.shape == (1, 0)


def test_many_listeners_cost_as_many_queries_as_one(django_assert_num_queries: Any) -> None:
    played([10])
    played([12], listener=2)

    with django_assert_num_queries(5):
        found = listener_profiles.read_profiles([1, 2, 3], NOW)

    assert {pk: one.songs.tolist() for pk, one in found.items()} == {1: [10], 2: [12]}


def test_newer_plays_and_feedback_are_excluded_from_an_older_candidate_list() -> None:
    played([10], days_ago=9)
    old = said("like", 11)
    played([12, 13], days_ago=1)
    said("skip", 14)

    since = listener_profiles.excluded_since(1, NOW - timedelta(days=9), old.pk)

    assert since == {12, 13, 14}


@pytest.mark.parametrize("detailed", [1, 3, 10_000])
def test_sums_of_older_events_give_the_same_plays_and_words(
    monkeypatch: pytest.MonkeyPatch, detailed: int
) -> None:
    for name in ("DETAILED_SESSIONS", "DETAILED_EVENTS"):
        monkeypatch.setattr(listener_profiles, name, detailed)
    said("dislike", 10, days_ago=9)
    said("like", 12, days_ago=8)
    for day in (8, 7, 6, 5):
        said("listen", 13, days_ago=day, seconds=100)
        played([20, 11], days_ago=day - 0.01)
        said("listen", 20, days_ago=day, seconds=15)
    said("listen", 13, days_ago=4, seconds=5)
    said("skip", 14, days_ago=3)
    said("skip", 14, days_ago=2)

    found = known()

    plays = dict(zip(found.songs.tolist(), found.play_counts.tolist(), strict=True))
    # Song 20 was reported by the app and by the source.
    assert plays == {11: 4, 12: 0, 13: 4, 20: 4}
    assert found.plays[found.songs == 12].tolist() == [2]
    assert found.skipped.tolist() == [10, 14]
    assert found.skips.tolist() == pytest.approx([1.866, 1.961], abs=0.02)
    assert found.excluded == {10, 14}
    assert found.feedback_id == Feedback.objects.latest("pk").pk
    assert found.history_fingerprint == listener_profiles.read_history_fingerprints([1])[1]
    assert found.history_at is not None
    assert timedelta() <= found.history_at - (NOW - timedelta(days=4.99)) <= timedelta(milliseconds=1)


READ_TIMES = """
import json
from datetime import datetime
from ingestion.models import Listener, ListeningHistory
from recommender import listener_profiles
now = datetime.fromisoformat("2026-11-01T12:00:00+00:00")
found = []
for pk, text in enumerate(TIMES, 1):
    Listener.objects.create(id=pk, created_at=now, updated_at=now)
    at = datetime.fromisoformat(text)
    ListeningHistory.objects.create(user_id=pk, items=[10, 11], created_at=at, updated_at=at)
    profile = listener_profiles.read_profile(pk, now)
    found.append([
        profile.history_at.isoformat(), profile.last_played_at.tolist() == [at.timestamp()] * 2,
        profile.history_fingerprint == listener_profiles.read_history_fingerprints([pk])[pk],
    ])
print(json.dumps(found))
"""


def test_times_are_exact_to_the_microsecond_on_both_databases(project: Project) -> None:
    times = [
        "2026-10-31T23:59:59.999999+00:00",
        "2026-10-31T23:59:59.000001+00:00",
        "2026-10-31T23:59:59.500000+00:00",
        "2026-10-31T23:59:59+00:00",
        # Seconds as a floating-point number have no digits left for microseconds.
        "9000-01-01T00:00:00.000001+00:00",
        "1970-01-02T00:00:00.999999+00:00",
    ]

    found = json.loads(project.shell(READ_TIMES.replace("TIMES", repr(times))))

    assert found == [[at, True, True] for at in times]
