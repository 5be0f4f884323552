"""Candidates of many listeners at once: each listener gets what the listener alone would get."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ingestion.models import Listener, Song
from recommender.engine.sampling.candidate_codec import encode_candidates
from recommender.listener_profiles import ListenerProfile
from recommender.models import CandidateList, sql
from recommender.registry import model_loader
from recommender.registry.model_loader import LoadedModel, ServingModel
from recommender.serving.candidates import candidate_cache
from recommender.serving.candidates.candidates import (
    BLOCK_LISTENERS,
    BLOCK_SONGS,
    generate_block,
    generate_candidates,
    split_into_blocks,
)
from recommender.serving.candidates.listener_block import ListenerBlock, ListenerSongs
from recommender.serving.candidates.played_songs import PlayedSongs
from recommender.serving.list_limits import ServingOptions
from recommender.serving.list_sampler import COLD_START, FAMILIAR, HEARD, LIKES, RERECOMMENDED

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
GENRES = ("", "rock", "jazz, soul", "no such genre")


@pytest.fixture
def model(options: ServingOptions) -> ServingModel:
    loaded = model_loader.current_model(options.storage)
    assert loaded.model is not None
    return loaded.model


def random_profile(listener: int, model: ServingModel, random: np.random.Generator) -> ListenerProfile:
    """A profile with any of: no history, songs that the model does not know, old plays, likes, exclusions."""
    ids = np.concatenate([model.song_ids, model.song_ids.max() + np.arange(1, 4)])
    songs = np.sort(random.choice(ids, random.choice([0, 1, 3, 40, len(ids) // 2]), replace=False))
    skipped = np.sort(random.choice(ids, random.choice([0, 0, 5]), replace=False))
    counts = random.integers(0 if listener % 3 else 1, 9, len(songs)).astype(np.float32)
    plays = counts + 2 * (random.random(len(songs)) < (listener % 2) / 5).astype(np.float32)
    days = random.choice([1.0, 30.0, 61.0, 300.0], len(songs))
    wrong = random.choice(ids, random.choice([0, 6]), replace=False).tolist()
    return ListenerProfile(
        listener_id=listener,
        genres=GENRES[listener % len(GENRES)],
        songs=songs,
        plays=plays,
        recent=(plays * 0.5 ** (days / 90)).astype(np.float32),
        play_counts=counts,
        habits=(plays / np.sqrt(days)).astype(np.float32),
        last_played_at=NOW.timestamp() - days * timedelta(days=1).total_seconds(),
        skipped=skipped,
        skips=np.ones(len(skipped), dtype=np.float32),
        excluded=frozenset(random.choice(ids, random.choice([0, 4]), replace=False).tolist()),
        excluded_clusters={song: random.choice([None, *model.cluster_numbers.tolist()]) for song in wrong},
        history_at=NOW,
        feedback_id=0,
        run_id=sql.newest_finished_run(),
    )


def random_profiles(model: ServingModel, n: int, seed: int) -> list[ListenerProfile]:
    random = np.random.default_rng(seed)
    return [random_profile(listener, model, random) for listener in range(n)]


def add_arrived_songs(model: ServingModel) -> None:
    """Songs that came after the training, one of them a copy of a song that the model knows."""
    known = Song.objects.get(pk=int(model.song_ids[7]))
    for number, name in enumerate(("First", known.name), 1):
        Song.objects.create(
            pk=int(model.song_ids.max()) + number, name=name, artist=known.artist, album=known.album,
            genres=known.genres, duration=known.duration, songwriters="", created_at=NOW, updated_at=NOW,
        )  # fmt: skip


def encode_all(profiles: Sequence[ListenerProfile], model: ServingModel, size: int) -> list[bytes]:
    blocks = (profiles[start : start + size] for start in range(0, len(profiles), size))
    return [encode_candidates(one) for block in blocks for one in generate_block(block, model, NOW)]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_listeners_candidates_do_not_depend_on_the_block_bit_for_bit(
    model: ServingModel, seed: int
) -> None:
    add_arrived_songs(model)
    profiles = random_profiles(model, 60, seed)

    alone = [encode_candidates(generate_candidates(profile, model, NOW)) for profile in profiles]

    assert encode_all(profiles, model, 7) == alone
    assert encode_all(profiles, model, 60) == alone
    # Listeners of all kinds were among them.
    flags = {flag for one in generate_block(profiles, model, NOW) for flag in one.flags.tolist()}
    assert all(
        any(flag & kind for flag in flags) for kind in (COLD_START, FAMILIAR, HEARD, LIKES, RERECOMMENDED)
    )


def test_the_played_songs_behind_a_reason_do_not_depend_on_the_other_candidates(model: ServingModel) -> None:
    profiles = random_profiles(model, 12, seed=5)
    block = ListenerBlock(profiles, model)
    every = [np.flatnonzero(~np.isin(model.song_ids, one.songs)) for one in profiles]
    songs = ListenerSongs.join(every)
    new = np.zeros(len(songs.columns), dtype=np.bool_)

    together = PlayedSongs(block).related_to(songs, new)

    assert sum(map(len, together)) > len(new) / 4
    for place in range(0, len(new), 7):
        listener, song = int(songs.listeners[place]), int(model.song_ids[songs.columns[place]])
        alone = PlayedSongs(block).related_to(songs.chosen(np.array([place])), new[:1])
        assert together[listener].get(song) == alone[listener].get(song)


def test_without_a_model_each_listener_gets_popular_songs(model: ServingModel) -> None:
    profiles = random_profiles(model, 12, 3)

    found = generate_block(profiles, None, NOW)

    assert [encode_candidates(one) for one in found] == [
        encode_candidates(generate_candidates(profile, None, NOW)) for profile in profiles
    ]
    assert generate_block([], model, NOW) == []


def test_a_listener_for_whom_the_model_fails_costs_the_others_of_the_block_nothing(
    model: ServingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    listeners = list(Listener.objects.order_by("pk").values_list("pk", flat=True)[:3])

    def fail_for_one(profiles: Sequence[ListenerProfile], *rest: object) -> object:
        if any(profile.listener_id == listeners[1] for profile in profiles):
            raise ValueError("It fails for this listener.")
        return generate_block(profiles, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(candidate_cache, "generate_block", fail_for_one)

    made = candidate_cache.prepare_lists(listeners, LoadedModel(model, None), NOW)

    assert made == 2
    assert sorted(CandidateList.objects.values_list("listener_id", flat=True)) == [
        listeners[0],
        listeners[2],
    ]


def test_a_block_has_few_listeners_and_few_songs(model: ServingModel) -> None:
    one = random_profiles(model, 1, 1)[0]
    light = replace(one, songs=np.arange(10))
    heavy = replace(one, songs=np.arange(BLOCK_SONGS - 15))

    sizes = [
        len(block) for block in split_into_blocks([light] * (BLOCK_LISTENERS + 2) + [heavy, light, light])
    ]

    assert sizes == [BLOCK_LISTENERS, 2, 2, 1]
    assert list(split_into_blocks([])) == []
