"""Tests that every model passes."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommender.engine.algorithms.baselines import EASE, ItemKNN, Popularity, Random, RP3beta
from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.algorithms.fit_classic import fit_classic
from recommender.engine.algorithms.listener_similarity import UserKNN
from recommender.engine.data import Catalogue, Profiles, RecommenderModel, TrainingSet
from recommender.engine.mix.fit import fit_mix
from recommender.engine.mix.model import MixModel

FIT: dict[str, Callable[[TrainingSet], Any]] = {
    "random": Random.fit, "popularity": Popularity.fit, "itemknn": ItemKNN.fit, "rp3beta": RP3beta.fit,
    "userknn": UserKNN.fit, "ease": EASE.fit, "classic": fit_classic, "mix": fit_mix,
}  # fmt: skip
SERVABLE: dict[str, type[ClassicModel | MixModel]] = {"classic": ClassicModel, "mix": MixModel}
STYLES = ("rock", "jazz", "techno")
SONGS, LISTENERS = 45, 70


def make_training(songs: int = SONGS, listeners: int = LISTENERS) -> TrainingSet:
    """Listeners of three styles, songs of three styles, and a song that may not be recommended."""
    draws = np.random.default_rng(5)
    same = (np.arange(listeners)[:, None] % 3) == (np.arange(songs)[None] % 3)
    plays = (draws.random((listeners, songs)) < np.where(same, 0.4, 0.02)) * draws.integers(
        1, 5, (listeners, songs)
    )
    available = np.ones(songs, dtype=np.bool_)
    available[0] = False
    catalogue = Catalogue(
        ids=np.arange(songs), artists=[f"Artist {song % 20}" for song in range(songs)], albums=[""] * songs,
        songwriters=[""] * songs, genres=[STYLES[song % 3] for song in range(songs)],
        release_years=np.full(songs, np.nan), durations=np.full(songs, 200.0),
        audio={"energy": np.arange(songs) % 3 / 2}, available=available,
    )  # fmt: skip
    return TrainingSet(
        catalogue, csr_array(plays.astype(np.float32)), genres=[STYLES[row % 3] for row in range(listeners)]
    )


@pytest.fixture(scope="module", params=list(FIT))
def model(request: pytest.FixtureRequest) -> RecommenderModel:
    fitted: RecommenderModel = FIT[request.param](make_training())
    return fitted


def profiles(rows: slice = slice(None)) -> Profiles:
    training = make_training()
    return Profiles(
        training.plays[rows], genres=(training.genres or [])[rows], keys=np.arange(LISTENERS)[rows]
    )


def nobody(n_songs: int = SONGS, genres: str = "") -> Profiles:
    return Profiles(csr_array((1, n_songs), dtype=np.float32), genres=[genres], keys=np.array([4711]))


def test_every_listener_gets_n_different_unplayed_available_songs(model: RecommenderModel) -> None:
    asked = profiles()

    lists = model.recommend(asked, 10)

    assert lists.shape == (LISTENERS, 10)
    heard = asked.plays.toarray() > 0
    for row, songs in enumerate(lists.tolist()):
        assert len(set(songs)) == 10
        assert min(songs) > 0
        assert not heard[row][songs].any()


def test_a_list_ends_in_minus_one_if_fewer_songs_are_left(model: RecommenderModel) -> None:
    plays = np.ones((1, SONGS), dtype=np.float32)
    plays[0, [0, 7, 9]] = 0
    excluded = np.zeros((1, SONGS), dtype=np.float32)
    excluded[0, 9] = 1

    lists = model.recommend(Profiles(csr_array(plays), excluded=csr_array(excluded)), 5)

    assert lists.tolist() == [[7, -1, -1, -1, -1]]


def test_an_unknown_listener_gets_a_list(model: RecommenderModel) -> None:
    for genres in ("", "jazz", "never heard"):
        songs = model.recommend(nobody(genres=genres), 10)[0].tolist()

        assert len(set(songs)) == 10
        assert min(songs) > 0


def test_no_listeners_get_no_lists(model: RecommenderModel) -> None:
    nobody_at_all = Profiles(csr_array((0, SONGS), dtype=np.float32), genres=[], keys=np.empty(0, np.int64))

    assert model.recommend(nobody_at_all, 5).shape == (0, 5)


@pytest.mark.parametrize("name", list(SERVABLE))
def test_a_servable_model_read_from_its_parts_recommends_the_same(name: str) -> None:
    model = FIT[name](make_training())
    read_only = {name: array.copy() for name, array in model.arrays().items()}
    for array in read_only.values():
        array.setflags(write=False)

    again = SERVABLE[name].from_parts(read_only, model.facts())

    assert np.array_equal(again.recommend(profiles(), 10), model.recommend(profiles(), 10))


def test_a_listener_gets_the_same_list_alone_and_in_a_batch(model: RecommenderModel) -> None:
    together = model.recommend(profiles(), 10)

    alone = model.recommend(profiles(slice(33, 34)), 10)

    assert alone[0].tolist() == together[33].tolist()


def test_listeners_are_rows_and_songs_are_columns(model: RecommenderModel) -> None:
    if model.name in {"random", "popularity"}:
        assert model.recommend(profiles(), SONGS).max() == SONGS - 1
        return

    lists = model.recommend(profiles(), 5)

    styles = lists % 3 == np.arange(LISTENERS)[:, None] % 3
    # Chance gives a third.
    assert styles.mean() > 0.5


@pytest.mark.slow
def test_the_same_seed_gives_the_same_lists_in_another_process() -> None:
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.unit.recommender.engine.algorithms.test_every_model import FIT, fingerprint\n"
        "print(*map(fingerprint, FIT))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert dict(zip(FIT, done.stdout.split(), strict=True)) == {name: fingerprint(name) for name in FIT}


def fingerprint(name: str) -> str:
    lists = FIT[name](make_training()).recommend(profiles(), 10)
    return hashlib.sha256(np.ascontiguousarray(lists).tobytes()).hexdigest()


@pytest.mark.parametrize("name", ["random", "popularity", "classic", "mix"])
@pytest.mark.parametrize(("songs", "listeners"), [(1, 0), (1, 1), (2, 1), (5, 40), (SONGS, 1)], ids=str)
def test_the_smallest_catalogues_can_be_fitted(name: str, songs: int, listeners: int) -> None:
    training = make_training(songs, listeners)
    whole = replace(training.catalogue, available=np.ones(songs, dtype=np.bool_))

    model = FIT[name](replace(training, catalogue=whole))

    lists = model.recommend(nobody(songs), 20)
    assert sorted(song for song in lists[0].tolist() if song >= 0) == list(range(songs))[:20] or songs > 20


@pytest.mark.parametrize("name", ["classic", "mix"])
def test_a_catalogue_of_equal_songs_can_be_fitted(name: str) -> None:
    training = make_training()
    same = replace(
        training.catalogue, artists=[""] * SONGS, genres=["rock"] * SONGS,
        audio={"energy": np.full(SONGS, 0.5), "tempo": np.full(SONGS, np.nan)},
    )  # fmt: skip

    lists = FIT[name](replace(training, catalogue=same)).recommend(profiles(), 10)

    assert (lists >= 0).all()


@pytest.mark.parametrize("name", ["popularity", "rp3beta", "itemknn", "userknn", "ease", "classic", "mix"])
def test_a_listener_with_very_many_plays_gets_a_list(name: str) -> None:
    training = make_training()
    plays = training.plays.toarray()
    plays[3] = 100_000 / SONGS
    plays[3, 5] = 0

    model = FIT[name](replace(training, plays=csr_array(plays)))

    assert model.recommend(Profiles(csr_array(plays[3:4]), keys=np.array([3])), 2).tolist() == [[5, -1]]
