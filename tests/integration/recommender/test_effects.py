"""What listeners say and do changes the very next list."""

from datetime import timedelta

import pytest
from django.db.models import F

from ingestion.models import ListeningHistory, Song
from recommender.serving import recommendations
from recommender.serving.recommendations import Options
from tests.support.lists import LISTENER, NOW, affinity, heard, recommend, said, songs_of

pytestmark = pytest.mark.django_db


def test_songs_not_heard_for_sixty_days_come_back_where_little_new_is_asked_for(options: Options) -> None:
    ListeningHistory.objects.filter(user=LISTENER).update(created_at=F("created_at") - timedelta(days=70))
    before = heard()

    low = recommend(options, discovery=0.1, n=60, seed="a")
    usual = recommend(options, discovery=0.3, n=60, seed="a")

    again = [item for item in low.items if item["song"] in before]
    assert again
    assert {item["reason"] for item in again} == {"You have not heard it since August"}
    assert all(item["familiar"] for item in again)
    assert not before & set(songs_of(usual))


def test_a_liked_song_brings_its_like(options: Options) -> None:
    before = recommend(options, discovery=0, n=60)
    cluster = min({item["cluster"] for item in before.items}, key=lambda one: affinity(options, one))
    liked = next(item["song"] for item in before.items if item["cluster"] == cluster)
    dear = affinity(options, cluster)

    said("like", liked, served=before)
    after = recommend(options, discovery=0, n=60)

    assert affinity(options, cluster) > dear
    assert liked not in songs_of(after)
    assert after.candidate_list_id != before.candidate_list_id
    place = {song: songs_of(before).index(song) for song in songs_of(before)}
    moved = [
        place[item["song"]] - rank for rank, item in enumerate(after.items)
        if item["cluster"] == cluster and item["song"] in place
    ]  # fmt: skip
    assert sum(moved) > 0


def test_a_skipped_song_rests_and_its_cluster_is_believed_less(options: Options) -> None:
    before = recommend(options, discovery=0)
    skipped = before.items[0]
    dear = affinity(options, skipped["cluster"])

    said("skip", skipped["song"])
    after = recommend(options, discovery=0)
    a_month_later = recommendations.recommend(
        LISTENER, options=options, discovery=0, now=NOW + timedelta(days=31)
    )

    assert affinity(options, skipped["cluster"]) < dear
    assert skipped["song"] not in songs_of(after)
    # Nothing newer happened: the shelf of the first day stands.
    assert skipped["song"] not in songs_of(a_month_later)


def test_a_disliked_song_never_comes_back(options: Options) -> None:
    disliked = songs_of(recommend(options, discovery=0))[0]
    said("dislike", disliked)

    lists = [recommend(options, discovery=wanted, n=100) for wanted in (0.0, 0.1, 0.3, 1.0)]
    years_later = recommendations.recommend(LISTENER, options=options, n=100, now=NOW + timedelta(days=3000))

    assert not any(disliked in songs_of(served) for served in [*lists, years_later])


def test_a_listen_of_thirty_seconds_makes_a_song_heard_and_a_shorter_one_does_not(options: Options) -> None:
    long, short = songs_of(recommend(options, discovery=0))[:2]

    said("listen", long, seconds=30)
    said("listen", short, seconds=29)
    after = songs_of(recommend(options, discovery=0))

    assert long not in after
    assert short in after


def test_a_song_of_the_wrong_style_is_not_offered_under_that_cluster_again(options: Options) -> None:
    served = recommend(options, discovery=0)
    wrong = songs_of(served)[0]

    said("wrong_style", wrong, served=served)

    assert wrong not in songs_of(recommend(options, discovery=0, n=100))


def test_the_next_list_after_new_listening_knows_it(options: Options) -> None:
    before = recommend(options, discovery=0)
    ListeningHistory.objects.create(
        user_id=LISTENER, items=songs_of(before)[:4], created_at=NOW, updated_at=NOW
    )

    after = recommend(options, discovery=0)

    assert not set(songs_of(before)[:4]) & set(songs_of(after))


def test_page_two_keeps_clear_of_what_was_disliked_or_has_gone_since(options: Options) -> None:
    first = recommend(options, n=20, seed="a")
    coming = songs_of(recommend(options, n=40, seed="a"))[20:]
    said("dislike", coming[0])
    Song.objects.filter(pk=coming[1]).update(unavailable_at=NOW)

    second = recommendations.more(first.pk, upto=40, options=options)

    assert len(second.items) == 40
    assert not {coming[0], coming[1]} & set(songs_of(second))
    assert recommendations.replay(first.pk).same
