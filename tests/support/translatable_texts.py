"""Every text of ours that Django translates: what the French catalogues must have."""

import ast
import re
from argparse import SUPPRESS
from collections.abc import Iterator
from typing import Final, NamedTuple

import polib  # type: ignore[import-untyped]
from django.core.management import get_commands, load_command_class
from django.core.management.base import DjangoHelpFormatter
from django.utils import translation
from django.utils.translation.template import templatize

from ingestion.management.base import GuidedCommand
from moovitamix.languages import LABELLED_APPS, MARKED_LABELS, OUR_APPS
from tests.support.project import ROOT

PACKAGES: Final = ("moovitamix", *OUR_APPS)
ONE: Final = {"_", "_n", "_lazy", "gettext", "gettext_noop", "gettext_lazy"}
SEVERAL: Final = {"ngettext", "ngettext_lazy"}
PLACEHOLDER: Final = re.compile(r"{\w+(?::[^}]*)?}|%\(\w+\)s|%%")


class Text(NamedTuple):
    msgid: str
    plural: str = ""


# Its words are translated with a context of their own, since one English word may need two French ones.
WITH_CONTEXT: Final = ("alerts", "messages", "formatting.py")


def all_texts() -> dict[Text, str]:
    """Each text and the package whose catalogue has it: the first of `PACKAGES` that uses it."""
    found: dict[Text, str] = {}
    for package in PACKAGES:
        for text in _texts_of(package):
            found.setdefault(text, package)
    return found


def _texts_of(package: str) -> Iterator[Text]:
    if package == PACKAGES[0]:
        yield from _texts_of_templates()
    yield from _texts_of_code(package)
    yield from _labels_of_models(package)
    yield from _texts_of_commands(package)


def catalogues() -> dict[str, polib.POFile]:
    return {
        name: polib.pofile(str(ROOT / name / "locale" / "fr" / "LC_MESSAGES" / "django.po"))
        for name in PACKAGES
    }


def _texts_of_templates() -> Iterator[Text]:
    for file in (ROOT / "templates").rglob("*.html"):
        # Python code with the calls of a template, which xgettext reads, too.
        yield from _calls_in(_only_calls(templatize(file.read_text(), origin=str(file))))


def _only_calls(code: str) -> str:
    string = r"""u?'(?:[^'\\]|\\.)*'|u?"(?:[^"\\]|\\.)*\""""
    calls = re.findall(rf"\b(?:_|gettext|ngettext)\((?:{string})(?:,\s*(?:{string}),\s*\w+)?\)", code)
    return "\n".join(calls)


def _texts_of_code(package: str) -> Iterator[Text]:
    for file in (ROOT / package).rglob("*.py"):
        if file.parts[-3:] != WITH_CONTEXT:
            yield from _calls_in(file.read_text())


def _calls_in(code: str) -> Iterator[Text]:
    for call in ast.walk(ast.parse(code)):
        match call:
            case ast.Call(func=ast.Name(name), args=[ast.Constant(str(text))]) if name in ONE:
                yield Text(text)
            case ast.Call(func=ast.Name(name), args=[ast.Constant(str(one)), ast.Constant(str(more)), _]) if (
                name in SEVERAL
            ):
                yield Text(one, more)


def _labels_of_models(package: str) -> Iterator[Text]:
    """Labels of the package's models; of the first package also those of packages that mark none."""
    for app in set(LABELLED_APPS) - set(OUR_APPS) if package == PACKAGES[0] else [package]:
        yield from (Text(label) for label in MARKED_LABELS[app])


def _texts_of_commands(package: str) -> Iterator[Text]:
    with translation.override(None):
        for name, app in get_commands().items():
            command = load_command_class(package, name) if app == package else None
            if not isinstance(command, GuidedCommand):
                continue
            parser = command.create_parser("manage.py", name)
            texts = [parser.description, parser.epilog, *(group.title for group in parser._action_groups)]
            # Django's own options, which our help leaves out.
            hidden = DjangoHelpFormatter.show_last
            texts += [one.help for one in parser._actions if not hidden & set(one.option_strings)]
            yield from (Text(text) for text in texts if text and text != SUPPRESS)
