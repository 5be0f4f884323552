"""Stored English sentences and names of styles, in the language of the reader.

Lists keep the reasons of their songs as English sentences; these are the sentences that they may be.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Final

from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _

# Texts of `serving.explanations`; a test holds that every reason and limit matches one.
SENTENCES: Final = (
    gettext_noop("One of the songs that you play most"),
    gettext_noop("Something different to try"),
    gettext_noop("By an artist you play: hardly anyone has played it yet"),
    gettext_noop("Hardly anyone has played it yet"),
    gettext_noop("Popular with all listeners"),
    gettext_noop("Popular in {genre}, one of your favourite genres"),
    gettext_noop("New in {genre}, one of your favourite genres"),
    gettext_noop("Because you play {artists}"),
    gettext_noop("You last heard it on {day} {month}"),
    gettext_noop("You have not heard it since {month} {year}"),
    gettext_noop("You have not heard it since {month}"),
    gettext_noop("{n} songs were heard before: too few others are left."),
    gettext_noop("1 song was heard before: too few others are left."),
    gettext_noop("{n} songs exceed the limit of songs by one artist: too few others are left."),
    gettext_noop("1 song exceeds the limit of songs by one artist: too few others are left."),
    gettext_noop("{n} songs are no favourites: the user has not played enough songs."),
    gettext_noop("1 song is no favourite: the user has not played enough songs."),
    gettext_noop("{n} songs were given in the last two hours: no others are left."),
    gettext_noop("1 song was given in the last two hours: no others are left."),
    gettext_noop(
        "{found} of the {songs} songs by artists that are new to the user: "
        "no more of them could be recommended."
    ),
    gettext_noop(
        "{found} of the {songs} songs by artists that the user has played: "
        "no more of them could be recommended."
    ),
)
# Words of cluster names, as `engine.clustering.labeling` writes them, and kinds of feedback.
WORDS: Final = (
    gettext_noop("energetic"), gettext_noop("calm"), gettext_noop("cheerful"), gettext_noop("sad"),
    gettext_noop("danceable"), gettext_noop("acoustic"), gettext_noop("instrumental"), gettext_noop("spoken"),
    gettext_noop("live"), gettext_noop("fast"), gettext_noop("slow"), gettext_noop("loud"),
    gettext_noop("quiet"),
)  # fmt: skip
KINDS: Final = (
    gettext_noop("Like"), gettext_noop("Dislike"), gettext_noop("Skip"), gettext_noop("Listen"),
    gettext_noop("wrong style"), gettext_noop("Clear"),
)  # fmt: skip
NONE_FOUND: Final = gettext_noop("None")
DECADE: Final = re.compile(r"\d{4}s")
CLUSTER: Final = re.compile(r"Cluster (\d+)")


def translate_sentence(text: str) -> str:
    """The sentence in the reader's language; an unknown one stays as it is."""
    for template in SENTENCES:
        if found := _pattern(template).fullmatch(text):
            values = {name: _translate_value(name, value) for name, value in found.groupdict().items()}
            return _(template).replace("the user has", "you have").replace("the user", "you").format(**values)
    return text


def translate_name(name: str) -> str:
    """A cluster's name, such as "Country, 1990s"."""
    if _is_english():
        return name
    if numbered := CLUSTER.fullmatch(name):
        return _("Cluster {number}").format(number=numbered[1])
    head, *extras = name.split(", ")
    head = _(head.lower()).capitalize() if head.lower() in WORDS else head
    if DECADE.fullmatch(head):
        head = _translate_word(head).capitalize()
    return ", ".join([_translate_pair(head), *(_translate_pair(_translate_word(one)) for one in extras)])


def describe_style(genre: str, extras: Sequence[str]) -> str:
    """A style within a sentence: "calm 1990s rock", in French "rock calme des ann\u00e9es 1990"."""
    decades = [extra for extra in extras if DECADE.fullmatch(extra)]
    moods = [extra for extra in extras if extra not in decades]
    if _is_english():
        return " ".join([*moods, *decades, genre])
    spoken = [_("of the {decade}").format(decade=decade.rstrip("s")) for decade in decades]
    return " ".join([_translate_pair(genre), *(_translate_word(mood) for mood in moods), *spoken])


def join_names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else _("{first} and {second}").format(first=names[0], second=names[1])


def _translate_value(name: str, value: str) -> str:
    if name == "month" or (name == "found" and value == NONE_FOUND):
        return _(value)
    return _translate_pair(value) if name == "artists" else value


def _translate_pair(names: str) -> str:
    return join_names(names.split(" and ", 1))


def _translate_word(word: str) -> str:
    if DECADE.fullmatch(word):
        return _("the {decade}").format(decade=word.rstrip("s"))
    return _(word) if word in WORDS else word


@cache
def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    fields = {"month": r"[A-Z]\w+", "day": r"\d+", "year": r"\d+", "n": r"\d+", "songs": r"\d+"}
    return re.compile(
        "".join(
            f"(?P<{part}>{fields.get(part, '.+')})" if place % 2 else re.escape(part)
            for place, part in enumerate(parts)
        ),
        re.DOTALL,
    )


def _is_english() -> bool:
    return (get_language() or "en").startswith("en")
