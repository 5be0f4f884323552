"""The listener page in French: every text is translated, and every stored sentence is known."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polib  # type: ignore[import-untyped]
import pytest
from django.utils import translation

from recommender.dashboard.listen.wording import (
    KINDS,
    SENTENCES,
    WORDS,
    describe_style,
    translate_name,
    translate_sentence,
)
from recommender.engine.clustering.labeling import MOODS
from recommender.models import Feedback
from recommender.serving import explanations
from tests.support.project import ROOT

FRENCH = ROOT / "moovitamix" / "locale" / "fr" / "LC_MESSAGES" / "django.po"
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def texts_of_templates() -> Iterator[str]:
    for file in (ROOT / "templates" / "listen").glob("*.html"):
        text = file.read_text()
        yield from re.findall(r'{% translate "([^"]+)" %}', text)
        for body in re.findall(r"{% blocktranslate[^%]*%}(.*?){% endblocktranslate %}", text, re.DOTALL):
            yield re.sub(r"{{ (\w+) }}", r"%(\1)s", body)


def texts_of_code() -> Iterator[str]:
    for file in (ROOT / "recommender" / "dashboard" / "listen").glob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            match call:
                case ast.Call(
                    func=ast.Name("_" | "gettext_noop" | "gettext_lazy"), args=[ast.Constant(str(text))]
                ):
                    yield text


def reasons() -> list[str]:
    """Every kind of reason and limit that a list may have."""
    played = [NOW - timedelta(days=days) for days in (3, 80, 700)]
    limits = [text for texts in explanations.RELAXED_TEXTS.values() for text in texts]
    return [
        explanations.FAVOURITE,
        explanations.DIFFERENT,
        explanations.artist_reason(["Ada Blue"]),
        explanations.artist_reason(["Ada Blue", "Bob"]),
        *(
            explanations.popularity_reason(genre, is_played=one)
            for genre in ("", "Rock")
            for one in (True, False)
        ),
        *(explanations.new_song_reason(familiar=one) for one in (True, False)),
        *(explanations.last_played_reason(at.timestamp(), NOW) for at in played),
        *(text.format(n=3) for text in limits),
        "None of the 20 songs by artists that are new to the user: no more of them could be recommended.",
        "7 of the 20 songs by artists that the user has played: no more of them could be recommended.",
    ]


def test_every_text_is_translated_and_no_translation_is_unused() -> None:
    french = polib.pofile(str(FRENCH))

    assert {entry.msgid for entry in french} == {*texts_of_templates(), *texts_of_code()}
    assert not french.untranslated_entries()
    assert FRENCH.with_suffix(".mo").read_bytes() == french.to_binary()


def test_the_french_names_the_same_values_as_the_english() -> None:
    value = re.compile(r"{\w+}|%\(\w+\)s")

    for entry in polib.pofile(str(FRENCH)):
        assert sorted(value.findall(entry.msgstr)) == sorted(value.findall(entry.msgid)), entry


@pytest.mark.parametrize("reason", reasons())
def test_every_stored_sentence_is_known_and_says_you_to_the_listener(reason: str) -> None:
    with translation.override("en"):
        english = translate_sentence(reason)
    with translation.override("fr"):
        french = translate_sentence(reason)

    assert french != reason
    assert "the user" not in english
    assert not re.search(r"\b(the|you|of|songs?)\b", french)


def test_a_stored_sentence_keeps_its_names_and_dates() -> None:
    with translation.override("fr"):
        assert (
            translate_sentence("Because you play Ada Blue and Bob")
            == "Parce que vous écoutez Ada Blue et Bob"
        )
        assert translate_sentence("You last heard it on 3 May") == "Vous l’avez écouté le 3 mai"  # noqa: RUF001
        assert translate_sentence("Something unknown") == "Something unknown"


def test_every_word_of_a_cluster_s_name_is_translated() -> None:
    assert set(WORDS) == {word for words in MOODS.values() for word in words if word}
    with translation.override("fr"):
        assert translate_name("Country, 1990s, calm") == "Country, années 1990, calme"
        assert translate_name("Cluster 7") == "Style 7"
        assert describe_style("rock", ["calm", "1990s"]) == "rock calme des années 1990"
    assert len(set(SENTENCES)) == len(SENTENCES)


def test_every_kind_of_feedback_is_translated() -> None:
    assert set(KINDS) == set(Feedback.Kind.labels)
