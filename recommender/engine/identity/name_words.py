"""Words that names and reasons may contain: no profanity, opinions, emotions or private notes."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from recommender.engine.identity.genres import CAPITALISED, WRITTEN, split_genres, words_of_genre
from recommender.engine.identity.text import fold_key, fold_words


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MAX_GENRE_LENGTH: Final = 24
MAX_GENRE_WORDS: Final = 3
# Between the parts of a name, also if staff typed it in capitals.
SEPARATOR: Final = re.compile(r",| and ", re.IGNORECASE)
# A genre with one of these words is not allowed.
WORDS: Final = _words(
    # a person's note or opinion
    "i im ive my me mine myself you your yours u ur we our they their who whom this that these those "
    "what when why best worst favorite favorites favourite favourites fav favs fave faves favorit "
    "favoriten awesome amazing awful terrible horrible perfect perfection overrated underrated "
    "brilliant genius masterpiece legend legends legendary excellent superb fantastic wonderful "
    "greatest ever never always loved lovely hate hated likes liked lol omg wtf xd sucks sucker "
    "boring annoying crap ass arse tits cock dick balls damn gods seen listen listened listening "
    "heard hear check checkout todo owned own wishlist discover discovered recommended "
    "recommendations playlist playlists library spotify lastfm youtube itunes mp3 wav vinyl tag tags "
    "rating ratings rated stars listeners scrobbled addicted addictive guilty pleasure pleasures "
    "not phat better than tranny trannies kike kikes chink chinks spic spics coon coons dyke dykes gook "
    "gooks "
    # not a genre
    "misc miscellaneous unknown unclassifiable various unsorted undefined null none nan na other "
    "others genre untagged temp test"
)
# Word stems that are profane with any ending.
PROFANE_STEMS: Final = (
    "fuck", "shit", "cunt", "bitch", "nigg", "fagg", "whore", "slut", "wank", "asshol", "arsehol", "motherf",
    "piss", "porn", "pussy", "rapist", "retard", "twat", "bollock", "dickhead",
    "puta", "mierda", "pendej", "cabron", "chinga", "merde", "putain", "salope", "connard", "encul",
    "scheiss", "arschl", "fotze", "hurens", "kurw", "pierdol", "сука", "суки",
    "бляд", "пизд", "\u0445\u0443\u0439",
    "cazz", "stronz", "vaffan", "caralh", "buceta", "klootz", "vittu", "orospu",
)  # fmt: skip
# Digits and signs that stand for letters, as in "sh1t" and "a$$", and a sign for a vowel, as in "f*ck".
LEET: Final = str.maketrans("01345@$!", "oieasasi")
MASKED_STEMS: Final = re.compile(
    "|".join(rf"\b{re.sub('[aeiou]', '[*#%_.-]', stem)}" for stem in PROFANE_STEMS if stem.isascii())
)
LONG_RUN: Final = re.compile(r"(.)\1{2,}")
SPELLED_OUT: Final = re.compile(r"(?<!\S)\w(?: \w(?!\w))+")  # "f u c k"
# A genre of only these words is not allowed: emotions, uses and words without a meaning of their own.
WORDS_ALONE: Final = _words(
    "dope love sad sadness happy happiness angry anger melancholy melancholic melancholia romantic "
    "beautiful beauty cool good great bad nice sweet cute sexy hot fun funny epic emotional emotion "
    "emotions depressing depressive depression dreamy relax relaxing relaxed calm calming sleep "
    "sleepy chill mellow soothing uplifting upbeat catchy haunting intense powerful passionate "
    "hypnotic nostalgic nostalgia sentimental bittersweet dark moody mood moods summer winter autumn "
    "spring rain night morning party driving workout study sex drugs drink drunk music musica musik "
    "musique song songs track tracks album albums artist artists band bands singer singers single "
    "singles hit hits classic classics oldies old new live male female man woman men women boy girl "
    "guy guys girls hottie love it like n the a an of to in on for with and at by from is are was be "
    "yes no star gay lesbian god jesus evil death crazy insane weird strange random interesting "
    "original talented talent voice vocals vocal lyrics instrument instruments sound sounds rhythm "
    "melody melodic cover covers"
)
# "90s", "1990s", "90er"; a name shows its decade separately.
ERA: Final = re.compile(r"(?:19|20)?\d0'?(?:s|er|ies)?|(?:19|20)\d\d")
# With the words that these end with, they are known genres; other words need more artists.
KNOWN_GENRES: Final = Path(__file__).with_name("known_genres.txt")
MORE_KNOWN_GENRES: Final = (
    "acoustic", "afrobeats", "amapiano", "anime", "arabesque", "audiobook", "children", "city pop",
    "contemporary", "dance", "drill", "drone", "drum and bass", "experimental", "female vocalists", "folk",
    "glam", "gospel", "goth", "gothic", "hardcore", "hyperpop", "instrumental", "lounge", "male vocalists",
    "musical", "new age", "phonk", "piano", "podcast", "progressive", "psychedelic", "punk", "sertanejo",
    "soundtrack", "volksmusik", "world", "worship",
)  # fmt: skip
# Adjectives of countries and languages in some of their own languages, after the noun: "chanson française".
NATIVE_ADJECTIVES: Final = _words(
    "francais francaise argentino argentina espanol espanola italiano italiana brasileiro brasileira "
    "mexicano mexicana chileno chilena colombiano colombiana cubano cubana portugues portuguesa "
    "carioca nacional latino latina"
)
NOUN_FIRST: Final = _words("de do da di del")  # as in "samba de raiz"
TWO_LETTERS: Final = re.compile(r"[^\W\d_]{2}|[^\W\d_]\W{0,2}[^\W\d_]")


@dataclass(frozen=True)
class NameWords:
    """The built-in word list with changes by staff."""

    blocked: frozenset[str] = frozenset()  # folded words or genres
    allowed: frozenset[str] = frozenset()  # keys of genres that are allowed in any case

    @classmethod
    def with_changes(cls, *, blocked: Iterable[str] = (), allowed: Iterable[str] = ()) -> "NameWords":
        return cls(frozenset(map(fold_words, blocked)), frozenset(map(fold_key, allowed)))

    def allows(self, genre: str) -> bool:
        """Whether a cluster's name may contain a genre."""
        words = fold_words(genre).split()
        is_short = len(genre) <= MAX_GENRE_LENGTH and len(words) <= MAX_GENRE_WORDS + words.count("n")
        return fold_key(genre) in self.allowed or (is_short and self.is_neutral(genre))

    def is_neutral(self, genre: str) -> bool:
        """Whether a genre is no profanity, opinion, emotion or decade."""
        if fold_key(genre) in self.allowed:
            return True
        words = fold_words(genre).split()
        return (
            bool(words)
            and TWO_LETTERS.search(genre) is not None
            and not ERA.fullmatch(genre.casefold().strip())
            and not self.has_bad_word(genre)
            and not all(word in WORDS_ALONE for word in words)
        )

    def knows(self, genre: str) -> bool:
        """Whether a genre is a word of the field, or staff allow it.

        "Vocal trance" is known because trance is, "Polish" as an adjective of a country, and "rock argentino"
        because the noun comes first in Romance languages.
        """
        known, key = _known_genres(), fold_key(genre)
        if key in self.allowed or key in known:
            return True
        words = fold_words(genre).split()
        if not words:
            return False
        is_noun_first = len(words) > 1 and (words[1] in NOUN_FIRST or words[-1] in NATIVE_ADJECTIVES)
        is_known = words[-1] in known or (is_noun_first and words[0] in known)
        return is_known or words[-1] in CAPITALISED

    def share_genre(self, one: str, other: str) -> bool:
        """Whether two texts of genres share one: "Thrash metal" and "Black metal" are both metal.

        Opinions ("awesome") and words of another meaning ("music", "vocalists") do not count.
        """
        ours, theirs = _split(one), _split(other)
        allowed, known = _allowed_keys(self, one)
        return not known.isdisjoint(theirs.words) or not (allowed & ours.genres).isdisjoint(theirs.genres)

    def bars_name(self, name: str) -> bool:
        """Whether a part of a cluster's name contains a word that is not allowed."""
        return any(map(self.has_bad_word, parts_of(name)))

    def has_bad_word(self, text: str) -> bool:
        """Whether a text contains a word that is profane, personal or blocked by staff."""
        folded = fold_words(text)
        return fold_key(text) not in self.allowed and (
            (any(word in WORDS for word in folded.split()) and fold_key(text) not in _known_genres())
            or _is_profane(text, folded)
            or fold_key(text) in {fold_key(word) for word in self.blocked}
            or any(f" {word} " in f" {folded} " for word in self.blocked)
        )


