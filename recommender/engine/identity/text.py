"""Folding: one key for all spellings of a name."""

import unicodedata
from functools import lru_cache
from typing import Final

APOSTROPHES: Final = frozenset("'\u2019\u2018\u02bc`\u00b4")
# Letters that NFKD does not decompose.
UNDECOMPOSED: Final = str.maketrans(
    {"ø": "o", "đ": "d", "ł": "l", "ħ": "h", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"}
)


@lru_cache(maxsize=100_000)
def fold_words(text: str) -> str:
    """The words of a text without case, accents, width and punctuation, separated by one space.

    Hyphens separate words. "&", "+" and "and" between words become "n".
    """
    plain = _without_marks(text).replace("&", " n ").replace("+", " n ")
    # An apostrophe is left out, so "don't" is one word.
    kept = "".join(char if char.isalnum() else "" if char in APOSTROPHES else " " for char in plain)
    words = kept.split()
    last = len(words) - 1
    return " ".join("n" if word == "and" and 0 < at < last else word for at, word in enumerate(words))


def fold_key(text: str) -> str:
    """One key for all spellings: "Hip-Hop" and "hip hop" give "hiphop"; "!!!" is its own key."""
    return fold_words(text).replace(" ", "") or " ".join(text.casefold().split())


def _without_marks(text: str) -> str:
    # Case-folded last: NFKD turns full-width letters into plain capitals.
    decomposed = unicodedata.normalize("NFKD", text)
    kept = "".join(char for char in decomposed if not unicodedata.combining(char))
    return unicodedata.normalize("NFC", kept).casefold().translate(UNDECOMPOSED)
