"""Genres: separators, spellings, aliases and how they are written."""

import pytest

from recommender.engine.identity.genres import (
    GenreNames,
    genre_keys,
    genre_words,
    shared_genre,
    split_genres,
    write_genre,
)
from recommender.engine.identity.text import fold_key


@pytest.mark.parametrize("text", [
    "Rock, Pop", "Rock;Pop", "Rock / Pop", "Rock|Pop", "Rock \u2022 Pop", "Rock\u00b7Pop",
    "Rock\n Pop,, ", "Rock\uff0cPop", "['Rock', 'Pop']", '["Rock","Pop"]', "{Rock,Pop}", "Rock > Pop",
    "Rock \\ Pop", "#Rock, #Pop!", "Rock, N/A, Pop, unknown, None, -",
    "#Rock #Pop", "Rock\u060c Pop", "Rock\u061b Pop", "Rock \u00a6 Pop", "Rock\u200b, Pop",
])  # fmt: skip
def test_genres_are_split_at_every_separator(text: str) -> None:
    assert split_genres(text) == ["Rock", "Pop"]


@pytest.mark.parametrize(
    "text", ["N/A", "n/a", "Unknown", "unknown genre", "NULL", "-", "Other", "[]", "nan"]
)
def test_a_placeholder_is_no_genre(text: str) -> None:
    assert not split_genres(text)
    assert not genre_keys(text)


@pytest.mark.parametrize("text", ["Singer/Songwriter", "singer / songwriter", "Singer & Songwriter"])
def test_a_genre_with_a_slash_of_its_own_stays_whole(text: str) -> None:
    assert GenreNames().normalise(text) == "singer-songwriter"


def test_a_genre_in_two_spellings_counts_once() -> None:
    assert split_genres("Hip hop, hip-hop, HipHop") == ["Hip hop"]
    assert split_genres(" , ") == []


@pytest.mark.parametrize("spellings", [
    ("Hip-Hop", "Hip Hop", "hiphop", "HIP\u2010HOP", "\uff28\uff49\uff50 \uff28\uff4f\uff50"),
    ("R&B", "R&amp;B", "RnB", "r & b", "R'n'B", "R and B", "r n b", "R+B"),
    ("Drum & Bass", "drum and bass", "Drum'n'Bass", "drum n bass", "DRUM + BASS"),
    ("M\u00fasica Popular", "musica popular", "Mu\u0301sica-Popular"),
    ("K-Pop", "kpop", "K Pop", "k\u2013pop"),
    ("S\u00f8rlandet", "sorlandet"),
])  # fmt: skip
def test_spellings_of_a_genre_have_one_key(spellings: tuple[str, ...]) -> None:
    assert len({fold_key(text) for text in spellings}) == 1


def test_different_genres_have_different_keys() -> None:
    names = [
        "rock",
        "indie rock",
        "punk",
        "post-punk",
        "pop",
        "K-pop",
        "J-pop",
        "rap",
        "trap",
        "\u6f14\u6b4c",
        "\u043f\u043e\u043f",
        "!!!",
    ]

    assert len({fold_key(name) for name in names}) == len(names)


def test_a_genre_is_written_as_the_field_writes_it() -> None:
    names = [
        "r&b",
        "RNB",
        "edm",
        "k-pop",
        "KPOP",
        "Hip Hop",
        "Indie Rock",
        "ROCK MUSIC",
        "latin jazz",
        "MPB",
        "uk garage",
    ]

    assert [write_genre(name) for name in names] == [
        "R&B", "R&B", "EDM", "K-pop", "K-pop", "hip-hop", "indie rock", "rock music", "Latin jazz",
        "MPB", "UK garage",
    ]  # fmt: skip


def test_aliases_are_replaced_in_any_spelling() -> None:
    names = GenreNames({"Rhythm-and-Blues (US)": "rnb", "brostep": "Dubstep"})

    assert names.normalise("rhythm and blues us; BROSTEP / Rock, rock") == "R&B, dubstep, rock"
    assert names.normalise("Electronic Dance Music, EDM") == "EDM"


def test_staff_aliases_take_precedence_and_circles_end() -> None:
    names = GenreNames({"electronica": "IDM", "a": "b", "b": "a"})

    assert names.normalise("Electronica") == "IDM"
    assert names.normalise("a") in {"a", "b"}


def test_all_spellings_of_a_genre_are_known_for_a_filter() -> None:
    assert GenreNames({"shoegazing": "Shoegaze"}).spellings("SHOEGAZE") == {"shoegaze", "shoegazing"}


def test_the_shared_genre_is_the_listeners_first_match() -> None:
    assert shared_genre("Jazz, Rock ", "pop, rock, jazz") == "rock"
    assert shared_genre("Jazz", "") == ""
    assert shared_genre("", ",") == ""


def test_genre_words_are_whole_genres_and_their_words_once_each() -> None:
    assert genre_words("Indie Rock,  pop , Pop") == ["indierock", "pop", "indie", "rock"]
    assert genre_words("R&B, K-Pop") == ["rnb", "kpop", "pop"]
    assert genre_words("") == []
    assert genre_keys("Hip Hop/Rap") == ("hiphop", "rap")


def test_html_tags_are_no_part_of_a_genre() -> None:
    assert split_genres("<b>rock</b>, &lt;i>R&amp;B&lt;/i>, <3") == ["rock", "R&B", "<3"]
