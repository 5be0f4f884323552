"""Artist credits: split "A feat. B" and "A & B" without breaking the names of groups.

"feat." always separates. "&", "and", "/", ",", "x" and "vs." separate only artists of the catalogue, so
"Simon & Garfunkel" and "AC/DC" stay whole. "Nick Cave & The Bad Seeds" is split if the first part has a
credit of its own and several words, or the second begins with an article. A full name with a credit
of its own separates from anybody: "Sean Kingston and Justin Bieber".
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from recommender.engine.identity.text import INVISIBLE, fold_key, unescape_entities

# Brackets around it are dropped: "A (feat. B)".
FEATURING: Final = re.compile(r"(?:\s+|\s*[(\[]\s*)(?:(?:feat(?:uring)?|ft)\b\.?|f/)\s*(?=\S)", re.IGNORECASE)
OTHER_SEPARATORS: Final = re.compile(
    r"\s*[;/|\u060c\u2022\u00b7\u3001\uff0c]\s*|\s*,\s*(?:(?:and|&)\s+)?|\s+(?:&|&amp;|\+|and|und|et|og|y|e|x|\u00d7"
    r"|(?:duet )?with|w/|con|avec|mit|meets|vs\.?|versus|pres(?:ents|\.)?|introducing|starring)\s+",
    re.IGNORECASE,
)
# HTML that the source copied from a web page: formats of letters, and ends of lines, which separate artists.
# Any other word in angle brackets is a name, such as "<PIG>".
FORMAT_TAG: Final = re.compile(
    r"</?(?:a|b|em|font|i|small|span|strong|sub|sup|u)(?:\s[^<>]*)?>", re.IGNORECASE
)
LINE_TAG: Final = re.compile(r"</?(?:br|div|li|p)(?:\s[^<>]*|/)?>", re.IGNORECASE)
# Letters of stylised names, as in "P!nk", "Ke$ha" and "A$AP".
STYLISED: Final = ((re.compile(r"(?<=\w)!(?=\w)"), "i"), (re.compile(r"\$(?=\w)|(?<=\w)\$"), "s"))
INVERTED_ARTICLE: Final = re.compile(r"^(.+), the$", re.IGNORECASE)
# These separate also artists without credits of their own, after an artist who has one: "Eminem / Dina Rae".
STRONG_SEPARATOR: Final = re.compile(r"\s/\s|;")
# A longer credit that can be split is not the name of one artist or group.
MAX_LEAD_LENGTH: Final = 40
CACHED_CREDITS: Final = 4096  # lists of recommendations name the same artists again and again
ARTICLE: Final = re.compile(r"(?:the|his|her|their|los|las|les|die)\s", re.IGNORECASE)
# Groups whose parts are also names of other artists.
WHOLE_NAMES: Final = frozenset(
    fold_key(name)
    for name in (
        "Simon & Garfunkel", "Earth, Wind & Fire", "AC/DC", "Hall & Oates", "Belle and Sebastian",
        "Iron & Wine",
        "Crosby, Stills & Nash", "Crosby, Stills, Nash & Young", "Emerson, Lake & Palmer",
        "Peter, Paul and Mary",
        "Brooks & Dunn", "Mumford & Sons", "Blood, Sweat & Tears", "Tegan and Sara", "Angus & Julia Stone",
        "Sam & Dave", "Ike & Tina Turner", "Sonny & Cher", "Matt and Kim", "She & Him", "Of Mice & Men",
        "Angels & Airwaves", "Above & Beyond", "Chase & Status", "Dan + Shay", "Salt-N-Pepa",
        "Peaches & Herb",
        "Love and Rockets", "Florence and the Machine", "Kool & The Gang", "Echo & The Bunnymen",
        "Tyler, the Creator", "Coheed and Cambria", "Ashford & Simpson", "Captain & Tennille",
        "Seals & Crofts",
        "The Bird and the Bee", "The Mamas & The Papas", "The Jesus and Mary Chain", "The Sea and Cake",
    )
)  # fmt: skip
# Texts that sources write where no artist, or too many, could be named; see `_is_no_artist`.
NO_ARTISTS: Final = frozenset(
    fold_key(text)
    for text in (
        "Various Artists", "Various Artist", "Various", "Various Performers", "V.A.", "V/A",
        "Unknown Artist", "Unknown Artists", "Unknown", "Artist Unknown", "No Artist", "N/A",
        "Varios Artistas", "Artistas Varios", "Artista Desconocido", "Artistes Divers", "Artiste Inconnu",
        "Artisti Vari", "Artista Sconosciuto", "Verschiedene Interpreten", "Diverse Interpreten",
        "Verschiedene Künstler", "Unbekannter Künstler", "Diverse Artiesten", "Diverse Kunstnere",
        "Diverse Artister", "Разные исполнители", "群星", "オムニバス",
    )
)  # fmt: skip


def artist_key(artist: str) -> str:
    """A key that is equal for all spellings of an artist, such as "The Beatles" and "beatles"."""
    name = INVERTED_ARTICLE.sub(r"the \1", " ".join(artist.split()))
    for letter, meant in STYLISED:
        name = letter.sub(meant, name)
    without_article = name[4:] if name[:4].casefold() == "the " else name
    return fold_key(without_article or name)


class ArtistCredits:
    def __init__(self, texts: Iterable[str]) -> None:
        """Learn the artists from `texts`, all artist texts of the catalogue."""
        self._split: dict[str, tuple[str, ...]] = {}
        self._keys: dict[str, tuple[str, ...]] = {}
        sections = [section for credit in set(texts) for section in _split_featuring(credit)]
        named = {artist_key(section) for section in sections}
        parts = Counter(
            key
            for section in {artist_key(section): section for section in sections}.values()
            for key in {artist_key(part) for part in _split_others(section)}
        )
        self._named = named
        self._known = named | {key for key, count in parts.items() if count > 1}

    def artists(self, credit: str) -> tuple[str, ...]:
        """The artists of a credit, the lead artist first, each once; () if it names none."""
        if credit not in self._split:
            found: dict[str, str] = {}
            for section in _split_featuring(credit):
                for artist in () if _is_no_artist(section) else self._split_section(section):
                    found.setdefault(artist_key(artist), artist)
            self._split[credit] = tuple(one for one in found.values() if not _is_no_artist(one))
        return self._split[credit]

    def keys(self, credit: str) -> tuple[str, ...]:
        if credit not in self._keys:
            self._keys[credit] = tuple(artist_key(artist) for artist in self.artists(credit))
        return self._keys[credit]

    def lead_key(self, credit: str) -> str:
        return next(iter(self.keys(credit)), "")

    def lead(self, credit: str) -> str:
        return next(iter(self.artists(credit)), "")

    def _split_section(self, section: str) -> Sequence[str]:
        parts = _split_others(section)
        if len(parts) < 2 or artist_key(section) in WHOLE_NAMES:
            return [section]
        known = [artist_key(part) in self._known or _is_no_artist(part) for part in parts]
        is_listed = STRONG_SEPARATOR.search(section) and artist_key(parts[0]) in self._named
        if all(known) or is_listed:
            return parts
        if self._is_act_with_group(parts):
            return [
                parts[0],
                *(part for part, is_known in zip(parts[1:], known[1:], strict=True) if is_known),
            ]
        if not any(map(self._is_named_in_full, parts)):
            return [section]
        # "Derek & The Dominos / Eric Clapton": what the strong separator keeps together is split on its own.
        strong = [part.strip() for part in STRONG_SEPARATOR.split(section) if part.strip()]
        if len(strong) > 1:
            return [artist for part in strong for artist in self._split_section(part)]
        return parts

    def _is_named_in_full(self, part: str) -> bool:
        is_name = len(part.split()) > 1 and not ARTICLE.match(part) and part[:1].isupper()
        return is_name and artist_key(part) in self._named

    def _is_act_with_group(self, parts: Sequence[str]) -> bool:
        act, group = parts[:2]
        is_named = artist_key(act) in self._named and not ARTICLE.match(act)
        return is_named and (len(act.split()) > 1 or ARTICLE.match(group) is not None)


def _is_no_artist(text: str) -> bool:
    """Whether a text such as "Various Artists" stands where no artist is named."""
    return artist_key(text) in NO_ARTISTS


def _readable(credit: str) -> str:
    """A credit without HTML and invisible characters, which could turn a sentence's direction."""
    # Without runs of spaces, over which some patterns would backtrack for seconds.
    plain = " ".join(INVISIBLE.sub("", unescape_entities(credit)).split())
    return LINE_TAG.sub("; ", FORMAT_TAG.sub("", plain)).strip("; ") if "<" in plain else plain


