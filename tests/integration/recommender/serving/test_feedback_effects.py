"""Feedback and listening change the very next list."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models import F

from ingestion.models import ListeningHistory, Song
from recommender.engine.sampling.candidate_codec import decode_candidates
from recommender.feedback import events
from recommender.models import Feedback
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions
from tests.support.builders.recommendations import (
    LISTENER,
    RECOMMENDED_AT,
    affinity_of,
    forget_lists,
    played_songs,
    recommend_list,
    record_feedback,
    song_ids,
)

pytestmark = pytest.mark.django_db


def test_at_low_discovery_songs_not_played_for_sixty_days_are_recommended_again(
    options: ServingOptions,
) -> None:
    ListeningHistory.objects.filter(user=LISTENER).update(created_at=F("created_at") - timedelta(days=70))
    before = played_songs()

    low = recommend_list(options, discovery=0.1, n=60, seed="a")
    usual = recommend_list(options, discovery=0.3, n=60, seed="a")

    again = [item for item in low.items if item["song"] in before]
    assert again
    assert {item["reason"] for item in again} == {"You have not heard it since August"}
    assert all(item["familiar"] for item in again)
    assert not before & set(song_ids(usual))


def test_a_like_raises_the_songs_cluster(options: ServingOptions) -> None:
    before = recommend_list(options, discovery=0, n=60)
    cluster = min({item["cluster"] for item in before.items}, key=lambda one: affinity_of(options, one))
    liked = next(item["song"] for item in before.items if item["cluster"] == cluster)
    dear = affinity_of(options, cluster)

    record_feedback("like", liked, served=before)
    forget_lists()
    after = recommend_list(options, discovery=0, n=60)

    assert affinity_of(options, cluster) > dear
    assert liked not in song_ids(after)
    assert after.candidate_list_id != before.candidate_list_id
    place = {song: song_ids(before).index(song) for song in song_ids(before)}
    moved = [
        place[item["song"]] - rank for rank, item in enumerate(after.items)
        if item["cluster"] == cluster and item["song"] in place
    ]  # fmt: skip
    assert sum(moved) > 0


def test_a_skip_excludes_the_song_and_lowers_its_cluster(options: ServingOptions) -> None:
    before = recommend_list(options, discovery=0)
    skipped = before.items[0]
    dear = affinity_of(options, skipped["cluster"])

    record_feedback("skip", skipped["song"])
    after = recommend_list(options, discovery=0)
    a_month_later = recommendations.recommend(
        LISTENER, options=options, discovery=0, now=RECOMMENDED_AT + timedelta(days=31)
    )

    assert affinity_of(options, skipped["cluster"]) < dear
    assert skipped["song"] not in song_ids(after)
    # Nothing newer happened: the shelf of the first day stands.
    assert skipped["song"] not in song_ids(a_month_later)


def test_a_disliked_song_never_comes_back(options: ServingOptions) -> None:
    disliked = song_ids(recommend_list(options, discovery=0))[0]
    record_feedback("dislike", disliked)

    lists = [recommend_list(options, discovery=wanted, n=100) for wanted in (0.0, 0.1, 0.3, 1.0)]
    years_later = recommendations.recommend(
        LISTENER, options=options, n=100, now=RECOMMENDED_AT + timedelta(days=3000)
    )

    assert not any(disliked in song_ids(served) for served in [*lists, years_later])


def test_a_listen_counts_as_a_play_from_thirty_seconds_on(
    options: ServingOptions,
) -> None:
    long, short = song_ids(recommend_list(options, discovery=0))[:2]

    record_feedback("listen", long, seconds=30)
    record_feedback("listen", short, seconds=29)
    after = song_ids(recommend_list(options, discovery=0))

    assert long not in after
    assert short in after


def test_a_song_of_the_wrong_style_is_not_recommended_in_that_cluster_again(options: ServingOptions) -> None:
    served = recommend_list(options, discovery=0)
    wrong = song_ids(served)[0]

    record_feedback("wrong_style", wrong, served=served)

    assert wrong not in song_ids(recommend_list(options, discovery=0, n=100))


def test_the_next_list_takes_new_listening_into_account(options: ServingOptions) -> None:
    before = recommend_list(options, discovery=0)
    ListeningHistory.objects.create(
        user_id=LISTENER, items=song_ids(before)[:4], created_at=RECOMMENDED_AT, updated_at=RECOMMENDED_AT
    )

    after = recommend_list(options, discovery=0)

    assert not set(song_ids(before)[:4]) & set(song_ids(after))


def test_page_two_leaves_out_songs_disliked_or_unavailable_since(options: ServingOptions) -> None:
    first = recommend_list(options, n=20, seed="a")
    coming = song_ids(recommend_list(options, n=40, seed="a"))[20:]
    record_feedback("dislike", coming[0])
    Song.objects.filter(pk=coming[1]).update(unavailable_at=RECOMMENDED_AT)

    second = recommendations.continue_list(first.pk, upto=40, options=options)

    assert len(second.items) == 40
    assert not {coming[0], coming[1]} & set(song_ids(second))
    assert recommendations.replay_list(first.pk).same


@pytest.mark.parametrize("kind", ["clear", "like"])
def test_a_later_word_brings_a_disliked_song_back_within_reach(options: ServingOptions, kind: str) -> None:
    song = song_ids(recommend_list(options, discovery=0))[0]
    record_feedback("dislike", song)
    without = recommend_list(options, discovery=0).candidate_list

    record_feedback(kind, song)
    again = recommend_list(options, discovery=0)

    candidates = [decode_candidates(bytes(row.candidates)).songs for row in (without, again.candidate_list)]
    assert song not in candidates[0]
    # A liked song is known: it is not new to the listener, and comes back when it has rested.
    assert (song in song_ids(again)) == (kind == "clear")


def test_a_withdrawn_dislike_brings_the_song_back(options: ServingOptions) -> None:
    song = song_ids(recommend_list(options, discovery=0))[0]
    record_feedback("dislike", song)
    without = recommend_list(options, discovery=0)

    events.withdraw_event(Feedback.objects.get().event_id, now=RECOMMENDED_AT)
    again = recommend_list(options, discovery=0)
    fresh = recommend_list(options, discovery=0)

    assert song not in song_ids(without)
    assert song_ids(again)[0] == song
    assert fresh.candidate_list_id == again.candidate_list_id


def test_after_feedback_the_old_candidates_serve_without_its_songs_until_they_are_renewed(
    options: ServingOptions,
) -> None:
    asked: list[int] = []

    def request_renewal(listener: int) -> bool:
        asked.append(listener)
        return True

    with_worker = replace(options, request_renewal=request_renewal)
    before = recommend_list(with_worker, discovery=0)
    liked, disliked = song_ids(before)[:2]
    record_feedback("like", liked)
    record_feedback("dislike", disliked)

    meanwhile = recommend_list(with_worker, discovery=0)
    recommendations.renew_candidates(asked[0], options=options, now=RECOMMENDED_AT)
    renewed = recommend_list(with_worker, discovery=0)

    assert asked == [LISTENER]
    assert (meanwhile.candidate_list, meanwhile.stale) == (before.candidate_list, False)
    assert not {liked, disliked} & set(song_ids(meanwhile))
    assert recommendations.replay_list(meanwhile.pk).same
    assert renewed.candidate_list.pk > before.candidate_list.pk


@pytest.mark.parametrize(("minutes", "can_be_sent"), [(2, True), (0, False)])
def test_a_request_renews_its_candidates_itself_if_no_worker_does(
    options: ServingOptions, minutes: int, can_be_sent: bool
) -> None:
    without_worker = replace(options, request_renewal=lambda _: can_be_sent)
    before = recommend_list(without_worker, discovery=0)
    record_feedback("like", song_ids(before)[0])

    later = RECOMMENDED_AT + timedelta(minutes=minutes)
    after = recommendations.recommend(LISTENER, options=without_worker, discovery=0, now=later)

    assert after.candidate_list_id > before.candidate_list_id


def test_new_listening_is_not_left_to_a_worker(options: ServingOptions) -> None:
    with_worker = replace(options, request_renewal=lambda _: True)
    before = recommend_list(with_worker, discovery=0)
    record_feedback("like", song_ids(before)[0])
    ListeningHistory.objects.create(
        user_id=LISTENER, items=song_ids(before)[:4], created_at=RECOMMENDED_AT, updated_at=RECOMMENDED_AT
    )

    after = recommend_list(with_worker, discovery=0)

    assert after.candidate_list_id > before.candidate_list_id
