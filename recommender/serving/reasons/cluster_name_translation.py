"""Names of clusters in the reader's language: "Country, 1990s" and "1990s country"."""

import re
from collections.abc import Collection, Sequence
from typing import Final

from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _

from recommender.engine.identity.credits import WHOLE_NAMES, artist_key
from recommender.engine.identity.name_words import is_known_genre
from recommender.models import Cluster
from recommender.models.naming import known_names

# Words of cluster names, as `engine.clustering.labeling` writes them.
WORDS: Final = (
    gettext_noop("energetic"), gettext_noop("calm"), gettext_noop("cheerful"), gettext_noop("sad"),
    gettext_noop("danceable"), gettext_noop("acoustic"), gettext_noop("instrumental"), gettext_noop("spoken"),
    gettext_noop("live"), gettext_noop("fast"), gettext_noop("slow"), gettext_noop("loud"),
    gettext_noop("quiet"),
)  # fmt: skip
DECADE: Final = re.compile(r"\d{4}s")
CLUSTER: Final = re.compile(r"Cluster (\d+)")


def cluster_name(cluster: Cluster) -> str:
    """The cluster's name in the reader's language; a name that staff chose stays as they wrote it."""
    if cluster.is_named_by_staff:
        return cluster.shown_name
    return translate_name(cluster.shown_name, moods=cluster.facts.get("moods", ()))


def stored_cluster_name(name: str) -> str:
    """Translate a name of which only the text is stored; its first word may be a band's, such as "Live"."""
    return translate_name(name, moods=())


def family_name(cluster: Cluster) -> str:
    """The name of the cluster's group of similar clusters in the reader's language; "" without one."""
    return translate_name(str(cluster.facts.get("family", {}).get("name", "")))


def translate_name(name: str, *, moods: Collection[str] = WORDS) -> str:
    """Translate an automatic name, such as "Country, 1990s"; one that staff chose stays as they wrote it.

    Args:
        moods: the moods that the name may begin with; "Live" is also a band.
    """
    if _is_english() or name in known_names().chosen:
        return name
    if ", " in name and _is_whole(name):
        return name
    if numbered := CLUSTER.fullmatch(name):
        return _("Cluster {number}").format(number=numbered[1])
    head, *extras = name.split(", ")
    if head.lower() in WORDS and head.lower() in moods:
        head = _(head.lower()).capitalize()
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
    """Translate the "and" between two names, but not within "Drum and Bass" or "Belle and Sebastian"."""
    words = names.split(" and ")
    if len(words) == 1 or _is_whole(names):
        return names
    # "Drum and Bass and Techno": a side that has an "and" of its own must be known.
    for n in range(1, len(words)):
        sides = [" and ".join(words[:n]), " and ".join(words[n:])]
        if all(" and " not in side or _is_whole(side) for side in sides):
            return join_names(sides)
    return join_names(names.split(" and ", 1))


def _is_whole(name: str) -> bool:
    """Whether an "and" or a comma belongs to a known genre or group, such as "Earth, Wind and Fire"."""
    return is_known_genre(name) or artist_key(name) in WHOLE_NAMES


def translate_word(word: str) -> str:
    """Translate a mood or a decade of a cluster's name; any other word stays as it is."""
    if _is_english():
        return word
    if DECADE.fullmatch(word):
        return _("the {decade}").format(decade=word.rstrip("s"))
    return _(word) if word in WORDS else word


def _is_english() -> bool:
    return (get_language() or "en").startswith("en")
