"""A feature space is stored as arrays and read back."""

import numpy as np

from recommender.engine.data import Catalogue
from recommender.engine.features import fit_transform, space_from_arrays, space_to_arrays


def catalogue(n: int = 40) -> Catalogue:
    random = np.random.default_rng(1)
    return Catalogue(
        ids=np.arange(n, dtype=np.int64), artists=[f"Ärtist {place % 7}" for place in range(n)],
        albums=[f"Album {place % 5}" for place in range(n)], songwriters=["\ud800 Writer"] * n,
        genres=["rock", "hip hop, ジャズ"] * (n // 2), release_years=np.full(n, 1999.0),
        durations=random.uniform(100, 400, n), audio={"energy": random.random(n)},
        available=np.ones(n, dtype=np.bool_),
    )  # fmt: skip


def test_a_space_read_from_its_arrays_transforms_songs_the_same() -> None:
    songs = catalogue()
    space = fit_transform(songs, seed=7)[0]

    again = space_from_arrays(space_to_arrays(space))

    assert again is not None
    assert (again.tokens, again.names, again.length) == (space.tokens, space.names, space.length)
    assert np.array_equal(again.transform(songs), space.transform(songs))


def test_the_arrays_hold_no_objects() -> None:
    arrays = space_to_arrays(fit_transform(catalogue(), seed=7)[0])

    assert not any(array.dtype.hasobject for array in arrays.values())
    assert all(name.startswith("space_") for name in arrays)


def test_a_space_without_words_can_be_stored() -> None:
    space = fit_transform(catalogue(0), seed=7)[0]

    again = space_from_arrays(space_to_arrays(space))

    assert again is not None
    assert again.tokens == []


def test_arrays_without_a_space_give_none() -> None:
    assert space_from_arrays({"labels": np.zeros(3)}) is None
