"""New lists: which songs they contain, what they say and how many queries they cost."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from ingestion.models import ListeningHistory, Song
from recommender.models import CandidateList, ServedList
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions
from recommender.serving.reasons.explanations import serialize_list
from recommender.serving.reasons.reasons import ReasonCode
from tests.support.builders.recommendations import (
    LISTENER,
    RECOMMENDED_AT,
    forget_lists,
    make_new_listener,
    played_songs,
    recommend_list,
    record_feedback,
    song_ids,
)

pytestmark = pytest.mark.django_db


def test_a_list_has_twenty_new_songs_and_at_most_two_by_one_artist(options: ServingOptions) -> None:
    served = recommend_list(options)

    artists = Counter(Song.objects.filter(pk__in=song_ids(served)).values_list("artist", flat=True))
    assert len(set(song_ids(served))) == 20
    assert not played_songs() & set(song_ids(served))
    assert max(artists.values()) == 2
    assert (served.arm, served.stale) == ("champion", False)
    assert served.version is not None
    assert served.version.role == "champion"


def test_a_list_is_stored_column_by_column_as_it_was_served(options: ServingOptions) -> None:
    served = recommend_list(options, seed="a", discovery=0.6)

    stored = ServedList.objects.get(pk=served.pk)
    served.save()

    names = [field.attname for field in ServedList._meta.concrete_fields]
    assert {name: getattr(stored, name) for name in names} == {name: getattr(served, name) for name in names}
    assert ServedList.objects.filter(listener=LISTENER).count() == 1


def test_the_seed_decides_the_list(options: ServingOptions) -> None:
    first = recommend_list(options, seed="a", discovery=0.6)
    forget_lists()
    again = recommend_list(options, seed="a", discovery=0.6)
    forget_lists()
    other = recommend_list(options, seed="b", discovery=0.6)

    assert first.items == again.items
    assert song_ids(other) != song_ids(first)
    assert first.pk != again.pk


def test_at_discovery_zero_the_list_is_the_ranking(options: ServingOptions) -> None:
    first = recommend_list(options, discovery=0)
    forget_lists()
    again = recommend_list(options, discovery=0)

    assert first.items == again.items
    assert {item["propensity"] for item in first.items} == {1.0}


def test_more_discovery_gives_more_unfamiliar_artists(options: ServingOptions) -> None:
    def given(wanted: float, seed: int) -> float:
        served = recommend_list(options, listener=559, discovery=wanted, seed=str(seed))
        return float(serialize_list(served)["discovery"]["given"])

    shares = [sum(given(wanted, seed) for seed in range(20)) / 20 for wanted in (0.0, 0.3, 0.7)]

    assert shares == sorted(shares)
    assert shares[-1] > shares[0] + 0.4


def test_excluded_songs_are_left_out_and_unknown_ids_are_ignored(options: ServingOptions) -> None:
    without = song_ids(recommend_list(options, seed="a"))[:5]

    served = recommend_list(options, seed="a", exclude=[*without, 10**30, -1])

    assert not set(without) & set(song_ids(served))
    assert len(served.items) == 20
    assert served.pages[0]["excluded"] == sorted(without)


def test_a_candidate_that_became_unavailable_is_not_served(options: ServingOptions) -> None:
    first = recommend_list(options, seed="a")
    gone = song_ids(first)[:3]
    Song.objects.filter(pk__in=gone).update(unavailable_at=RECOMMENDED_AT)

    second = recommend_list(options, seed="a")

    assert second.candidate_list_id == first.candidate_list_id
    assert not set(gone) & set(song_ids(second))
    assert len(second.items) == 20


def test_without_an_artist_cap_the_list_is_the_plain_ranking(options: ServingOptions) -> None:
    unbounded = ServingOptions(options.storage, artist_cap=None)

    served = recommend_list(unbounded, discovery=0, n=60)

    artists = Counter(Song.objects.filter(pk__in=song_ids(served)).values_list("artist", flat=True))
    assert max(artists.values()) > 2


def test_a_list_is_shorter_if_fewer_songs_are_eligible(
    options: ServingOptions,
) -> None:
    keep = song_ids(recommend_list(options))[:7]
    Song.objects.exclude(pk__in=keep).update(unavailable_at=RECOMMENDED_AT)

    served = recommend_list(options)

    assert set(song_ids(served)) == set(keep)


def test_a_list_is_empty_if_no_song_is_eligible(options: ServingOptions) -> None:
    Song.objects.update(unavailable_at=RECOMMENDED_AT)

    served = recommend_list(options)

    assert served.items == []
    assert serialize_list(served)["discovery"] == {
        "asked": 0.3, "given": 0.0, "reason": None, "reason_code": None, "reason_parameters": {},
    }  # fmt: skip


def test_an_unknown_listener_is_refused(options: ServingOptions) -> None:
    for unknown in (999_999, -1, 2**63, 10**30):
        with pytest.raises(recommendations.UnknownListener):
            recommend_list(options, listener=unknown)
        with pytest.raises(recommendations.UnknownListener):
            recommendations.listener_affinities(unknown, options=options)

    assert not ServedList.objects.exists()
    assert not CandidateList.objects.exists()


def test_a_reason_names_the_clusters_share_of_the_listening(options: ServingOptions) -> None:
    served = recommend_list(options)

    shares = {
        row.cluster_id: row
        for row in recommendations.listener_affinities(LISTENER, options=options, now=RECOMMENDED_AT)
    }
    # A song of a cluster that was never played, or of genres that were not, has another reason.
    of_clusters = [item for item in served.items if item["reason_code"] == ReasonCode.CLUSTER]
    assert of_clusters
    for item in of_clusters:
        row = shares[item["cluster"]]
        assert item["affinity"] == pytest.approx(row.affinity, abs=1e-4)
        assert item["reason"] == f"From {row.name}: {100 * row.affinity:.0f} % of what you play"


def test_at_a_cold_start_the_list_is_popular_in_a_favorite_genre_and_says_so(options: ServingOptions) -> None:
    served = recommend_list(options, listener=make_new_listener("Jazz, Soul"), seed="a")

    reasons = Counter(item["reason"] for item in served.items)
    genres = Song.objects.filter(pk__in=song_ids(served)).values_list("genres", flat=True)
    jazz = reasons["Popular in jazz, one of your favourite genres"]
    # At two an artist there is no more jazz in this world.
    assert jazz == sum("jazz" in text.lower() for text in genres) >= 4
    assert served.items[0]["reason"].startswith("Popular in jazz")
    assert (served.arm, len(served.items)) == ("champion", 20)
    assert {item["familiar"] for item in served.items} == {False}


def test_at_a_cold_start_without_genres_the_list_is_popular_with_all(options: ServingOptions) -> None:
    served = recommend_list(options, listener=make_new_listener(), discovery=0)

    charts = [row["song"]["id"] for row in recommendations.popular_songs(n=60, now=RECOMMENDED_AT)]
    assert {item["reason"] for item in served.items} == {"Popular with all listeners"}
    assert len(set(song_ids(served)) & set(charts)) >= 15
    assert {item["affinity"] for item in served.items} == {0.0}


def test_a_list_from_cached_candidates_costs_four_queries(
    options: ServingOptions, django_assert_num_queries: Any
) -> None:
    recommend_list(options)

    with django_assert_num_queries(4) as queries:
        serialize_list(recommend_list(options))

    # The shelf with what is newest, what was shown, the songs with whether they are there, the list.
    verbs = [query["sql"].split()[0] for query in queries.captured_queries]
    assert verbs == ["SELECT", "SELECT", "SELECT", "INSERT"]


def test_a_list_with_new_candidates_costs_ten_queries(
    options: ServingOptions, django_assert_num_queries: Any
) -> None:
    recommend_list(options)
    ListeningHistory.objects.create(
        user_id=LISTENER, items=[1], created_at=RECOMMENDED_AT, updated_at=RECOMMENDED_AT
    )

    with django_assert_num_queries(10):
        serialize_list(recommend_list(options))


def test_a_damaged_candidate_list_is_generated_again(options: ServingOptions) -> None:
    first = recommend_list(options)
    content = bytearray(CandidateList.objects.get().candidates)
    content[100] ^= 1
    CandidateList.objects.update(candidates=bytes(content))

    second = recommend_list(options)

    assert second.candidate_list_id != first.candidate_list_id
    assert len(second.items) == 20


def test_a_listener_who_has_heard_everything_gets_lists_pages_and_next_songs(options: ServingOptions) -> None:
    everything = list(Song.objects.order_by("pk").values_list("pk", flat=True))
    at = RECOMMENDED_AT - timedelta(days=100)
    ListeningHistory.objects.create(user_id=LISTENER, items=everything, created_at=at, updated_at=at)
    disliked = everything[0]
    record_feedback("dislike", disliked)
    # The model does not know this one.
    Song.objects.create(
        id=1, name="New", artist="New", duration=timedelta(minutes=3), created_at=RECOMMENDED_AT,
        updated_at=RECOMMENDED_AT,
    )  # fmt: skip

    first = recommend_list(options, seed="a")
    whole = recommendations.continue_list(first.pk, upto=60, options=options)
    following = [
        song_ids(recommendations.next_song(LISTENER, options=options, now=RECOMMENDED_AT))[0]
        for _ in range(5)
    ]

    assert (len(first.items), len(set(song_ids(whole))), len(set(following))) == (20, 60, 5)
    assert disliked not in song_ids(whole)
    assert (first.items[0]["song"], first.items[0]["cluster"]) == (1, None)
    assert "relaxed" not in first.items[0]
    assert {limit["limit"] for limit in serialize_list(whole)["relaxed"]} >= {"heard"}
    artists = Counter(Song.objects.filter(pk__in=song_ids(first)).values_list("artist", flat=True))
    assert max(artists.values()) == 2
    assert recommendations.replay_list(first.pk).same


@pytest.mark.parametrize("field", ["name", "artist"])
def test_a_song_without_name_or_artist_is_not_served(options: ServingOptions, field: str) -> None:
    gone = song_ids(recommend_list(options, seed="a"))[:3]
    Song.objects.filter(pk__in=gone).update(**{field: " "})

    served = recommend_list(options, seed="a")

    assert not set(gone) & set(song_ids(served))
    assert len(served.items) == 20


@pytest.mark.parametrize("discovery", [0.0, 0.3, 0.7, 0.9, 1.0])
def test_the_share_of_new_artists_is_as_asked_or_the_answer_says_why(
    options: ServingOptions, discovery: float
) -> None:
    asked = serialize_list(recommend_list(options, listener=559, discovery=discovery))["discovery"]

    new = round(20 * asked["given"])
    assert (asked["reason"] is None) == (abs(new - 20 * discovery) <= 1)
    if asked["reason"] is not None:
        assert asked["reason"] == (
            f"This list of 20 songs has only {20 - new} by artists that you have played: no more could be"
            " recommended."
        )


def test_next_songs_keep_the_share_of_new_artists_together(options: ServingOptions) -> None:
    given = [
        recommendations.next_song(LISTENER, discovery=0.9, options=options, now=RECOMMENDED_AT)
        for _ in range(10)
    ]

    assert sum(not served.items[0]["familiar"] for served in given) in {8, 9, 10}
    new_before = sum(not served.items[0]["familiar"] for served in given[:9])
    assert given[-1].pages[0]["before"] == [9, new_before, 0]
    assert recommendations.replay_list(given[-1].pk).same


def test_songs_shown_yesterday_recede_and_songs_shown_long_ago_do_not(options: ServingOptions) -> None:
    first = recommend_list(options, discovery=0)
    next_day = RECOMMENDED_AT + timedelta(days=1)

    second = recommendations.recommend(LISTENER, options=options, discovery=0, now=next_day)
    much_later = recommendations.recommend(
        LISTENER, options=options, discovery=0, now=RECOMMENDED_AT + timedelta(days=32)
    )

    assert len(set(song_ids(first)) & set(song_ids(second))) <= 12
    assert {str(song) for song in song_ids(first)} == set(second.impressions or {})
    assert song_ids(much_later) == song_ids(first)
    assert much_later.impressions == {}


def test_a_list_of_an_earlier_release_counts_as_shown(options: ServingOptions) -> None:
    first = recommend_list(options, discovery=0)
    next_day = RECOMMENDED_AT + timedelta(days=1)
    second = recommendations.recommend(LISTENER, options=options, discovery=0, now=next_day, seed="s")
    second.delete()

    # Earlier releases did not store the ids beside the items.
    ServedList.objects.filter(pk=first.pk).update(song_ids=None)
    with_old_list = recommendations.recommend(LISTENER, options=options, discovery=0, now=next_day, seed="s")

    assert with_old_list.impressions == second.impressions != {}


def test_the_songs_of_all_pages_count_as_shown(options: ServingOptions) -> None:
    first = recommendations.recommend(LISTENER, options=options, discovery=0, now=RECOMMENDED_AT)
    whole = recommendations.continue_list(first.pk, upto=40, options=options)
    next_day = RECOMMENDED_AT + timedelta(days=1)

    second = recommendations.recommend(LISTENER, options=options, discovery=0, now=next_day)

    assert len(set(song_ids(whole))) == 40
    assert {str(song) for song in song_ids(whole)} <= set(second.impressions or {})


def test_lists_of_other_listeners_do_not_count_as_shown(options: ServingOptions) -> None:
    recommend_list(options, listener=559)

    assert recommend_list(options).impressions == {}


def test_a_preview_knows_what_was_shown_and_shows_nothing_itself(options: ServingOptions) -> None:
    served = recommendations.recommend(LISTENER, options=options, discovery=0)

    previews = [recommendations.preview_list(LISTENER, options=options, discovery=0) for _ in range(2)]

    assert song_ids(previews[0]) == song_ids(previews[1]) != song_ids(served)
