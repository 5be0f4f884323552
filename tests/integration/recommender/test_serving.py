"""Lists as listeners get them: what may be in them, what they say, and what they cost."""

from collections import Counter
from typing import Any

import pytest

from ingestion.models import ListeningHistory, Song
from recommender.models import CandidateList, ServedList
from recommender.serving import recommendations
from recommender.serving.recommendations import Options
from tests.support.lists import LISTENER, NOW, heard, newcomer, recommend, songs_of

pytestmark = pytest.mark.django_db


def test_a_list_has_twenty_songs_none_of_them_heard_and_two_an_artist(options: Options) -> None:
    served = recommend(options)

    artists = Counter(Song.objects.filter(pk__in=songs_of(served)).values_list("artist", flat=True))
    assert len(set(songs_of(served))) == 20
    assert not heard() & set(songs_of(served))
    assert max(artists.values()) == 2
    assert (served.arm, served.stale) == ("champion", False)
    assert served.version is not None
    assert served.version.role == "champion"


def test_a_list_is_stored_column_by_column_as_it_was_served(options: Options) -> None:
    served = recommend(options, seed="a", discovery=0.6)

    stored = ServedList.objects.get(pk=served.pk)
    served.save()

    names = [field.attname for field in ServedList._meta.concrete_fields]
    assert {name: getattr(stored, name) for name in names} == {name: getattr(served, name) for name in names}
    assert ServedList.objects.filter(listener=LISTENER).count() == 1


def test_a_seed_decides_the_list_and_another_seed_another_one(options: Options) -> None:
    first, again = recommend(options, seed="a", discovery=0.6), recommend(options, seed="a", discovery=0.6)
    other = recommend(options, seed="b", discovery=0.6)

    assert first.items == again.items
    assert songs_of(other) != songs_of(first)
    assert first.pk != again.pk


def test_without_discovery_the_list_is_the_ranking_itself(options: Options) -> None:
    first, again = recommend(options, discovery=0), recommend(options, discovery=0)

    assert first.items == again.items
    assert {item["propensity"] for item in first.items} == {1.0}


def test_more_discovery_gives_more_artists_never_played(options: Options) -> None:
    def given(wanted: float, seed: int) -> float:
        served = recommend(options, listener=559, discovery=wanted, seed=str(seed))
        return float(recommendations.describe(served)["discovery"]["given"])

    shares = [sum(given(wanted, seed) for seed in range(20)) / 20 for wanted in (0.0, 0.3, 0.7)]

    assert shares == sorted(shares)
    assert shares[-1] > shares[0] + 0.4


def test_excluded_songs_are_left_out_and_unknown_ids_do_no_harm(options: Options) -> None:
    without = songs_of(recommend(options, seed="a"))[:5]

    served = recommend(options, seed="a", exclude=[*without, 10**30, -1])

    assert not set(without) & set(songs_of(served))
    assert len(served.items) == 20
    assert served.pages[0]["excluded"] == sorted(without)


def test_a_song_that_has_gone_since_the_shelf_was_made_is_not_served(options: Options) -> None:
    first = recommend(options, seed="a")
    gone = songs_of(first)[:3]
    Song.objects.filter(pk__in=gone).update(unavailable_at=NOW)

    second = recommend(options, seed="a")

    assert second.candidate_list_id == first.candidate_list_id
    assert not set(gone) & set(songs_of(second))
    assert len(second.items) == 20


def test_no_artist_cap_is_the_ranking_unbounded(options: Options) -> None:
    unbounded = Options(options.storage, artist_cap=None)

    served = recommend(unbounded, discovery=0, n=60)

    artists = Counter(Song.objects.filter(pk__in=songs_of(served)).values_list("artist", flat=True))
    assert max(artists.values()) > 2


def test_where_fewer_songs_are_eligible_than_asked_for_it_gives_what_there_is(options: Options) -> None:
    keep = songs_of(recommend(options))[:7]
    Song.objects.exclude(pk__in=keep).update(unavailable_at=NOW)

    served = recommend(options)

    assert set(songs_of(served)) == set(keep)


def test_where_nothing_is_eligible_the_list_is_empty(options: Options) -> None:
    Song.objects.update(unavailable_at=NOW)

    served = recommend(options)

    assert served.items == []
    assert recommendations.describe(served)["discovery"] == {"asked": 0.3, "given": 0.0}


def test_nobody_is_recommended_nothing(options: Options) -> None:
    for unknown in (999_999, -1, 2**63, 10**30):
        with pytest.raises(recommendations.UnknownListener):
            recommend(options, listener=unknown)
        with pytest.raises(recommendations.UnknownListener):
            recommendations.affinities_of(unknown, options=options)

    assert not ServedList.objects.exists()
    assert not CandidateList.objects.exists()


def test_a_reason_tells_the_clusters_share_of_what_the_listener_plays(options: Options) -> None:
    served = recommend(options)

    shares = {
        row.cluster_id: row for row in recommendations.affinities_of(LISTENER, options=options, now=NOW)
    }
    # The draw also offers clusters that were never played.
    first = next(item for item in served.items if item["cluster"] in shares)
    row = shares[first["cluster"]]
    assert first["affinity"] == pytest.approx(row.affinity, abs=1e-4)
    assert first["reason"] == f"From {row.name}: {100 * row.affinity:.0f} % of your listening"


def test_a_newcomer_gets_what_is_popular_in_a_favourite_genre_and_is_told(options: Options) -> None:
    served = recommend(options, listener=newcomer("Jazz, Soul"), seed="a")

    reasons = Counter(item["reason"] for item in served.items)
    genres = Song.objects.filter(pk__in=songs_of(served)).values_list("genres", flat=True)
    jazz = reasons["Popular in jazz, one of your favourite genres"]
    # At two an artist there is no more jazz in this world.
    assert jazz == sum("jazz" in text.lower() for text in genres) >= 4
    assert served.items[0]["reason"].startswith("Popular in jazz")
    assert (served.arm, len(served.items)) == ("champion", 20)
    assert {item["familiar"] for item in served.items} == {False}


def test_a_newcomer_who_says_nothing_gets_what_is_popular_with_all(options: Options) -> None:
    served = recommend(options, listener=newcomer(), discovery=0)

    charts = [row["song"]["id"] for row in recommendations.popular(n=60, now=NOW)]
    assert {item["reason"] for item in served.items} == {"Popular with all listeners"}
    assert len(set(songs_of(served)) & set(charts)) >= 15
    assert {item["affinity"] for item in served.items} == {0.0}


def test_a_list_from_the_shelf_costs_three_queries(options: Options, django_assert_num_queries: Any) -> None:
    recommend(options)

    with django_assert_num_queries(3) as queries:
        recommendations.describe(recommend(options))

    # The shelf with what is newest, the songs with whether they are there, the list.
    verbs = [query["sql"].split()[0] for query in queries.captured_queries]
    assert verbs == ["SELECT", "SELECT", "INSERT"]


def test_a_list_scored_live_costs_eight_queries(options: Options, django_assert_num_queries: Any) -> None:
    recommend(options)
    ListeningHistory.objects.create(user_id=LISTENER, items=[1], created_at=NOW, updated_at=NOW)

    with django_assert_num_queries(8):
        recommendations.describe(recommend(options))


def test_a_damaged_shelf_is_made_anew(options: Options) -> None:
    first = recommend(options)
    content = bytearray(CandidateList.objects.get().candidates)
    content[100] ^= 1
    CandidateList.objects.update(candidates=bytes(content))

    second = recommend(options)

    assert second.candidate_list_id != first.candidate_list_id
    assert len(second.items) == 20
