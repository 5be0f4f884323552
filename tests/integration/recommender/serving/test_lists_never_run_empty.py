"""Small catalogues and listeners who have heard everything: limits are relaxed in steps and reported."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.models import Song
from recommender.engine.sampling.candidate_codec import decode_candidates
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions
from recommender.serving.reasons.explanations import serialize_list
from tests.support.builders.api import make_listener, make_session, make_song
from tests.support.builders.recommendations import (
    RECOMMENDED_AT,
    recommend_list,
    song_ids,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def no_model(tmp_path: Path) -> ServingOptions:
    make_listener(5, favorite_genres="")
    return ServingOptions(tmp_path)


def heard(songs: list[int], *, days_ago: float, listener: int = 5) -> None:
    at = RECOMMENDED_AT - timedelta(days=days_ago)
    make_session(listener, songs, created_at=at, updated_at=at)


def recommend_small(options: ServingOptions, **asked: Any) -> Any:
    return recommend_list(options, listener=5, **asked)


def test_a_catalogue_of_one_artist_fills_a_list(no_model: ServingOptions) -> None:
    for pk in range(60):
        make_song(pk, artist="Only One")

    served = recommend_small(no_model)

    assert len(set(song_ids(served))) == 20
    assert serialize_list(served)["relaxed"] == [
        {
            "limit": "artist_cap",
            "songs": 18,
            "message": "18 songs exceed the limit of songs by one artist: too few others are left.",
        }
    ]


def test_songs_never_heard_come_first_and_then_those_heard_longest_ago(no_model: ServingOptions) -> None:
    for pk in range(60):
        make_song(pk, artist=f"Artist {pk}")
    for pk in range(55):
        heard([pk], days_ago=1 + pk)

    body = serialize_list(recommend_small(no_model))

    songs = [item["song"]["id"] for item in body["items"]]
    assert set(songs[:5]) == set(range(55, 60))
    assert songs[5:] == list(range(54, 39, -1))
    assert [(one["limit"], one["songs"]) for one in body["relaxed"]] == [("heard", 15)]
    assert body["items"][19]["reason"] == "You last heard it on 21 September"
    # Nobody has played it.
    assert body["items"][0]["reason"] == "Something different to try"


def test_the_next_song_repeats_the_one_given_longest_ago_if_no_others_are_left(
    no_model: ServingOptions,
) -> None:
    for pk in (1, 2, 3):
        make_song(pk)

    given: list[int] = []
    for minute in range(7):
        now = RECOMMENDED_AT + timedelta(minutes=minute)
        served = recommendations.next_song(5, options=no_model, now=now, after=given[-1] if given else None)
        given += song_ids(served)

    assert sorted(given[:3]) == [1, 2, 3]
    assert given[3:6] == given[:3]
    assert given[6] == given[0]
    assert serialize_list(served)["relaxed"][0]["message"] == (
        "1 song was given in the last two hours: no others are left."
    )


def test_the_only_song_is_given_again(no_model: ServingOptions) -> None:
    make_song(1)

    given = [
        song_ids(recommendations.next_song(5, options=no_model, now=RECOMMENDED_AT, after=after))
        for after in (None, 1, 1)
    ]

    assert given == [[1], [1], [1]]


def test_a_list_is_empty_if_every_song_is_disliked_or_excluded(no_model: ServingOptions) -> None:
    make_song(1)

    assert recommend_small(no_model, exclude=[1]).items == []


def test_a_player_that_excludes_what_it_has_shown_gets_other_songs(no_model: ServingOptions) -> None:
    Song.objects.bulk_create(
        Song(id=pk, name=f"Song {pk}", artist=f"Artist {pk}", duration=timedelta(minutes=3),
             created_at=RECOMMENDED_AT, updated_at=RECOMMENDED_AT)
        for pk in range(500)
    )  # fmt: skip
    candidates = decode_candidates(bytes(recommend_small(no_model).candidate_list.candidates)).songs.tolist()

    served = recommend_small(no_model, exclude=[*candidates, 10**30])
    usual = recommend_small(no_model)

    assert (len(candidates), len(served.items)) == (400, 20)
    assert not set(candidates) & set(song_ids(served))
    # The list for this one request is not used again.
    assert set(song_ids(usual)) <= set(candidates)


def test_a_new_song_by_a_played_artist_names_the_artist(no_model: ServingOptions) -> None:
    make_song(1, artist="Xenon", genres="")
    make_song(2, artist="Xenon feat. Argon", genres="")
    heard([1], days_ago=2)

    item = recommend_small(no_model).items[0]

    assert (item["song"], item["familiar"], item["reason"]) == (2, True, "Because you play Xenon")


def test_songs_of_various_artists_have_no_artist_in_common(no_model: ServingOptions) -> None:
    for pk in range(40):
        make_song(pk, artist="Various Artists")
    heard([0], days_ago=2)

    served = recommend_small(no_model)

    assert serialize_list(served)["relaxed"] == []
    assert len(served.items) == 20
    assert not any(item["familiar"] for item in served.items)


def test_a_song_whose_name_or_artist_shows_nothing_is_not_listed(no_model: ServingOptions) -> None:
    make_song(1)
    make_song(2, artist="\u200b")
    make_song(3, name=" \u202e")

    assert song_ids(recommend_small(no_model)) == [1]
