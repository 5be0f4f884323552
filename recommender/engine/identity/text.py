"""Folding: one key for all spellings of a name."""

import re
import unicodedata
from functools import lru_cache
from html import unescape
from typing import Final

APOSTROPHES: Final = frozenset("'\u2019\u2018\u02bc`\u00b4")
# Letters that NFKD does not decompose, and the Persian forms of Arabic letters.
UNDECOMPOSED: Final = str.maketrans({
    "ø": "o", "đ": "d", "ł": "l", "ħ": "h", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d",
    "\u06cc": "\u064a", "\u06a9": "\u0643",
})  # fmt: skip
# Accents, vowel points and invisible characters. Other marks are letters: Devanagari and Thai write vowels
# with them, Japanese consonants.
LEFT_OUT: Final = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"
    "\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]+"
)
# Invisible characters that change no letter, such as a zero-width space or a change of direction.
INVISIBLE: Final = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]+")
# Cyrillic letters of their own, which NFKD takes for accented ones.
SHORT_CYRILLIC: Final = re.compile("[\u0438\u0418\u0443\u0423]\u0306|[\u0456\u0406]\u0308")
ENTITY: Final = re.compile(r"&(?:#\d+|#x[\da-f]+|[a-z]+\d*);", re.IGNORECASE)


@lru_cache(maxsize=100_000)
def fold_words(text: str) -> str:
    """The words of a text without case, accents, width and punctuation, separated by one space.

    Hyphens separate words. "&", "+" and "and" between words become "n".
    """
    plain = _without_marks(unescape_entities(text)).replace("&", " n ").replace("+", " n ")
    # An apostrophe is left out, so "don't" is one word.
    kept = "".join(char if _is_letter(char) else "" if char in APOSTROPHES else " " for char in plain)
    words = kept.split()
    last = len(words) - 1
    return " ".join("n" if word == "and" and 0 < at < last else word for at, word in enumerate(words))


def fold_key(text: str) -> str:
    """One key for all spellings: "Hip-Hop" and "hip hop" give "hiphop"; "!!!" is its own key."""
    return fold_words(text).replace(" ", "") or " ".join(LEFT_OUT.sub("", text).casefold().split())


def has_text(text: str) -> bool:
    """Whether a text shows anything: not only spaces and invisible characters."""
    return bool(INVISIBLE.sub("", text).strip())


def unescape_entities(text: str) -> str:
    """Read a text that the source took from a web page: "R&amp;B" gives "R&B"."""
    return unescape(text) if ENTITY.search(text) else text


def _is_letter(char: str) -> bool:
    return char.isalnum() or unicodedata.category(char)[0] == "M"


def _without_marks(text: str) -> str:
    # Case-folded last: NFKD turns full-width letters into plain capitals.
    if text.isascii():
        return text.casefold()
    decomposed = unicodedata.normalize("NFKD", text)
    decomposed = SHORT_CYRILLIC.sub(lambda letter: unicodedata.normalize("NFC", letter[0]), decomposed)
    kept = LEFT_OUT.sub("", decomposed)
    return unicodedata.normalize("NFC", kept).casefold().translate(UNDECOMPOSED)
