"""Cluster names, from features that are more frequent in the cluster than in the catalogue."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommender.engine.clustering.labeling import is_acceptable_name, name_clusters
from recommender.engine.data import Catalogue
from recommender.engine.identity.name_words import NameWords, name_key


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


def names_of(catalogue: Catalogue, labels: Any = None, n_clusters: int = 2, **more: Any) -> list[str]:
    labels = halves(catalogue.n_songs) if labels is None else np.asarray(labels, np.int32)
    return [one.name for one in name_clusters(catalogue, labels, n_clusters, **more)]


def test_a_name_has_genre_mood_and_decade() -> None:
    catalogue = make_catalogue(
        ["Rock"] * 10 + ["Jazz"] * 10, audio={"energy": np.array([0.9] * 10 + [0.2] * 10)},
        release_years=np.array([1994.0] * 10 + [1950.0] * 10),
    )  # fmt: skip

    found = name_clusters(catalogue, halves(), 2)

    assert [one.name for one in found] == ["Rock, energetic, 1990s", "Jazz, calm, 1950s"]
    assert [(one.size, one.kind) for one in found] == [(10, "genres"), (10, "genres")]


def test_a_second_genre_is_named_if_it_differs_from_the_first() -> None:
    catalogue = make_catalogue(["Soul, Funk"] * 10 + ["Rock, Indie Rock"] * 10)

    assert names_of(catalogue) == ["Funk and soul", "Indie rock"]


def test_genres_are_written_as_the_field_writes_them() -> None:
    catalogue = make_catalogue(["r&b"] * 10 + ["edm"] * 10 + ["K-Pop"] * 10 + ["Hip Hop, hip-hop"] * 10)

    assert names_of(catalogue, np.repeat(np.arange(4), 10), 4) == ["R&B", "EDM", "K-pop", "Hip-hop"]


def test_clusters_of_the_same_genre_get_another_word() -> None:
    catalogue = make_catalogue(
        ["Pop"] * 20,
        audio={"energy": np.array([0.9] * 10 + [0.2] * 10), "valence": np.array([0.2] * 10 + [0.9] * 10)},
    )

    names = names_of(catalogue)

    assert len(set(names)) == 2
    assert not any("(2)" in name for name in names)


def test_the_same_parts_in_another_order_are_the_same_name() -> None:
    assert name_key("Folk, quiet, acoustic") == name_key("Folk, acoustic, quiet")
    assert name_key("Rock and folk") == name_key("Folk and Rock")
    assert name_key("Folk, quiet") != name_key("Folk, quiet, acoustic")

    labels = (np.arange(20) >= 10).astype(np.int32)
    kept = {0: "Pop, quiet, sad", 1: "Pop, sad, quiet"}
    first, second = name_clusters(make_catalogue(["Pop"] * 20), labels, 2, kept=kept)

    assert first.name == "Pop, quiet, sad"
    assert name_key(second.name) != name_key(first.name)


def test_clusters_that_nothing_tells_apart_have_no_name() -> None:
    assert names_of(make_catalogue([""] * 4, artists=[""] * 4)) == ["", ""]


def test_random_words_as_genres_give_no_names() -> None:
    catalogue = make_catalogue([f"word{place}" for place in range(40)])

    assert names_of(catalogue, np.arange(40) % 4, 4) == ["", "", "", ""]
    # One play of one song does not make its artist typical.
    plays = np.zeros(40, np.float32)
    plays[:8] = 1
    heard_by = csr_array((np.ones(8), (np.arange(8), np.arange(8))), shape=(40, 8))
    assert names_of(catalogue, np.arange(40) % 4, 4, plays=plays, heard_by=heard_by) == ["", "", "", ""]


def test_without_genres_two_or_three_artists_are_named() -> None:
    artists = ["Muse", "Keane feat. X", "The Beatles", "Beatles", "Keane", "Muse"] * 2
    artists += [
        "Ada",
        "Bob",
        "Ada",
        "Bob",
        "A very long name of an orchestra",
        "A very long name of an orchestra",
    ]
    plays = np.array([9.0, 2, 4, 4, 2, 9] * 2 + [5, 4, 5, 4, 1, 1], np.float32)
    labels = np.repeat([0, 1], [12, 6])

    found = name_clusters(make_catalogue([""] * 18, artists=artists), np.asarray(labels, np.int32), 2, plays)

    assert [one.name for one in found] == ["Muse, Beatles and Keane", "Ada and Bob"]
    assert [one.kind for one in found] == ["artists", "artists"]


def test_an_artist_who_few_listeners_play_is_not_named() -> None:
    catalogue = make_catalogue([""] * 8, artists=["Ada", "Ada", "Bob", "Bob", "Eve", "Eve", "Kim", "Kim"])
    listeners = [(song, person) for song in range(4) for person in range(30)] + [(4, 0), (6, 0)]
    heard_by = csr_array((np.ones(len(listeners)), tuple(zip(*listeners, strict=True))), shape=(8, 30))

    assert names_of(catalogue, heard_by=heard_by) == ["Ada and Bob", ""]


def test_a_joke_that_few_artists_are_tagged_with_is_no_name() -> None:
    genres = ["Rock, zorb core"] * 13 + ["Rock"] * 30 + ["Pop"] * 4_000
    labels = np.where(np.arange(len(genres)) < 20, 0, 1)

    assert names_of(make_catalogue(genres), labels) == ["Rock", "Pop"]


@pytest.mark.parametrize(("tag", "name"), [
    ("songs for gil", "Rock"), ("melrose place", "Rock"), ("neon space", "Rock"),
    ("vocal trance", "Rock and vocal trance"), ("Polish", "Rock and Polish"),
    ("shoegaze", "Rock and shoegaze"),
])  # fmt: skip
def test_a_word_that_is_no_known_genre_needs_more_artists(tag: str, name: str) -> None:
    genres = [f"Rock, {tag}"] * 25 + ["Rock"] * 25 + ["Pop"] * 2_500
    labels = np.where(np.arange(len(genres)) < 50, 0, 1)

    assert names_of(make_catalogue(genres), labels) == [name, "Pop"]
    # A name of an earlier model is not kept either.
    kept = name_clusters(make_catalogue(genres), labels, 2, kept={0: f"Rock and {tag}"})
    assert (kept[0].name == f"Rock and {tag}") == (name != "Rock")


@pytest.mark.parametrize(("one", "other", "shared"), [
    ("thrash metal", "Symphonic Black Metal", True), ("Urbano", "pop, urbano", True), ("Pop", "Jazz", False),
    ("Russian rock", "Russian", True), ("R&B", "rnb, soul", True), ("", "rock", False),
    ("awesome-ness", "awesome", False), ("awesome, rock", "awesome", False),
    ("black music for friends", "video game music", False), ("male vocalists", "female vocalists", False),
])  # fmt: skip
def test_songs_share_a_genre_if_it_is_one(one: str, other: str, shared: bool) -> None:
    assert NameWords().share_genre(one, other) == shared


@pytest.mark.parametrize(("tag", "name"), [
    ("1990s", "Rock, loud, 1990s"), ("radiohead", "Radiohead, Pulp and Blur"), ("phat", "Rock and pop"),
])  # fmt: skip
def test_a_kept_name_may_have_a_decade_or_artist_that_is_also_a_tag(tag: str, name: str) -> None:
    genres = [f"Rock, Pop, {tag}"] * 4 + ["Jazz"] * 4
    artists = ["Radiohead", "Pulp", "Blur", "Suede"] + [f"Artist {place}" for place in range(4)]
    catalogue = make_catalogue(genres, artists=artists)

    found = name_clusters(catalogue, halves(8), 2, kept={0: name})

    assert (found[0].name, found[0].kind) == (name, "kept")


@pytest.mark.parametrize(("genre", "is_known"), [
    ("chanson française", True), ("rap français", True), ("rock argentino", True), ("samba de raiz", True),
    ("funk carioca", True), ("vocal trance", True), ("indie luv", False), ("gossip girl", False),
    ("chill zone", False), ("", False),
])  # fmt: skip
def test_a_genre_is_known_by_its_noun(genre: str, is_known: bool) -> None:
    assert NameWords().knows(genre) == is_known


def test_staff_can_allow_a_word_that_is_no_known_genre() -> None:
    genres = ["Rock, neon space"] * 25 + ["Rock"] * 25 + ["Pop"] * 2_500
    labels = np.where(np.arange(len(genres)) < 50, 0, 1)
    words = NameWords.with_changes(allowed=["Neon Space"])

    assert names_of(make_catalogue(genres), labels, words=words) == ["Rock and neon space", "Pop"]


@pytest.mark.parametrize("tag", [
    "seen live", "<3", "best song ever", "my favourites", "shitty music", "love", "sad", "beautiful",
    "5 stars", "80s",
    "better than lady gaga", "i like", "awesome", "albums i own", "overrated", "10/10", "FUCKING great",
    "unknown",
    "this is a sentence of many words that somebody wrote instead of a genre", "\U0001f525", "?",
    "music", "9",
])  # fmt: skip
def test_opinions_emotions_ratings_and_profanity_are_no_names(tag: str) -> None:
    catalogue = make_catalogue([f"{tag}, Rock"] * 10 + ["Jazz"] * 10)

    assert names_of(catalogue) == ["Rock", "Jazz"]


@pytest.mark.parametrize("genre", [
    "dark ambient", "sad core", "love songs ballads", "K-pop", "R&B", "drum and bass", "\u6f14\u6b4c",
    "gothic metal",
    "new wave", "world music", "emo", "ska", "IDM", "lo-fi", "nu metal", "stoner rock", "grindcore",
    "acid jazz",
])  # fmt: skip
def test_genres_of_the_field_are_allowed(genre: str) -> None:
    assert NameWords().allows(genre)


@pytest.mark.parametrize("tag", [
    "f*ck rock", "sh1t", "f.u.c.k", "fuuuuck", "b!tch pop", "a$$hole", "puta madre", "merde", "scheiße",
    "kurwa", "caralho", "f.ck", "sh-t",
])  # fmt: skip
def test_masked_and_foreign_profanity_is_no_name(tag: str) -> None:
    assert not NameWords().allows(tag)


@pytest.mark.parametrize(
    "genre",
    ["8-bit", "2-step", "assamese folk", "spice rock", "cumbia", "r n b", "a cappella", "P.T. Walkley"],
)
def test_digits_and_stems_within_words_are_no_profanity(genre: str) -> None:
    assert not NameWords().has_bad_word(genre)


def test_staff_extend_the_word_list() -> None:
    catalogue = make_catalogue(["Polka, Rock"] * 10 + ["Live, Jazz"] * 10)
    words = NameWords.with_changes(blocked=["POLKA"], allowed=["live"])

    assert names_of(catalogue, words=words) == ["Rock", "Jazz and live"]


def test_a_name_has_at_most_three_parts_and_forty_characters() -> None:
    genres = ["Progressive electronic, Psychedelic folk"] * 10 + [
        "Contemporary R&B, Symphonic black metal"
    ] * 10
    audio = {"energy": np.array([0.9] * 10 + [0.2] * 10), "valence": np.array([0.9] * 10 + [0.2] * 10)}
    catalogue = make_catalogue(genres, audio=audio, release_years=np.repeat([1994.0, 1950.0], 10))

    for name in names_of(catalogue):
        parts = name.replace(" and ", ", ").split(", ")
        assert len(name) <= 40
        assert len(parts) <= 3
        assert len({part.casefold() for part in parts}) == len(parts)


def test_years_that_no_record_has_give_no_decade() -> None:
    catalogue = make_catalogue(["Rock"] * 10 + ["Jazz"] * 10, release_years=np.repeat([0.0, 1950.0], 10))

    assert names_of(catalogue) == ["Rock", "Jazz, 1950s"]


def test_acceptable_names_of_an_earlier_model_are_kept() -> None:
    catalogue = make_catalogue(["Rock"] * 10 + ["Jazz"] * 10)

    assert names_of(catalogue, kept={0: "Guitars and drums", 1: "Mixed (7)"}) == ["Guitars and drums", "Jazz"]
    assert names_of(catalogue, kept={0: "Jazz, 1950s"}) == ["Jazz, 1950s", "Jazz"]


def test_a_vetoed_name_gives_way_to_the_next_one() -> None:
    catalogue = make_catalogue(["Soul, Funk"] * 10 + ["Jazz"] * 10)

    assert names_of(catalogue, vetoed={0: ["funk and SOUL"]}) == ["Funk", "Jazz"]
    assert names_of(catalogue, vetoed={1: ["Piano"]}, kept={1: "Piano"}) == ["Funk and soul", "Jazz"]


@pytest.mark.parametrize("name", [
    "Mixed", "Mixed (2)", "Rock, 0s", "R&b", "Hip hop, hip-hop", "Ada, 1990s, with Ada",
    "Rock, calm, sad, slow", "",
    "x" * 41, "Seen live, rock", "Cluster 7", "Justin Bieber and others",
])  # fmt: skip
def test_names_that_break_the_rules_are_not_kept(name: str) -> None:
    assert not is_acceptable_name(name, NameWords())


def test_an_empty_cluster_has_no_name() -> None:
    found = name_clusters(make_catalogue(["Rock"] * 3), np.zeros(3, np.int32), 2)

    assert [one.size for one in found] == [3, 0]
    assert [one.name for one in found] == ["Rock", ""]


def test_the_examples_are_the_most_played_songs() -> None:
    plays = np.array([1, 9, 3, 0], np.float32)

    found = name_clusters(make_catalogue(["Rock"] * 4), np.zeros(4, np.int32), 1, plays)

    assert found[0].examples == [1, 2, 0, 3]
