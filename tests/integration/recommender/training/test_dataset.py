"""The tables as arrays, also while a run writes into them."""

import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone

from ingestion.models import Listener, ListeningHistory, Song
from recommender import listener_profiles
from recommender.engine.algorithms.engines import WantedPlays
from recommender.models import AttributedListen, CandidateList, Feedback, ServedList, sql
from recommender.training.cluster_feedback import read_votes
from recommender.training.dataset import read_sessions, read_training_data, weight_by_recency
from recommender.training.evaluation import latest_week
from tests.support.builders.experiments import make_listeners_and_songs, make_version

pytestmark = pytest.mark.django_db


def add(pk: int, energy: float) -> None:
    now = timezone.now()
    Song.objects.create(
        pk=pk, name=f"Song {pk}", artist="Ada", genres="rock", duration=timedelta(minutes=3),
        audio_features={"energy": energy}, created_at=now, updated_at=now,
    )  # fmt: skip


def served_to(listener: int) -> ServedList:
    served = make_version("2026w47.1")
    shelf = CandidateList.objects.create(
        listener_id=listener, version=served, made_at=timezone.now(), candidates=b""
    )
    return ServedList.objects.create(
        listener_id=listener,
        candidate_list=shelf,
        version=served,
        arm="champion",
        discovery=0.3,
        seed="s",
        items=[],
        generated_at=timezone.now(),
        temperature=0.1,
        pages=[],
    )


@pytest.mark.parametrize("added", [1, 15, 25, 99], ids=["before", "between", "beyond two", "after"])
def test_a_song_that_a_run_writes_meanwhile_gives_no_song_anothers_sound(
    monkeypatch: pytest.MonkeyPatch, added: int
) -> None:
    for pk in (10, 20, 30):
        add(pk, energy=pk / 100)
    read = sql.json_column

    def read_later(*column: Any) -> Iterator[tuple[int, str | None]]:
        add(added, energy=0.99)
        Song.objects.filter(pk=20).delete()
        return read(*column)

    monkeypatch.setattr(sql, "json_column", read_later)

    catalogue = read_training_data().catalogue

    assert catalogue.ids.tolist() == [10, 20, 30]
    assert str(catalogue.audio["energy"].tolist()) == "[0.1, nan, 0.3]"


def test_what_a_list_had_offered_is_learnt_from_and_not_measured_by() -> None:
    now = timezone.now()
    for pk in (10, 20, 30):
        add(pk, energy=0.5)
    for listener in (1, 2):
        Listener.objects.create(pk=listener, created_at=now, updated_at=now)
        for days, items in ((10, [10]), (3, [20]), (1, [30, 20])):
            at = now - timedelta(days=days)
            ListeningHistory.objects.create(user_id=listener, items=items, created_at=at, updated_at=at)
    offered = served_to(1)
    session = ListeningHistory.objects.filter(user=1).order_by("-created_at")[0]
    AttributedListen.objects.create(served_list=offered, song_id=30, at=session.created_at)
    Feedback.objects.create(event_id="1", listener_id=2, song_id=10, kind="like", at=now, received_at=now)

    data = read_training_data()
    week = latest_week(data, seed=7)
    activity = data.to_training(seed=7, configuration={}).latest_activity

    ids = data.catalogue.ids
    organic = list(zip(data.organic.listeners.tolist(), ids[data.organic.songs].tolist(), strict=True))
    assert data.n_plays == 9
    assert sorted(organic) == [(0, 10), (0, 20), (0, 20), (1, 10), (1, 20), (1, 20), (1, 30)]
    assert activity is not None
    assert activity.days_since_first_play.tolist() == pytest.approx([10, 3, 1])
    assert week is not None
    assert [ids[row].tolist() for row in (week.test[[0]].indices, week.test[[1]].indices)] == [[20], [20, 30]]


def test_training_and_serving_see_the_same_state_of_feedback() -> None:
    now = timezone.now()
    random = Random(1)
    for pk, seconds in ((10, 200), (11, 20), (12, 0)):
        add(pk, energy=0.5)
        Song.objects.filter(pk=pk).update(duration=timedelta(seconds=seconds))
    for pk in (1, 2):
        Listener.objects.create(pk=pk, created_at=now, updated_at=now)
        at = now - timedelta(days=5)
        ListeningHistory.objects.create(user_id=pk, items=[10, 10, 11], created_at=at, updated_at=at)
    for number in range(120):
        kind = random.choice(Feedback.Kind.values)
        Feedback.objects.create(
            event_id=str(number), listener_id=random.choice([1, 2]), song_id=random.choice([10, 11, 12]),
            kind=kind, seconds=random.choice([5, 15, 100]) if kind == "listen" else None,
            at=now - timedelta(hours=random.randrange(240)), received_at=now,
            withdrawn_at=random.choice([None, None, now]),
        )  # fmt: skip

    data = read_training_data()
    votes = read_votes(data)

    profiles = listener_profiles.read_profiles([1, 2], now)
    rows = [profiles[pk].model_profile(data.catalogue.ids) for pk in (1, 2)]
    skips = weight_by_recency(data.skips, now.timestamp()).toarray()
    assert data.plays.matrix().toarray().tolist() == [row.plays.toarray()[0].tolist() for row in rows]
    skipped = [row.skips is not None and row.skips.toarray()[0].tolist() for row in rows]
    assert skips == pytest.approx(np.array(skipped), rel=1e-4)
    assert np.count_nonzero(skips) > 0
    assert set(zip(votes.listeners.tolist(), votes.songs.tolist(), strict=True)) <= {
        (row, song) for row in (0, 1) for song in range(3)
    }


@pytest.mark.slow
def test_sessions_are_read_into_twenty_bytes_for_each_play() -> None:
    listeners, songs, now = range(1, 51), range(1, 41), timezone.now()
    make_listeners_and_songs(listeners, songs)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO listening_history (user_id, items, created_at, updated_at) "
            "SELECT 1 + i %% 50, (SELECT jsonb_agg(1 + (i + j) %% 40) FROM generate_series(1, 10) j), "
            "%s - i * interval '1 second', %s FROM generate_series(1, 60000) i",
            [now, now],
        )
    wanted = WantedPlays(np.array(listeners), np.array(songs), None)

    tracemalloc.start()
    try:
        plays = read_sessions(wanted)
        needed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(plays.at) == 600_000
    # A thirty-second of room to grow, and one block of rows as Python objects.
    assert needed < 600_000 * 20 * 33 / 32 + 8e6, needed
    assert (plays.listeners[9], plays.songs[9], plays.count[9]) == (1, 11, 1)
    assert plays.at[9] == pytest.approx(now.timestamp() - 1)
    assert plays.at[-1] == pytest.approx(now.timestamp() - 60_000)
