"""Stored English sentences in the reader's language, found again by the pattern that wrote them.

Decisions, gates and reports are stored and hashed as English text. A sentence that no pattern matches, such
as one that a person typed or a technical error, stays as it is.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from django.utils.formats import get_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _

from ingestion.models.catalogue import RESOURCES

PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
# Thousands are separated by commas, or by spaces of any kind.
NUMBER: Final = r"[+-]?(?:\d{1,3}(?:[,\s]\d{3})+|\d+)(?:\.\d+)?"
# What stands for a placeholder, by the end of its name; any other one stands for a number.
KINDS: Final[Mapping[str, str]] = {
    "text": r".+",  # another sentence or a part of one, which has patterns of its own
    "name": r"\S+",  # of a version or a method: the same in every language
    "ratio": r"(?:over )?[\d,.]+ : [\d,.]+",
    "date": r"\d{4}-\d\d-\d\d(?: \d\d:\d\d)?",
    "numbers": r"\d+(?:, \d+)*",
    "user": r"[\w.@+-]+",
    "typed": r".+",  # what a person typed, or a technical error
}
AS_WRITTEN: Final = frozenset({"name", "date", "numbers", "user", "typed"})
JOINS: Final = re.compile(r"[,;] ")
MOST_JOINS: Final = 100
WORD: Final = re.compile(r"(?<![{\w])[a-zA-Z]{2}")
THIN_SPACE: Final = "\N{NARROW NO-BREAK SPACE}"


class SentencePatterns:
    def __init__(self, templates: Sequence[str]) -> None:
        """Learn the sentences that `templates` write; the first one that matches a text counts."""
        self._patterns = [(template, _compile(template)) for template in templates]

    def translate(self, text: str) -> str | None:
        """The sentence in the active language; None if it, or a part of it, has no pattern."""
        if (get_language() or "en").startswith("en"):
            return text
        # Each part of a joined sentence takes frames of Python's stack, and a person may type any number.
        if len(JOINS.findall(text)) > MOST_JOINS:
            return None
        return self._translate(text, {})

    def _translate(self, text: str, known: dict[str, str | None]) -> str | None:
        """`known` has the parts that were translated, which several patterns try again."""
        if text not in known:
            known[text] = self._match(text, known)
        return known[text]

    def _match(self, text: str, known: dict[str, str | None]) -> str | None:
        for template, pattern in self._patterns:
            if found := pattern.fullmatch(text):
                parts = {
                    name: self._translate_part(name, part, known) for name, part in found.groupdict().items()
                }
                if None not in parts.values():
                    # Joins of sentences have no words.
                    return (_(template) if WORD.search(template) else template).format(**parts)
        return None

    def _translate_part(self, name: str, part: str, known: dict[str, str | None]) -> str | None:
        kind = _kind_of(name)
        if kind == "text":
            return self._translate(part, known)
        return part if kind in AS_WRITTEN else localize_numbers(part)


def localize_numbers(text: str) -> str:
    """English numbers as the active language writes them: 36,524.5 in French has a space and a comma."""
    grouped = re.sub(
        r"(?<=\d)[,\s](?=\d{3})", THIN_SPACE, text.replace("over 1,000,000", _("over 1,000,000"))
    )
    return re.sub(r"(?<=\d)\.(?=\d)", str(get_format("DECIMAL_SEPARATOR")), grouped)


def _compile(template: str) -> re.Pattern[str]:
    pieces = PLACEHOLDER.split(template)
    texts, names = pieces[::2], pieces[1::2]
    groups = [f"(?P<{name}>{KINDS.get(_kind_of(name), NUMBER)})" for name in names]
    return re.compile(
        "".join(re.escape(text) + group for text, group in zip(texts, [*groups, ""], strict=True))
    )


def _kind_of(name: str) -> str:
    return name.rsplit("_", 1)[-1].rstrip("0123456789")


_RUN_PATTERNS: Final = SentencePatterns(
    [
        gettext_noop(
            "{received} {resource_text}: {new} new, {changed} changed, {unchanged} unchanged, "
            "{rejected} rejected, {missing} missing"
        ),
        gettext_noop(
            "{received} {resource_text} as of {read_date} UTC: {new} new, {changed} changed, "
            "{unchanged} unchanged, {rejected} rejected, {missing} missing"
        ),
        gettext_noop("{rows} sent more than once"),
        gettext_noop("{rows} reported by the source"),
        gettext_noop("{rows} share listener and time with a different session"),
        gettext_noop("{rows} expired at the source"),
        gettext_noop("{rows} with a time after the run"),
        "{received_text}, {note_text}",
        "{first_text}; {more_text}",
        *(label for _value, label in RESOURCES),
    ]
)


def run_summary(text: str) -> SafeString:
    """The summary of a run in the active language.

    It is marked as English if it names reasons of rejections or corrections, which are.
    """
    translated = _RUN_PATTERNS.translate(text)
    if translated is not None:
        return format_html("{}", translated)
    return format_html('<span lang="en" translate="no">{}</span>', text)
