"""The French catalogues are complete and up to date, and the help of commands is French."""

import re
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command, get_commands, load_command_class
from django.utils import translation

from ingestion.management.base import GuidedCommand, help_language
from tests.support.project import ROOT
from tests.support.translatable_texts import PACKAGES, PLACEHOLDER, all_texts, catalogues

# Entries for texts of packages that have no French catalogue of their own, with this comment.
FOREIGN = "Text of a package"
# Terms that some sentences leave out, or that are also parts of commands or words of the listeners' page.
REWORDED = {
    "baseline", "drift", "experiment", "feedback", "ingestion run", "listener", "rollback", "round", "song",
    "training",
}  # fmt: skip
TRANSLATED_LABEL = re.compile(r"\.get_\w+_display\(|_meta\.verbose_name")
# They translate the labels, put them into English, and show them on pages.
LABELS_FOLLOW_READER = {"languages.py", "english.py", "admin.py"}


def test_every_text_is_translated_and_no_translation_is_unused() -> None:
    entries = [entry for catalogue in catalogues().values() for entry in catalogue]
    plain = [entry for entry in entries if not entry.msgctxt]
    ours = {entry.msgid for entry in plain if not entry.comment.startswith(FOREIGN)}
    texts = {text.msgid for text in all_texts()}

    assert sorted(texts - {entry.msgid for entry in plain}) == []
    assert sorted(ours - texts) == []


def test_no_text_has_two_translations_and_none_is_fuzzy_or_obsolete() -> None:
    entries = [entry for catalogue in catalogues().values() for entry in catalogue]

    assert not [entry.msgid for entry in entries if entry.fuzzy or entry.obsolete or not entry.translated()]
    assert len({entry.msgid_with_context for entry in entries}) == len(entries)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_compiled_catalogue_is_up_to_date(package: str) -> None:
    file = ROOT / package / "locale" / "fr" / "LC_MESSAGES" / "django.mo"

    assert file.read_bytes() == catalogues()[package].to_binary(), "see docs/contributing.md, Translations"


def test_the_french_has_the_values_of_the_english() -> None:
    def values(text: str) -> set[str]:
        return set(PLACEHOLDER.findall(text))

    for entry in (entry for catalogue in catalogues().values() for entry in catalogue):
        english = entry.msgid_plural or entry.msgid
        for french in entry.msgstr_plural.values() or [entry.msgstr]:
            assert values(french) == values(english), entry.msgid


def test_the_help_of_every_command_is_french_and_names_the_same_options(monkeypatch: Any) -> None:
    ours = {name: app for name, app in get_commands().items() if app in PACKAGES and name != "test"}
    helps = {}
    for language in ("en", "fr"):
        monkeypatch.setenv("LANGUAGE", language)
        helps[language] = {
            name: load_command_class(app, name).create_parser("manage.py", name).format_help()
            for name, app in ours.items()
        }

    assert len(ours) > 25
    for name, french in helps["fr"].items():
        english = helps["en"][name]
        assert english.startswith("usage: ")
        assert french.startswith("usage\N{NO-BREAK SPACE}: ")
        same = set(english.splitlines()) & set(french.splitlines())
        prose = [line for line in same if len(line.split()) > 3 and "manage.py" not in line]
        assert [line for line in prose if not line.startswith(("  -", "  curl", "scen"))] == [], name


def test_the_french_has_the_terms_of_the_glossary() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text().partition("## French")[2]
    terms = dict(re.findall(r"^\| ([^,|]+) \| ([^,|]+) \|$", glossary, re.MULTILINE))
    entries = [entry for catalogue in catalogues().values() for entry in catalogue]

    others = []
    for term in terms.keys() - REWORDED - {"term"}:
        stem = terms[term].split()[0][:5].lower()
        english = re.compile(rf"\b{re.escape(term)}(s|es)?\b", re.IGNORECASE)
        for entry in (entry for entry in entries if english.search(entry.msgid)):
            french = " ".join([entry.msgstr, *entry.msgstr_plural.values()]).lower()
            if stem not in french:
                others.append((term, french))

    assert "refresh" in terms
    assert others == []


def test_labels_are_in_english_wherever_no_page_shows_them() -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    shown = {"admin", "dashboard", "models", "migrations"}
    elsewhere = [
        file for file in files if not shown & set(file.parts) and file.name not in LABELS_FOLLOW_READER
    ]

    assert len(elsewhere) > 100
    assert [str(file) for file in elsewhere if TRANSLATED_LABEL.search(file.read_text())] == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LANGUAGE": "de:fr_FR.UTF-8:en", "LANG": "en_GB.UTF-8"}, "fr"),
        ({"LANGUAGE": "", "LC_ALL": "", "LC_MESSAGES": "fr_CA.UTF-8", "LANG": "C.UTF-8"}, "fr"),
        ({"LANGUAGE": "", "LC_ALL": "C.UTF-8", "LANG": "fr_FR.UTF-8"}, "en"),
    ],
)
def test_help_is_in_the_language_of_the_terminal(
    monkeypatch: Any, variables: dict[str, str], expected: str
) -> None:
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.setenv(name, variables.get(name, ""))

    assert help_language() == expected


def test_language_code_goes_before_the_terminal_s_language(settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("LANGUAGE", "en")
    settings.LANGUAGE_CODE, settings.IS_LANGUAGE_SET = "fr", True

    assert help_language() == "fr"


def test_only_the_help_of_a_command_is_translated() -> None:
    class Command(GuidedCommand):
        def handle(self, *_: Any, **__: Any) -> str:
            return translation.get_language() or ""

    said = StringIO()
    with translation.override("fr"):
        call_command(Command(), stdout=said)

    assert said.getvalue() == "en\n"
