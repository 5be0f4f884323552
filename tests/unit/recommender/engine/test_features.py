"""Content features: independent of units, zero if unknown."""

from typing import Any

import numpy as np
import pytest

from recommender.engine.data import Catalogue
from recommender.engine.features import fit_transform, genre_matrix, genre_vocabulary


def make_catalogue(n: int = 6, **columns: Any) -> Catalogue:
    wanted: dict[str, Any] = {
        "ids": np.arange(n), "artists": ["ABBA", "abba ", "Blur", "Blur", "", "Cher"][:n],
        "albums": [""] * n, "songwriters": [""] * n, "genres": (["Indie Rock, Pop"] * 3 + ["Jazz"] * 3)[:n],
        "release_years": np.array([1990.0, 1991, 1999, 2001, np.nan, 2010])[:n],
        "durations": np.array([100.0, 200, 300, 400, 500, 600])[:n], "audio": {},
        "available": np.ones(n, bool),
    }  # fmt: skip
    return Catalogue(**{**wanted, **columns})


def test_tokens_ignore_case_and_include_the_words_of_genres() -> None:
    space = fit_transform(make_catalogue(), seed=7)[0]

    assert space.tokens == [
        "artist:abba", "artist:blur", "decade:1990", "genre:indierock", "genre:jazz", "genre:pop",
        "word:indie", "word:rock",
    ]  # fmt: skip


def test_opinions_of_taggers_are_no_genres() -> None:
    catalogue = make_catalogue(genres=["seen live, Easy listening", "Awesome; my favourites"] * 3)

    tokens = fit_transform(catalogue, seed=7)[0].tokens
    words = genre_vocabulary(catalogue.genres)

    assert [token for token in tokens if token.startswith(("genre:", "word:"))] == [
        "genre:easylistening", "word:easy", "word:listening",
    ]  # fmt: skip
    assert words == ["easy", "easylistening", "listening"]
    assert genre_matrix(["seen live", "easy listening"], words).toarray().sum(axis=1).tolist() == [0, 3]


def test_metadata_rows_have_length_one_or_zero() -> None:
    catalogue = make_catalogue()

    rows = fit_transform(catalogue, seed=7)[0].metadata(catalogue).toarray()

    assert np.linalg.norm(rows, axis=1) == pytest.approx(1)
    alone = make_catalogue(1, artists=[""], genres=[""], release_years=np.array([np.nan]))
    assert fit_transform(catalogue, seed=7)[0].metadata(alone).toarray().sum() == 0


def test_the_unit_of_a_column_does_not_matter() -> None:
    loud = np.array([-3.0, -5, -8, -4, -6, -20])
    one = make_catalogue(audio={"loudness": loud})
    other = make_catalogue(audio={"loudness": loud * 1000})

    scaled = [fit_transform(catalogue, seed=7)[0].sound(catalogue) for catalogue in (one, other)]

    assert scaled[0] == pytest.approx(scaled[1], abs=1e-5)


def test_unknown_values_and_constant_columns_are_zero() -> None:
    catalogue = make_catalogue(
        audio={
            "constant": np.full(6, 0.3), "unknown": np.full(6, np.nan),
            "some": np.array([0.0, 1, np.nan, 1, 0, np.inf]),
        }
    )  # fmt: skip

    space = fit_transform(catalogue, seed=7)[0]
    sound = space.sound(catalogue)

    columns = dict(zip(space.names, sound.T, strict=True))
    assert not columns["constant"].any()
    assert not columns["unknown"].any()
    assert columns["some"][[2, 5]].tolist() == [0, 0]
    assert np.isfinite(sound).all()


def test_an_outlier_is_clipped_and_does_not_scale_the_others() -> None:
    tempo = np.array([100.0, 110, 120, 130, 140, 1e9])

    catalogue = make_catalogue(audio={"tempo": tempo})
    sound = fit_transform(catalogue, seed=7)[0].sound(catalogue)[:, 2]

    assert sound.max() == 4
    assert abs(sound[:5]).max() < 2


def test_later_songs_are_transformed_by_the_fitted_space() -> None:
    early = make_catalogue()
    space = fit_transform(early, seed=7)[0]
    late = make_catalogue(2, artists=["ABBA", "New"], genres=["Pop", "Never heard"])

    rows = space.transform(late)

    assert rows.shape == (2, space.transform(early).shape[1])
    assert np.isfinite(rows).all()


def test_no_song_or_one_song_can_be_fitted() -> None:
    for n in (0, 1):
        catalogue = make_catalogue(n)

        assert fit_transform(catalogue, seed=7)[0].transform(catalogue).shape[0] == n


def test_fit_transform_equals_transform() -> None:
    catalogue = make_catalogue()

    space, rows = fit_transform(catalogue, seed=7)

    np.testing.assert_array_equal(rows, space.transform(catalogue))
