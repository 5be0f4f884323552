"""Page two, the next song, similar songs and popular songs."""

from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from ingestion.models import Song
from recommender.registry import model_loader
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions
from tests.support.builders.recommendations import (
    LISTENER,
    RECOMMENDED_AT,
    forget_lists,
    recommend_list,
    song_ids,
)

pytestmark = pytest.mark.django_db


EVERYTHING = 400


def test_page_two_continues_the_list_and_is_the_same_for_every_request(options: ServingOptions) -> None:
    whole = recommend_list(options, n=40, seed="a")
    forget_lists()
    first = recommend_list(options, n=20, seed="a")

    second = recommendations.continue_list(first.pk, upto=40, options=options)
    again = recommendations.continue_list(first.pk, upto=40, options=options)
    less = recommendations.continue_list(first.pk, upto=20, options=options)

    assert second.items[:20] == first.items
    assert second.items == whole.items
    assert again.items == second.items
    assert less.items == second.items


def test_page_two_leaves_out_the_songs_excluded_on_page_one(options: ServingOptions) -> None:
    coming = song_ids(recommend_list(options, n=40, seed="a"))[20:]
    first = recommend_list(options, n=20, seed="a", exclude=coming)

    second = recommendations.continue_list(first.pk, upto=40, options=options)

    assert not set(coming) & set(song_ids(second))


def test_a_list_ends_if_no_more_songs_are_eligible(options: ServingOptions) -> None:
    first = recommend_list(options)

    whole = recommendations.continue_list(first.pk, upto=EVERYTHING, options=options)
    again = recommendations.continue_list(first.pk, upto=EVERYTHING, options=options)

    assert 20 < len(whole.items) < EVERYTHING
    assert len(set(song_ids(whole))) == len(whole.items)
    assert again.items == whole.items
    assert again.pages == whole.pages


def test_an_unknown_list_can_not_be_continued(options: ServingOptions) -> None:
    with pytest.raises(recommendations.UnknownList):
        recommendations.continue_list(UUID(int=1), upto=40, options=options)


def test_the_next_song_prefers_the_cluster_and_does_not_repeat(options: ServingOptions) -> None:
    ranked = recommend_list(options, discovery=0, n=60)
    after = ranked.items[30]

    player = [
        recommendations.next_song(
            LISTENER, after=after["song"], discovery=0.3, options=options, now=RECOMMENDED_AT
        )
        for _ in range(10)
    ]

    given = [song_ids(served)[0] for served in player]
    assert len(set(given)) == 10
    assert after["song"] not in given
    assert Counter(served.items[0]["cluster"] == after["cluster"] for served in player)[True] >= 5


def test_the_next_song_after_one_that_does_not_exist_is_refused(options: ServingOptions) -> None:
    for unknown in (999_999_999, 10**30):
        with pytest.raises(recommendations.UnknownSong):
            recommendations.next_song(LISTENER, after=unknown, options=options, now=RECOMMENDED_AT)


def test_the_next_song_may_follow_one_that_the_model_does_not_know(options: ServingOptions) -> None:
    Song.objects.create(
        id=1,
        name="New",
        artist="New",
        duration=timedelta(0),
        created_at=RECOMMENDED_AT,
        updated_at=RECOMMENDED_AT,
    )

    assert len(recommendations.next_song(LISTENER, after=1, options=options, now=RECOMMENDED_AT).items) == 1


def test_similar_songs_share_clusters_and_leave_out_the_song_itself(options: ServingOptions) -> None:
    song = song_ids(recommend_list(options, discovery=0))[0]
    group = model_loader.current_model(options.storage).model

    found = recommendations.similar_songs(song, n=10, options=options)

    assert group is not None
    mine = group.cluster_of(song)
    assert mine is not None
    assert [row["rank"] for row in found] == list(range(1, 11))
    assert song not in [row["song"]["id"] for row in found]
    assert sum(row["cluster"]["id"] == mine.number for row in found) >= 5
    assert [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)


def test_songs_similar_to_one_the_model_does_not_know_share_its_artist_or_genres(
    options: ServingOptions,
) -> None:
    artist = Song.objects.get(pk=song_ids(recommend_list(options))[0]).artist
    Song.objects.create(
        id=1,
        name="New",
        artist=artist,
        genres="",
        duration=timedelta(0),
        created_at=RECOMMENDED_AT,
        updated_at=RECOMMENDED_AT,
    )

    found = recommendations.similar_songs(1, n=3, options=options)

    assert {row["song"]["artist"] for row in found} == {artist}
    with pytest.raises(recommendations.UnknownSong):
        recommendations.similar_songs(999_999_999, options=options)


def test_popular_songs_are_the_most_played_available_songs(options: ServingOptions) -> None:
    before = recommendations.popular_songs(n=3, now=RECOMMENDED_AT)
    Song.objects.filter(pk=before[0]["song"]["id"]).update(unavailable_at=RECOMMENDED_AT)

    after = recommendations.popular_songs(n=2, now=RECOMMENDED_AT)

    assert [row["rank"] for row in after] == [1, 2]
    assert [row["song"] for row in after] == [row["song"] for row in before[1:]]
