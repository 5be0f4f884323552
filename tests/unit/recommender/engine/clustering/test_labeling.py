"""Readable cluster names, from what is over-represented."""

from typing import Any

import numpy as np

from recommender.engine.clustering.labeling import name_clusters
from recommender.engine.data import Catalogue


def make_catalogue(genres: list[str], **columns: Any) -> Catalogue:
    n = len(genres)
    wanted: dict[str, Any] = {
        "ids": np.arange(n), "artists": [f"Artist {place}" for place in range(n)], "albums": [""] * n,
        "songwriters": [""] * n, "genres": genres, "release_years": np.full(n, np.nan),
        "durations": np.full(n, 200.0), "audio": {}, "available": np.ones(n, bool),
    }  # fmt: skip
    return Catalogue(**{**wanted, **columns})


def halves(n: int = 20) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.repeat(np.arange(2, dtype=np.int32), n // 2)


def test_a_name_has_genre_mood_and_decade() -> None:
    catalogue = make_catalogue(
        ["Rock"] * 10 + ["Jazz"] * 10, audio={"energy": np.array([0.9] * 10 + [0.2] * 10)},
        release_years=np.array([1994.0] * 10 + [1950.0] * 10),
    )  # fmt: skip

    found = name_clusters(catalogue, halves(), 2)

    assert [one.name for one in found] == ["Rock, energetic, 1990s", "Jazz, calm, 1950s"]
    assert [one.size for one in found] == [10, 10]


def test_a_second_genre_is_named_if_it_differs_from_the_first() -> None:
    catalogue = make_catalogue(["Soul, Funk"] * 10 + ["Rock, Indie Rock"] * 10)

    assert [one.name.split(",")[0] for one in name_clusters(catalogue, halves(), 2)] == [
        "Funk and soul", "Indie rock",
    ]  # fmt: skip


def test_clusters_of_the_same_genre_get_another_word() -> None:
    catalogue = make_catalogue(
        ["Pop"] * 20,
        audio={"energy": np.array([0.9] * 10 + [0.2] * 10), "valence": np.array([0.2] * 10 + [0.9] * 10)},
    )

    names = [one.name for one in name_clusters(catalogue, halves(), 2)]

    assert len(set(names)) == 2
    assert not any("(2)" in name for name in names)


def test_clusters_without_a_difference_are_numbered() -> None:
    catalogue = make_catalogue([""] * 4, artists=[""] * 4)

    found = name_clusters(catalogue, np.array([0, 0, 1, 1], np.int32), 2)

    assert [one.name for one in found] == ["Mixed", "Mixed (2)"]


def test_random_words_as_genres_give_short_names() -> None:
    words = [f"word{place}" for place in range(40)]
    catalogue = make_catalogue(words)

    found = name_clusters(catalogue, np.arange(40, dtype=np.int32) % 4, 4)

    assert len({one.name for one in found}) == 4
    assert all(one.name.startswith("Mixed") for one in found)


def test_an_empty_cluster_has_a_name() -> None:
    found = name_clusters(make_catalogue(["Rock"] * 3), np.zeros(3, np.int32), 2)

    assert [one.size for one in found] == [3, 0]
    assert found[0].name == "Rock"


def test_the_examples_are_the_most_played_songs() -> None:
    plays = np.array([1, 9, 3, 0], np.float32)

    found = name_clusters(make_catalogue(["Rock"] * 4), np.zeros(4, np.int32), 1, plays)

    assert found[0].examples == [1, 2, 0, 3]
