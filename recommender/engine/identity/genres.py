"""Genres: split, compare and spell them."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from recommender.engine.identity.text import INVISIBLE, fold_key, fold_words, unescape_entities


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SEPARATORS: Final = re.compile(
    r"(?:\s+(?=#)|[,;/\\|>\n\t\u00a6\u060c\u061b\u2022\u00b7\u2027\u2219\u25cf\u25e6\u30fb\uff0c\uff1b\uff0f\u3001])+"
)
# Around a genre, if the source sends a list as text, hashtags or exclamations.
TRIMMED: Final = " []{}\"'\u201c\u201d`#.!-"
TAG: Final = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)  # of HTML; "<3" is none
# A slash within a genre, and a value that means that there is none.
SLASHED: Final = re.compile(r"\b(singer)\s*/\s*(songwriter)\b|\bn/a\b", re.IGNORECASE)
NO_GENRES: Final = frozenset(
    ["", "none", "null", "nan", "unknown", "unknowngenre", "undefined", "unclassified", "other", "misc",
     "miscellaneous", "genre", "nogenre", "notspecified"]
)  # fmt: skip
# Usual spelling. Any other genre is written as the source writes it, in lower case.
WRITTEN: Final[Mapping[str, str]] = {
    fold_key(name): name
    for name in (
        "R&B", "contemporary R&B", "alternative R&B", "EDM", "IDM", "EBM", "UK garage", "UK drill", "AOR",
        "NWOBHM", "MPB", "hip-hop", "trip-hop", "alternative hip-hop", "underground hip-hop", "K-pop",
        "J-pop",
        "C-pop", "J-rock", "K-rock", "lo-fi", "post-punk", "post-rock", "post-hardcore", "synth-pop",
        "nu metal", "power pop", "nu-disco", "neo-soul", "drum & bass", "rock & roll",
        "singer-songwriter", "Britpop",
        "Italo disco", "DJ", "OPM", "Christian", "Eurodance", "Europop", "Latin", "Latin pop", "Latin jazz",
        "Afrobeat", "Afrobeats", "Americana", "Celtic", "Motown", "Dixieland", "Krautrock", "Madchester",
        "New Age", "G-funk", "big band", "a cappella", "8-bit", "2-step",
    )
}  # fmt: skip
# Other names of a genre. Staff add more in the admin.
BUILT_IN_ALIASES: Final[Mapping[str, str]] = {
    "rhythm and blues": "R&B", "electronic dance music": "EDM", "d&b": "drum & bass",
    "alt rock": "alternative rock", "alt country": "alternative country",
    "electronic music": "electronic", "electronica": "electronic", "classical music": "classical",
    "japanese pop": "J-pop", "korean pop": "K-pop", "soundtracks": "soundtrack", "score": "soundtrack",
    "brasil": "Brazilian", "brazil": "Brazilian", "japan": "Japanese", "russia": "Russian",
    "poland": "Polish", "germany": "German", "deutsch": "German", "france": "French", "korea": "Korean",
    "italia": "Italian", "italy": "Italian", "spain": "Spanish",
    "female vocalist": "female vocalists", "male vocalist": "male vocalists",
    "singer & songwriter": "singer-songwriter",
}  # fmt: skip
# Adjectives that English writes with a capital letter.
CAPITALISED: Final = _words(
    "african american arabic argentinian asian australian austrian belgian brazilian british "
    "bulgarian canadian caribbean celtic chilean chinese christian colombian cuban czech danish dutch "
    "english european finnish french german greek hawaiian hungarian icelandic indian indonesian "
    "iranian irish israeli italian jamaican japanese jewish korean latin mexican nordic norwegian "
    "polish portuguese romanian russian scandinavian scottish serbian spanish swedish swiss turkish "
    "ukrainian welsh"
)
# Short words that are not abbreviations, for a source that writes in capitals.
SHORT_WORDS: Final = _words(
    "acid art bass beat club dark deep doom drum dub emo fado folk funk goa hard jazz jive metal neo "
    "new noir old pop post punk rai rap raga rock ska slow soft son soul surf teen tejo trap trip "
    "wave"
)
# A word in capitals of at most this many letters is an abbreviation, such as "MPB".
MAX_ABBREVIATION: Final = 4
# Lists of recommendations compare the same few texts again and again.
CACHED_TEXTS: Final = 4096


def split_genres(text: str) -> list[str]:
    """The genres of a text as the source writes them, each once, in order.

    Commas, semicolons, slashes, bars or bullets may separate genres. Values such as "unknown" are left out.
    """
    plain = TAG.sub(" ", INVISIBLE.sub("", unescape_entities(text)))
    whole = SLASHED.sub(lambda found: "-".join(part for part in found.groups() if part), plain)
    parts = [" ".join(part.split()).strip(TRIMMED) for part in SEPARATORS.split(whole)]
    found = {fold_key(part): part for part in reversed(parts)}
    return [part for key, part in reversed(found.items()) if key not in NO_GENRES]


class GenreNames:
    def __init__(self, aliases: Mapping[str, str] | None = None) -> None:
        """Add `aliases` (other name to genre, in any spelling) to the built-in ones, which they override."""
        table = {**BUILT_IN_ALIASES, **(aliases or {})}
        self._genres = {fold_key(name): write_genre(genre) for name, genre in table.items() if genre.strip()}
        self._cached_normalise = lru_cache(maxsize=CACHED_TEXTS)(self._normalise)

    def resolve(self, genre: str) -> str:
        """The genre that a name or alias means, in its usual spelling."""
        seen = {fold_key(genre)}
        written = write_genre(genre)
        # An alias may lead to another alias; a cycle ends where it began.
        while (following := self._genres.get(fold_key(written))) and fold_key(following) not in seen:
            written = following
            seen.add(fold_key(written))
        return written

    def normalise(self, text: str) -> str:
        """All genres of a text in their usual spelling, each once, separated by ", "."""
        return self._cached_normalise(text)

    def _normalise(self, text: str) -> str:
        genres = {fold_key(genre): genre for genre in map(self.resolve, reversed(split_genres(text)))}
        return ", ".join(reversed(genres.values()))

    def normalise_all(self, texts: Iterable[str]) -> list[str]:
        known: dict[str, str] = {}
        return [
            known[text] if text in known else known.setdefault(text, self.normalise(text)) for text in texts
        ]

    def spellings(self, genre: str) -> set[str]:
        wanted = fold_key(self.resolve(genre))
        return {wanted, *(name for name in self._genres if fold_key(self.resolve(name)) == wanted)}


@lru_cache(maxsize=CACHED_TEXTS)
def genre_keys(text: str) -> tuple[str, ...]:
    return tuple(fold_key(genre) for genre in split_genres(text))


def shared_genre(genres: str, favorites: str) -> str:
    """The first favourite genre that the song has; '' if none. Both texts must be normalised."""
    song_genres = set(genre_keys(genres))
    return next((genre for genre in split_genres(favorites) if fold_key(genre) in song_genres), "")


def genre_words(text: str) -> list[str]:
    """Keys of genres and of their words: "Indie Rock, Pop" gives "indierock", "pop", "indie", "rock"."""
    genres = split_genres(text)
    words = [word for genre in genres for word in words_of_genre(genre)]
    return list(dict.fromkeys([*map(fold_key, genres), *words]))


def words_of_genre(genre: str) -> list[str]:
    """The words of a genre, without "and" and single letters; empty for a genre of one word."""
    words = fold_words(genre).split()
    return [word for word in words if len(word) > 1] if len(words) > 1 else []


def write_genre(genre: str) -> str:
    """Write a genre as within a sentence: "R&B", "K-pop", "indie rock", "Latin jazz"."""
    if known := WRITTEN.get(fold_key(genre)):
        return known
    return " ".join(_write_word(word) for word in genre.split())


def _write_word(word: str) -> str:
    lower = word.lower()
    if word.isupper() and word.isalpha() and 1 < len(word) <= MAX_ABBREVIATION and lower not in SHORT_WORDS:
        return word
    return lower.capitalize() if lower in CAPITALISED else lower


def capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]