class _SplitText(NamedTuple):
    genres: frozenset[str]  # keys
    words: Mapping[str, str]  # keys of genres and of their words, each as the text writes it


def is_known_genre(text: str) -> bool:
    """Whether the text as a whole is a genre of the field: "Drum and Bass" is, "Rock and Metal" are two."""
    return fold_key(text) in _known_genres()


@lru_cache(maxsize=4096)
def _split(text: str) -> _SplitText:
    genres = split_genres(text)
    words = [word for genre in genres for word in words_of_genre(genre)]
    return _SplitText(frozenset(map(fold_key, genres)), {fold_key(word): word for word in [*genres, *words]})


@lru_cache(maxsize=4096)
def _allowed_keys(words: NameWords, text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Keys of a text's genres and words that are allowed, and of those that are also known."""
    allowed = {key: word for key, word in _split(text).words.items() if words.allows(word)}
    return frozenset(allowed), frozenset(key for key, word in allowed.items() if words.knows(word))


@cache
def _known_genres() -> frozenset[str]:
    lines = KNOWN_GENRES.read_text(encoding="utf-8").splitlines()
    listed = (line for line in lines if not line.startswith("#"))
    return frozenset(fold_key(genre) for genre in (*listed, *MORE_KNOWN_GENRES, *WRITTEN.values()))


def _is_profane(text: str, folded: str) -> bool:
    plain = LONG_RUN.sub(r"\1", fold_words(text.translate(LEET)))
    joined = SPELLED_OUT.sub(lambda letters: letters[0].replace(" ", ""), folded)
    words = [*folded.split(), *plain.split(), *joined.split()]
    masked = MASKED_STEMS.search(text.casefold())
    return any(word.startswith(PROFANE_STEMS) for word in words) or (
        # "P.T." are initials, and no masked word.
        masked is not None and re.search(r"[*#%]|[a-z]{2}", masked[0]) is not None
    )


def name_key(name: str) -> str:
    """A key that is equal for names of the same parts: "Folk, calm, quiet" and "Folk, quiet, calm"."""
    return ",".join(sorted(fold_key(part) for part in parts_of(name)))


def parts_of(name: str) -> list[str]:
    """The genres, artists, decade or moods that a cluster's name consists of."""
    return [part.strip() for part in SEPARATOR.split(name)]


# Staff's changes of the list decide what people read, not which songs are similar.
BUILT_IN_WORDS: Final = NameWords()
