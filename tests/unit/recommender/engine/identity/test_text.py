"""Folding: spellings of one name are equal, and different words of every script differ."""

import pytest

from recommender.engine.identity.text import fold_key, fold_words, has_text


@pytest.mark.parametrize(("one", "other"), [
    ("Beyonc\u00e9", "BEYONCE\u0301"), ("\u0130brahim", "ibrahim"), ("\u2764\ufe0f", "\u2764"),
    ("R&amp;B", "R&B"), ("Guns N&#39; Roses", "Guns N' Roses"), ("Foo\u200bFighters", "FooFighters"),
    ("\u202bأغنية\u202c", "أغنية"), ("فَيْرُوز", "فيروز"), ("محـمد", "محمد"), ("کیهان", "كيهان"),
    ("\u0645\u06cc\u200c\u062e\u0648", "\u0645\u06cc\u062e\u0648"), ("ﾖﾙｼｶ", "ヨルシカ"), ("Ёлка", "елка"),
])  # fmt: skip
def test_spellings_of_a_name_are_equal(one: str, other: str) -> None:
    assert fold_key(one) == fold_key(other)


@pytest.mark.parametrize(("one", "other"), [
    ("ハナ", "バナ"), ("パン", "バン"), ("दिल", "दल"), ("दिल", "दूल"),
    ("ขาว", "ข้าว"), ("ที", "ทุ"), ("মা", "মি"), ("Мой", "Мои"),
])  # fmt: skip
def test_marks_that_are_letters_are_kept(one: str, other: str) -> None:
    assert fold_key(one) != fold_key(other)
    assert " " not in fold_words(one)


def test_spaces_and_invisible_characters_are_no_text() -> None:
    assert [has_text(text) for text in ("", " \u00a0", "\u200b", "\u202e\ufeff", "X", "\U0001f3b5")] == [
        False, False, False, False, True, True
    ]  # fmt: skip
