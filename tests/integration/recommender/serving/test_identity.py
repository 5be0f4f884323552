"""Copies of a recording, credited artists, and reasons that are true of the song and of the listener."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from ingestion.models import ListeningHistory, Song
from recommender.engine.identity.genres import genre_keys, genre_words
from recommender.models import ServedList
from recommender.serving import recommendations
from recommender.serving.list_limits import ServingOptions
from recommender.serving.reasons.explanations import name_keys
from recommender.serving.reasons.reasons import new_song_reason
from tests.support.builders.recommendations import (
    LISTENER,
    make_new_listener,
    played_songs,
    recommend_list,
    song_ids,
)
from tests.support.builders.small_world import fill_tables, small_world
from tests.support.builders.trained_model import train_champion

pytestmark = pytest.mark.django_db

ACT = "Velvet Static"


@pytest.fixture(scope="module")
def trained(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The small world with copies of songs and with credits of several artists."""
    folder = tmp_path_factory.mktemp("models")
    with django_db_blocker.unblock(), transaction.atomic():
        fill_tables(small_world())
        heard = played_songs()
        unheard = list(Song.objects.exclude(pk__in=heard).order_by("pk"))
        favourite = Song.objects.get(pk=most_played())
        copies, act = unheard[:4], unheard[10:18]
        for song, title in zip(copies, ["{} (Remastered)", "{} - 2011 Remaster", "{}", "{}"], strict=True):
            song.name, song.artist = title.format(favourite.name), favourite.artist
            song.album = f"Best of {song.pk}"
        for number, song in enumerate(act):
            guest = f"Guest {number}"
            song.artist = [ACT, f"{ACT} feat. {guest}", f"{ACT} & Friend", f"{guest} ft. {ACT}"][number % 4]
            song.genres, song.audio_features = favourite.genres, favourite.audio_features
        Song.objects.bulk_update([*copies, *act], ["name", "artist", "album", "genres", "audio_features"])
        train_champion(folder)
        yield folder
        shutil.rmtree(folder)
        transaction.set_rollback(True)


@pytest.fixture
def options(trained: Path, db: None) -> ServingOptions:
    return ServingOptions(trained)


def most_played() -> int:
    sessions = ListeningHistory.objects.filter(user=LISTENER).values_list("items", flat=True)
    return int(Counter(song for items in sessions for song in items).most_common(1)[0][0])


def copies_of_the_favourite() -> set[int]:
    return set(Song.objects.filter(album__startswith="Best of ").values_list("pk", flat=True))


def test_a_copy_of_a_heard_song_is_not_recommended(options: ServingOptions) -> None:
    served = recommend_list(options, n=100, discovery=0.5)

    assert len(copies_of_the_favourite()) == 4
    assert not copies_of_the_favourite() & set(song_ids(served))


def test_a_list_has_one_copy_of_a_recording_for_a_new_listener(options: ServingOptions) -> None:
    served = recommend_list(options, listener=make_new_listener(), n=100, discovery=0.3)

    assert len(copies_of_the_favourite() & set(song_ids(served))) <= 1


def test_without_a_model_a_list_has_one_copy_and_no_copy_of_a_heard_song(
    tmp_path: Path, trained: Path
) -> None:
    nowhere = ServingOptions(tmp_path / "none")

    new, known = (recommend_list(nowhere, listener=one, n=100) for one in (make_new_listener(), LISTENER))

    assert (new.arm, known.arm) == ("fallback", "fallback")
    assert len((copies_of_the_favourite() | {most_played()}) & set(song_ids(new))) <= 1
    assert not copies_of_the_favourite() & set(song_ids(known))


def test_similar_songs_are_no_copies(options: ServingOptions) -> None:
    rows = recommendations.similar_songs(most_played(), n=100, options=options)

    assert not copies_of_the_favourite() & {row["song"]["id"] for row in rows}


def test_an_act_is_capped_by_lead_and_credited_artist(options: ServingOptions) -> None:
    for discovery in (0.0, 0.3, 1.0):
        served = recommend_list(options, n=60, discovery=discovery)

        by_act = [song for song in song_ids(served) if ACT in served.cards[song].artist]
        assert len(by_act) <= 2, discovery


def test_a_song_is_familiar_by_a_credited_artist(options: ServingOptions) -> None:
    act = list(Song.objects.filter(artist__contains=ACT).order_by("pk"))
    lead = next(song for song in act if song.artist == ACT)
    ListeningHistory.objects.create(
        pk=10**9, user_id=LISTENER, items=[lead.pk] * 5, created_at=datetime(2026, 10, 31, 23, tzinfo=UTC),
        updated_at=datetime(2026, 10, 31, 23, tzinfo=UTC),
    )  # fmt: skip

    served = recommend_list(options, n=60, discovery=0.0)

    by_act = [item for item in served.items if ACT in served.cards[item["song"]].artist]
    assert by_act
    assert all(item["familiar"] for item in by_act)
    assert {item["reason"] for item in by_act} & {f"Because you play {ACT}"} or all(
        item["reason"].startswith("From ") for item in by_act
    )


@pytest.mark.parametrize("discovery", [0.0, 0.3, 0.7, 1.0])
def test_every_reason_holds_for_the_song_and_the_listener(options: ServingOptions, discovery: float) -> None:
    served = recommend_list(options, n=60, discovery=discovery, seed="s")

    kinds = Counter(kind_of_true_reason(item, served) for item in served.items)

    assert kinds["from"] > 0
    assert "new to you" not in repr(served.items)


def kind_of_true_reason(item: dict[str, Any], served: ServedList) -> str:
    """The kind of the item's reason; fails if the reason is not true."""
    heard = Song.objects.filter(pk__in=played_songs())
    card = served.cards[item["song"]]
    if found := re.fullmatch(r"From (.+): (\d+|< 1) % of what you play", item["reason"]):
        genres = set(genre_keys(card.genres))
        assert name_keys(found[1]) & genres, (item, card)
        assert any(name_keys(found[1]) & genres & set(genre_keys(song.genres)) for song in heard), item
        assert int(found[2]) == round(100 * item["affinity"])
        return "from"
    if found := re.fullmatch(r"Because you play (.+)", item["reason"]):
        for name in found[1].split(" and ") if not heard.filter(artist=found[1]).exists() else [found[1]]:
            assert heard.filter(artist__contains=name).exists(), item
        return "because"
    if item["reason"] == "Something different to try":
        assert not item["familiar"]
        words = {word for song in heard for word in genre_words(song.genres)}
        assert item["affinity"] < 0.005 or not words.intersection(genre_words(card.genres))
        return "different"
    if item["reason"] == new_song_reason(familiar=item["familiar"]).sentence:
        return "new"
    assert item["reason"].startswith("You have not heard it since "), item
    return "again"
