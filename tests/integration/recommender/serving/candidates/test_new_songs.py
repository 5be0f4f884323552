"""New songs reach lists and similar songs as soon as the run that brought them has ended."""

from collections.abc import Iterator
from typing import Any

import pytest

from ingestion.models import ListeningHistory, Song
from recommender.engine.sampling.candidate_codec import decode_candidates
from recommender.models import ServedList, sql
from recommender.registry import model_loader
from recommender.serving import recommendations
from recommender.serving.candidates import candidate_cache, candidates, new_songs
from recommender.serving.list_limits import ServingOptions
from recommender.serving.list_sampler import NEW_SONG
from tests.support.builders.finished_runs import make_finished_run
from tests.support.builders.recommendations import (
    LISTENER,
    RECOMMENDED_AT,
    played_songs,
    recommend_list,
    song_ids,
)

pytestmark = pytest.mark.django_db

ARRIVED = 9_000_001


@pytest.fixture(autouse=True)
def _forget_new_songs() -> Iterator[None]:
    yield
    new_songs._catalogues.clear()


def favourite_song() -> Song:
    """A song that the listener has played, by an artist with several songs."""
    return Song.objects.filter(pk__in=played_songs()).order_by("pk")[0]


def import_song(pk: int = ARRIVED, **fields: Any) -> None:
    """A run brings a song like the listener's favourite."""
    song = favourite_song()
    song.pk = pk
    for name, value in {"name": "Fresh", **fields}.items():
        setattr(song, name, value)
    song.save(force_insert=True)
    finish_run(new=1)


def finish_run(new: int = 0) -> None:
    make_finished_run(reports={"songs": {"new": new}})


def new_songs_in_candidates(options: ServingOptions) -> list[int]:
    loaded = model_loader.current_model(options.storage)
    made = candidate_cache.load_fresh(LISTENER, loaded, options.storage, RECOMMENDED_AT)
    assert made is not None
    stored = decode_candidates(bytes(made.row.candidates))
    return [int(song) for song, flags in zip(stored.songs, stored.flags, strict=True) if flags & NEW_SONG]


def list_with_the_new_song(options: ServingOptions) -> ServedList:
    for seed in range(60):
        served = recommend_list(options, seed=str(seed), discovery=0.5)
        if ARRIVED in song_ids(served):
            return served
    raise AssertionError("No list of sixty has the new song.")


def test_a_song_that_a_run_brings_becomes_a_candidate_at_once(options: ServingOptions) -> None:
    before = new_songs_in_candidates(options)
    import_song()

    after = new_songs_in_candidates(options)

    assert ARRIVED not in before
    assert ARRIVED in after


def test_a_run_without_new_songs_leaves_the_candidate_list_as_it_is(options: ServingOptions) -> None:
    loaded = model_loader.current_model(options.storage)
    first = candidate_cache.load_fresh(LISTENER, loaded, options.storage, RECOMMENDED_AT)
    finish_run()

    second = candidate_cache.load_fresh(LISTENER, loaded, options.storage, RECOMMENDED_AT)

    assert first is not None
    assert second is not None
    assert second.row.pk == first.row.pk


def test_a_new_song_is_a_candidate_once_if_few_songs_are_left(
    options: ServingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As for a listener who has heard almost everything: songs that the model doesn't know fill up the list.
    monkeypatch.setattr(candidates, "MAX_LIST_LENGTH", 10_000)
    import_song()

    loaded = model_loader.current_model(options.storage)
    made = candidate_cache.load_fresh(LISTENER, loaded, options.storage, RECOMMENDED_AT)

    assert made is not None
    stored = decode_candidates(bytes(made.row.candidates)).songs.tolist()
    assert stored.count(ARRIVED) == 1


def test_a_list_has_the_new_song_at_a_late_place_with_its_propensity(options: ServingOptions) -> None:
    import_song()

    served = list_with_the_new_song(options)

    place = song_ids(served).index(ARRIVED)
    item = served.items[place]
    assert place >= 10
    assert 0 < item["propensity"] < 1
    assert item["familiar"]
    assert item["reason"] == "By an artist you play: hardly anyone has played it yet"
    assert recommendations.replay_list(served.pk).same


def test_the_ranking_itself_has_no_place_for_new_songs(options: ServingOptions) -> None:
    import_song()

    assert ARRIVED not in song_ids(recommend_list(options, n=100, discovery=0))


@pytest.mark.parametrize(
    "fields", [{"name": ""}, {"artist": ""}, {"unavailable_at": RECOMMENDED_AT}], ids=str
)
def test_a_song_without_name_or_artist_or_unavailable_is_no_candidate(
    options: ServingOptions, fields: dict[str, Any]
) -> None:
    import_song(**fields)

    assert ARRIVED not in new_songs_in_candidates(options)


def test_a_new_song_that_the_listener_has_played_is_no_candidate(options: ServingOptions) -> None:
    import_song()
    ListeningHistory.objects.create(
        user_id=LISTENER, items=[ARRIVED], created_at=RECOMMENDED_AT, updated_at=RECOMMENDED_AT
    )
    finish_run()

    assert ARRIVED not in new_songs_in_candidates(options)


def test_new_releases_are_the_new_songs_by_artists_that_the_listener_plays(options: ServingOptions) -> None:
    import_song()
    import_song(ARRIVED + 1, artist="Nobody in particular")
    artist = favourite_song().artist

    rows = recommendations.new_releases(LISTENER, n=100, options=options, now=RECOMMENDED_AT)

    shares = [row["artist_share"] for row in rows]
    (found,) = [row for row in rows if row["song"]["id"] == ARRIVED]
    assert ARRIVED + 1 not in [row["song"]["id"] for row in rows]
    assert found["song"]["artist"] == artist
    assert 0 < found["artist_share"] <= 1
    assert shares == sorted(shares, reverse=True)
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))


def test_an_unknown_listener_has_no_new_releases(options: ServingOptions) -> None:
    with pytest.raises(recommendations.UnknownListener):
        recommendations.new_releases(404_404, options=options)


def test_similar_songs_know_the_new_song_and_those_similar_to_it(options: ServingOptions) -> None:
    song = favourite_song()
    import_song()

    of_known = recommendations.similar_songs(song.pk, n=200, options=options)
    of_new = recommendations.similar_songs(ARRIVED, n=5, options=options)

    assert ARRIVED in [row["song"]["id"] for row in of_known]
    assert song.pk in [row["song"]["id"] for row in of_new]
    assert all(row["cluster"] for row in of_new)


def test_new_songs_of_various_artists_have_no_artist_of_the_model(options: ServingOptions) -> None:
    Song.objects.filter(pk=favourite_song().pk).update(artist="Various Artists")
    import_song(name="One", artist="Various Artists")
    import_song(ARRIVED + 1, name="Two", artist="Various Artists")
    model = model_loader.current_model(options.storage).model
    assert model is not None

    found = new_songs.new_songs_of(model, sql.newest_finished_run())

    assert found is not None
    codes = found.songs.artists[found.has_arrived].tolist()
    assert codes == sorted({-1, -2}, reverse=True)