def _split_featuring(credit: str) -> list[str]:
    """Split a credit at "feat." and its variants; the first part is the lead artist's."""
    parts = [part.strip(" \t,;-\u2013\u2014&") for part in FEATURING.split(_readable(credit))]
    # A bracket that opened before "feat." closes after the featured artists.
    closed = [part.rstrip(")] ") if at and part.count("(") < part.count(")") + part.count("]") else part
              for at, part in enumerate(parts)]  # fmt: skip
    return [" ".join(part.split()) for part in closed if part]


def _split_others(section: str) -> list[str]:
    return [part for part in (part.strip() for part in OTHER_SEPARATORS.split(section)) if part]


@lru_cache(maxsize=CACHED_CREDITS)
def possible_artists(credit: str) -> Mapping[str, str]:
    """Key and text of everything that could be an artist, the most complete text first."""
    sections = _split_featuring(credit)
    texts = [
        *([whole] if (whole := _readable(credit).strip()) else []),
        *sections,
        *(p for s in sections for p in _split_others(s)),
    ]
    found: dict[str, str] = {}
    for text in texts:
        if not _is_no_artist(text):
            found.setdefault(artist_key(text), text)
    # Read-only, because all callers share it.
    return MappingProxyType(found)


@lru_cache(maxsize=CACHED_CREDITS)
def name_lead(credit: str) -> str:
    """The lead artist of a credit for a sentence, split without the catalogue; '' if it names none.

    "Drake / Kanye West / Eminem" gives "Drake"; "Jason Mraz & Colbie Caillat" may be a group's name.
    """
    lead = ArtistCredits([credit]).lead(credit)
    if artist_key(lead) in WHOLE_NAMES:
        return lead
    first = STRONG_SEPARATOR.split(lead)[0].strip() or lead
    parts = _split_others(first)
    return parts[0] if len(first) > MAX_LEAD_LENGTH and parts else first


def shared_artist(credit: str, other: str) -> str:
    """The artist in both credits, as the first writes it; '' if there is none.

    Use it only for credits that are known to share an artist, because it splits without the catalogue.
    """
    theirs = possible_artists(other)
    return next((text for key, text in possible_artists(credit).items() if key in theirs), "")
