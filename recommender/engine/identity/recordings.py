"""Recordings: finds the copies of one recording, such as a remaster or a radio edit, by their titles.

Live versions, remixes, acoustic versions, demos, instrumentals and covers are other recordings.
"""

import re
from typing import Final
from unicodedata import normalize

from recommender.engine.identity.credits import FEATURING
from recommender.engine.identity.text import LEFT_OUT, fold_words, unescape_entities


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Text in brackets, or after a dash or slash with spaces around it.
ANNOTATION: Final = re.compile(
    r"[(\[{]([^()\[\]{}]*)[)\]}]"
    r"|\s[-\u2013\u2014/]\s([^-\u2013\u2014/()\[\]{}]+)(?=\s[-\u2013\u2014/]\s|\s*[(\[{]|\s*$)"
)
# Words that describe a copy. An annotation of only these words is left out of the key.
COPY_WORDS: Final = _words(
    "remaster remastered remasterd remastering remasterizado remasterisé rimasterizzato digital "
    "digitally album single lp ep cd version versions radio edit edited short full length explicit "
    "clean amended censored uncensored dirty mono stereo deluxe bonus track tracks anniversary "
    "edition expanded reissue re issue release original main standard commercial hd hq new the in "
    "from of for a th st nd rd dolby atmos spatial audio master special collector collectors limited "
    "us uk international itunes video official lyric lyrics music visualizer visualiser japan japanese "
    "european"
)
# "Original mix" means the recording itself.
COPY_PHRASES: Final = frozenset(
    ["original mix", "stereo mix", "mono mix", "album mix", "single mix", "radio mix"]
)
# An annotation of a copy has one of these words; "(The New)" and "(2)" mean another song.
DECISIVE_WORDS: Final = _words(
    "remaster remastered remasterd remastering remasterizado remasterise rimasterizzato album single "
    "lp ep version versions edit edited explicit clean amended censored uncensored dirty mono stereo "
    "deluxe bonus anniversary edition expanded reissue release original official lyric lyrics visualizer "
    "visualiser"
)
# "2015 Mix" is what a remaster of the master tapes is called, "From ..." names the film of the recording.
COPY_PATTERN: Final = re.compile(
    r"(?:(?:19|20)\d\d )?(?:new )?(?:stereo )?mix"
    r"|from (?:the )?.*\b(?:soundtrack|motion picture|film|movie|series|musical|ost)\b.*"
    r"|(?:original )?(?:motion picture |television |film )?soundtrack|ost"
    # "remaster" in Japanese and Russian, with or without "digital" and "edition"
    r"|(?:(?:19|20)\d\d ?年? ?)?(?:デジタル ?)?リマスター?(?:リング)?(?: ?[版盤])?"
    r"|ремастер\w*(?: (?:19|20)\d\d)?"
)
# "Song, Pt. 2", "Song (Part II)" and "Song - Part 2" are written alike before anything else.
PART: Final = re.compile(
    r"\s{0,3}[,:(\[-]{0,2}\s{0,3}\b(?:pts?|parts?)\b\.?\s*(?:(\d{1,2})|([ivx]{1,4}))\b[)\]]?", re.IGNORECASE
)
ROMAN_DIGITS: Final = {"i": 1, "v": 5, "x": 10}
QUOTED_FILM: Final = re.compile(r"from [\"'\u201c\u2018].+", re.IGNORECASE)
WITH_ARTIST: Final = re.compile(
    r"with (?!(?:a|an|the|my|your|you|me|him|her|us|them|love|or|no)\b)\S", re.IGNORECASE
)
YEAR: Final = re.compile(r"(?:19|20)\d\d|\d{1,2}(?:th|st|nd|rd)")
# Titles that many albums use; they mean the same recording only on the same album.
COMMON_TITLES: Final = _words(
    "intro outro interlude prelude skit untitled overture reprise introduction opening ending theme "
    "finale bonus track instrumental intermission segue prologue epilogue silence"
)
LIVE_ALBUM: Final = re.compile(r"\b(?:live (?:at|in|from|on)|in concert|unplugged)\b|[(\[]live[)\]]|^live$")


def recording_key(title: str, lead_key: str, album: str = "") -> str:
    """A key that is equal for the copies of one recording; '' without a title or an artist.

    Args:
        lead_key: `artist_key` of the lead artist.
        album: distinguishes live from studio albums, and titles such as "Intro" from each other.
    """
    title = PART.sub(_write_part, normalize("NFKC", LEFT_OUT.sub("", unescape_entities(title))))
    if not title.strip() or not lead_key:
        return ""
    kept = [annotation for annotation in _annotations(title) if not _describes_release(annotation)]
    name = fold_words(ANNOTATION.sub(" ", _without_featuring(title))) or fold_words(title) or title.casefold()
    words = sorted({word for annotation in kept for word in fold_words(annotation).split()})
    if LIVE_ALBUM.search(album.casefold()) and "live" not in words:
        words.append("live")
    is_numbered = name.split(" ", 1)[0] in COMMON_TITLES and name[-1:].isdigit()
    if name in COMMON_TITLES or is_numbered:
        words.append(fold_words(album))
    return f"{lead_key}\0{name}\0{' '.join(words)}"


def _annotations(title: str) -> list[str]:
    return [in_brackets or after_dash for in_brackets, after_dash in ANNOTATION.findall(title)]


def _describes_release(annotation: str) -> bool:
    """Whether an annotation only describes the release, such as "Remastered 2011"."""
    if FEATURING.match(f"({annotation}") or WITH_ARTIST.match(annotation) or QUOTED_FILM.match(annotation):
        return True
    text = fold_words(annotation)
    if text in COPY_PHRASES or COPY_PATTERN.fullmatch(text):
        return True
    words = text.split()
    is_copy_word = [word in COPY_WORDS or YEAR.fullmatch(word) is not None for word in words]
    return all(is_copy_word) and not DECISIVE_WORDS.isdisjoint(words)


def _without_featuring(title: str) -> str:
    """Cut off featured artists outside brackets: "Song feat. B" gives "Song"."""
    found = re.search(r"\s(?:feat\.|feat(?!\s+of\b)|ft\.|featuring)\s", title, re.IGNORECASE)
    return title[: found.start()] if found and "(" not in title[: found.start()] else title


def _write_part(found: re.Match[str]) -> str:
    digits, roman = found.groups()
    values = [ROMAN_DIGITS[digit] for digit in (roman or "").casefold()]
    following = [*values, 0][1:]
    # A smaller digit before a larger one is subtracted: IV is 4.
    number = sum(-one if one < other else one for one, other in zip(values, following, strict=True))
    return f" pt {digits or number} "
