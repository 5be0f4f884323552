"""New songs are placed by content, ranked for one listener and found among similar songs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommender.engine.data import NOT_IN_MODEL, Catalogue, NewSongs, Profiles, TrainingSet
from recommender.engine.features import fit_transform, space_to_arrays
from recommender.engine.mix.fit import fit_mix
from recommender.engine.mix.model import MixModel, OnlineMixModel
from recommender.engine.mix.new_songs import MixNewSongRanker, find_nearest_known, new_song_columns

STYLES = ("rock", "jazz", "folk", "techno")
SONGS, PLAYED = 120, 100  # the songs from 100 on have no plays


def make_catalogue(songs: range, genres: bool = True) -> Catalogue:
    number, unknown = len(songs), np.full(len(songs), np.nan)
    return Catalogue(
        ids=np.array(songs, dtype=np.int64), artists=[f"Artist {song % 24}" for song in songs],
        albums=[""] * number, songwriters=[""] * number,
        genres=[STYLES[song % 4] if genres else "" for song in songs], release_years=unknown,
        durations=unknown, audio={}, available=np.array([song != 119 for song in songs]),
    )  # fmt: skip


def make_model(*, genres: bool = True) -> OnlineMixModel:
    draw = np.random.default_rng(1)
    style, taste = np.arange(SONGS) % 4, np.arange(160) % 4
    chance = np.where(taste[:, None] == style[None, :], 0.4, 0.02) * (np.arange(SONGS) < PLAYED)
    plays = csr_array((draw.random((160, SONGS)) < chance).astype(np.float32))
    training = TrainingSet(make_catalogue(range(SONGS), genres), plays)
    space, _ = fit_transform(training.catalogue, seed=training.seed)
    return OnlineMixModel(fit_mix(training), space_to_arrays(space))


@pytest.fixture(scope="module")
def model() -> OnlineMixModel:
    return make_model()


def listener(*songs: int) -> Profiles:
    heard = np.zeros((1, SONGS), dtype=np.float32)
    heard[0, list(songs)] = 1
    return Profiles(csr_array(heard))


def place(ranker: MixNewSongRanker, *arrived: int, artists: list[int] | None = None) -> NewSongs:
    codes = np.array(artists if artists is not None else [-1] * len(arrived), dtype=np.int32)
    return ranker.place(replace_ids(arrived), codes)


def replace_ids(arrived: tuple[int, ...]) -> Catalogue:
    whole = make_catalogue(range(SONGS + 40))
    return replace(
        whole, ids=np.array(arrived, dtype=np.int64), artists=[whole.artists[song] for song in arrived],
        albums=[""] * len(arrived), songwriters=[""] * len(arrived),
        genres=[whole.genres[song] for song in arrived], release_years=np.full(len(arrived), np.nan),
        durations=np.full(len(arrived), np.nan), available=np.ones(len(arrived), dtype=np.bool_),
    )  # fmt: skip


def test_available_songs_with_fewer_than_three_listeners_are_new(model: OnlineMixModel) -> None:
    components = model.mix.components
    few = np.flatnonzero(components.listeners < 3)

    assert new_song_columns(components).tolist() == [song for song in few if song != 119]


def test_the_nearest_songs_of_a_song_are_played_ones_of_its_style(model: OnlineMixModel) -> None:
    components = model.mix.components

    nearest = find_nearest_known(components, components.content[[101, 106]])

    assert nearest.shape == (2, 20)
    assert (components.listeners[nearest] >= 3).all()
    assert (nearest % 4 == [[1], [2]]).all()


def test_new_songs_of_the_listeners_style_rank_first(model: OnlineMixModel) -> None:
    ranker = model.new_song_ranker
    new = place(ranker, 121, 122)

    values = ranker.rank(listener(1, 5, 9), new, np.ones((1, len(new.columns)), dtype=np.bool_))[0]

    ids = np.where(new.columns == NOT_IN_MODEL, [*new.columns[:-2], 121, 122], new.columns)
    best = ids[np.argsort(-values)]
    n_jazz = int((ids % 4 == 1).sum())
    assert (best[:n_jazz] % 4 == 1).all()
    assert 121 in best[:n_jazz]


def test_a_new_song_by_an_artist_whom_the_listener_plays_ranks_above_its_equals(
    model: OnlineMixModel,
) -> None:
    ranker, artist = model.new_song_ranker, int(model.artists[5])
    new = place(ranker, 125, 125, artists=[-1, artist])

    values = ranker.rank(listener(1, 5, 9), new, np.ones((1, len(new.columns)), dtype=np.bool_))[0]

    assert values[-1] > values[-2]


def test_songs_that_are_not_allowed_or_unknown_are_not_ranked(model: OnlineMixModel) -> None:
    ranker = model.new_song_ranker
    catalogue = replace(replace_ids((121, 122)), genres=["", "folk"], artists=["Nobody", "Nobody"])
    new = ranker.place(catalogue, np.array([-1, -1], dtype=np.int32))
    allowed = np.arange(len(new.columns)) > 2

    values = ranker.rank(listener(1, 5, 9), new, allowed[np.newaxis])[0]

    assert np.isneginf(values[:3]).all()
    assert np.isneginf(values[-2])
    assert np.isfinite(values[-1])
    assert np.isneginf(ranker.rank(listener(), new, allowed[np.newaxis])).all()


def test_arrived_songs_get_the_cluster_of_their_nearest_songs(model: OnlineMixModel) -> None:
    new = place(model.new_song_ranker, 121, 122)

    for row, style in ((-2, 1), (-1, 2)):
        labels = model.labels[new.nearest[row]]
        assert new.labels[row] == np.bincount(labels).argmax()
        assert (new.nearest[row] % 4 == style).all()


def test_without_genres_artist_and_content_decide() -> None:
    model = make_model(genres=False)
    ranker = model.new_song_ranker
    new = ranker.place(replace(replace_ids(()), audio={}), np.empty(0, dtype=np.int32))

    values = ranker.rank(listener(5, 29), new, np.ones((1, len(new.columns)), dtype=np.bool_))[0]

    best = new.columns[np.argmax(values)]
    assert model.artists[best] == model.artists[5]


def test_similar_songs_of_a_song_include_new_ones_of_its_style(model: OnlineMixModel) -> None:
    ranker = model.new_song_ranker
    new = place(ranker, 121, 122)

    values = ranker.similarities(5, new)

    assert np.isfinite(values[-2])
    assert np.isneginf(values[-1])
    assert values[-2] > model.similar(5, n=SONGS).scores.mean()


def test_songs_similar_to_an_arrived_one_share_its_style(model: OnlineMixModel) -> None:
    ranker = model.new_song_ranker

    found = ranker.similar_to(place(ranker, 122).content[-1], n=10)

    assert (found.songs % 4 == 2).all()
    assert model.available[found.songs].all()


def test_an_artifact_without_a_feature_space_still_ranks_its_own_new_songs(model: OnlineMixModel) -> None:
    old = OnlineMixModel(MixModel.from_parts(model.mix.arrays(), model.mix.facts()))
    new = place(old.new_song_ranker, 121)

    values = old.new_song_ranker.rank(listener(1, 5, 9), new, np.ones((1, len(new.columns)), dtype=np.bool_))[
        0
    ]

    assert np.isneginf(values[-1])
    assert np.isfinite(values[:-1]).all()
