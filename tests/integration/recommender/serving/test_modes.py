"""Lists of favourites, mixes with a share of favourites, and lists of songs never heard."""

from collections import Counter
from datetime import timedelta

import pytest
from django.db.models import F

from ingestion.models import ListeningHistory, Song
from recommender.models import ServedList
from recommender.serving import recommendations
from recommender.serving.list_limits import Mode, ServingOptions
from recommender.serving.reasons.explanations import serialize_list
from tests.support.builders.recommendations import (
    LISTENER,
    RECOMMENDED_AT,
    make_new_listener,
    played_songs,
    recommend_list,
    record_feedback,
    song_ids,
)

pytestmark = pytest.mark.django_db


def play(songs: list[int], days_ago: float, times: int = 1) -> None:
    # No two sessions of a listener may have the same time.
    at = RECOMMENDED_AT - timedelta(days=days_ago, seconds=songs[0])
    ListeningHistory.objects.create(user_id=LISTENER, items=songs * times, created_at=at, updated_at=at)


def test_a_list_of_favourites_has_only_played_songs_and_says_so(options: ServingOptions) -> None:
    served = recommend_list(options, mode=Mode.FAVOURITES)

    facts = serialize_list(served)
    heard = [item["heard"] for item in facts["items"]]
    n = sum(heard)
    assert set(song_ids(served)[:n]) <= played_songs()
    assert heard == sorted(heard, reverse=True)
    assert n >= 10
    assert (facts["mode"], facts["repeats"]) == ("favourites", {"asked": 1.0, "given": n / 20})
    assert facts["discovery"]["reason"] is None
    assert recommendations.replay_list(served.pk).same


def test_favourites_are_what_the_listener_plays_most_and_rested_songs_come_first(
    options: ServingOptions,
) -> None:
    first, second, tired = list(Song.objects.order_by("pk").values_list("pk", flat=True))[:3]
    play([first], days_ago=20, times=60)
    play([second], days_ago=20, times=30)
    play([tired], days_ago=0.1, times=60)

    served = recommend_list(options, mode=Mode.FAVOURITES, discovery=0)

    songs = song_ids(served)
    assert songs[:2] == [first, second]
    assert songs.index(tired) > 4
    assert served.items[0]["reason"] == "One of the songs that you play most"


def test_a_disliked_or_skipped_song_is_no_favourite(options: ServingOptions) -> None:
    before = song_ids(recommend_list(options, mode=Mode.FAVOURITES, discovery=0))
    record_feedback("dislike", before[0])
    record_feedback("skip", before[1])

    after = song_ids(recommend_list(options, mode=Mode.FAVOURITES, discovery=0))

    assert not set(before[:2]) & set(after)


def test_lists_of_favourites_of_consecutive_requests_differ(options: ServingOptions) -> None:
    play(list(Song.objects.order_by("pk").values_list("pk", flat=True))[:100], days_ago=20)

    first, second = (recommend_list(options, mode=Mode.FAVOURITES) for _ in range(2))

    assert len(set(song_ids(first)) & set(song_ids(second))) <= 10


def test_a_listener_without_plays_gets_other_songs_and_the_answer_says_so(options: ServingOptions) -> None:
    served = recommend_list(options, listener=make_new_listener(), mode=Mode.FAVOURITES)

    facts = serialize_list(served)
    assert len(served.items) == 20
    assert facts["repeats"] == {"asked": 1.0, "given": 0.0}
    assert facts["relaxed"][0] == {
        "limit": "favourites", "songs": 20,
        "message": "20 songs are no favourites: you have not played enough songs.",
    }  # fmt: skip


@pytest.mark.parametrize("repeats", [0.25, 0.5])
def test_a_mix_has_the_asked_share_of_favourites(options: ServingOptions, repeats: float) -> None:
    play(list(Song.objects.order_by("pk").values_list("pk", flat=True))[:200], days_ago=20)

    served = recommend_list(options, repeats=repeats)

    heard = [song in played_songs() for song in song_ids(served)]
    assert abs(sum(heard) - 20 * repeats) <= 1
    assert heard == [item["heard"] for item in served.items]
    assert serialize_list(served)["repeats"] == {"asked": repeats, "given": sum(heard) / 20}
    longer = recommendations.continue_list(served.pk, upto=30, options=options)
    assert abs(sum(item["heard"] for item in longer.items) - 30 * repeats) <= 1
    assert recommendations.replay_list(served.pk).same


def test_a_list_to_discover_has_no_song_heard_before_even_at_discovery_zero(options: ServingOptions) -> None:
    ListeningHistory.objects.filter(user=LISTENER).update(created_at=F("created_at") - timedelta(days=90))
    mixed = recommend_list(options, discovery=0, n=60)

    served = recommend_list(options, discovery=0, n=60, mode=Mode.DISCOVER)

    assert set(song_ids(mixed)) & played_songs()
    assert not set(song_ids(served)) & played_songs()


def test_next_songs_keep_the_share_of_favourites_together(options: ServingOptions) -> None:
    given = [
        recommendations.next_song(LISTENER, repeats=0.5, options=options, now=RECOMMENDED_AT)
        for _ in range(8)
    ]

    assert Counter(served.items[0]["heard"] for served in given)[True] in {3, 4, 5}
    assert all(recommendations.replay_list(served.pk).same for served in given)


def test_the_mode_is_stored_with_the_list(options: ServingOptions) -> None:
    recommend_list(options, mode=Mode.FAVOURITES)
    recommend_list(options, repeats=0.4)

    rows = ServedList.objects.order_by("pk").values_list("mode", "repeats")
    assert set(rows) == {("favourites", 0.0), ("mix", 0.4)}
