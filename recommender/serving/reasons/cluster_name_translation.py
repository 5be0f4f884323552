"""Names of clusters in the reader's language: "Country, 1990s" and "1990s country"."""

import re
from collections.abc import Sequence
from typing import Final

from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _

# Words of cluster names, as `engine.clustering.labeling` writes them.
WORDS: Final = (
    gettext_noop("energetic"), gettext_noop("calm"), gettext_noop("cheerful"), gettext_noop("sad"),
    gettext_noop("danceable"), gettext_noop("acoustic"), gettext_noop("instrumental"), gettext_noop("spoken"),
    gettext_noop("live"), gettext_noop("fast"), gettext_noop("slow"), gettext_noop("loud"),
    gettext_noop("quiet"),
)  # fmt: skip
DECADE: Final = re.compile(r"\d{4}s")
CLUSTER: Final = re.compile(r"Cluster (\d+)")


def translate_name(name: str) -> str:
    """Translate a cluster's name, such as "Country, 1990s"."""
    if _is_english():
        return name
    if numbered := CLUSTER.fullmatch(name):
        return _("Cluster {number}").format(number=numbered[1])
    head, *extras = name.split(", ")
    head = _(head.lower()).capitalize() if head.lower() in WORDS else head
    if DECADE.fullmatch(head):
        head = translate_word(head).capitalize()
    return ", ".join([_translate_pair(head), *(_translate_pair(translate_word(one)) for one in extras)])


def describe_style(genre: str, extras: Sequence[str]) -> str:
    """Describe a style within a sentence: "calm 1990s rock", in French "rock calme des années 1990"."""
    decades = [extra for extra in extras if DECADE.fullmatch(extra)]
    moods = [extra for extra in extras if extra not in decades]
    if _is_english():
        return " ".join([*moods, *decades, genre])
    spoken = [_("of the {decade}").format(decade=decade.rstrip("s")) for decade in decades]
    return " ".join([_translate_pair(genre), *(translate_word(mood) for mood in moods), *spoken])


def join_names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else _("{first} and {second}").format(first=names[0], second=names[1])


def _translate_pair(names: str) -> str:
    return join_names(names.split(" and ", 1))


def translate_word(word: str) -> str:
    """Translate a mood or a decade of a cluster's name; any other word stays as it is."""
    if _is_english():
        return word
    if DECADE.fullmatch(word):
        return _("the {decade}").format(decade=word.rstrip("s"))
    return _(word) if word in WORDS else word


def _is_english() -> bool:
    return (get_language() or "en").startswith("en")
