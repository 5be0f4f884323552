"""Parts shared by the commands: format and language of help texts, and a check for migrations."""

import os
from argparse import SUPPRESS, Action, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import translation
from django.utils.translation import get_supported_language_variant
from django.utils.translation import gettext as _

from ingestion.english import ENGLISH

# In this order, as GNU gettext reads them.
LOCALE_VARIABLES: Final = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


class TranslatedHelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    def add_usage(
        self, usage: str | None, actions: Iterable[Action], groups: Any, prefix: str | None = None
    ) -> None:
        with translation.override(help_language()):
            super().add_usage(usage, actions, groups, prefix or _("usage: "))

    def _reordered_actions(self, actions: Iterable[Action]) -> list[Action]:
        return [action for action in actions if not self.show_last & set(action.option_strings)]


class GuidedCommand(BaseCommand):
    """A command whose `help` has several lines: what it does, examples, and the next step.

    Only its help is translated: what it prints and stores is in English.
    """

    def execute(self, *args: Any, **options: Any) -> str | None:
        with translation.override(ENGLISH):
            return super().execute(*args, **options)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(
            prog_name, subcommand, formatter_class=TranslatedHelpFormatter, **kwargs
        )
        translate_help(parser)
        return parser


def translate_help(parser: ArgumentParser) -> None:
    """Put the parser's help into `help_language`, with argparse's own words, which have no catalogue."""
    with translation.override(help_language()):
        parser.description = _(parser.description) if parser.description else None
        parser.epilog = _(parser.epilog) if parser.epilog else None
        for action in parser._actions:  # noqa: SLF001 (argparse has no public list)
            if action.help and action.help != SUPPRESS:
                action.help = _(action.help)
        for group in parser._action_groups:  # noqa: SLF001
            group.title = _(group.title) if group.title else None


def help_language() -> str:
    """LANGUAGE_CODE if it is set, otherwise the first language of the terminal's locale that we have."""
    if settings.IS_LANGUAGE_SET:
        return str(settings.LANGUAGE_CODE)
    wished = next((value for name in LOCALE_VARIABLES if (value := os.environ.get(name))), "")
    for locale in wished.split(":"):
        try:
            return get_supported_language_variant(locale.partition(".")[0].replace("_", "-").lower())
        except LookupError:
            continue
    return str(settings.LANGUAGE_CODE)


def require_migrations() -> None:
    """Raise `CommandError`, with the command to run, if migrations are missing."""
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        raise CommandError(
            f"The database lacks {len(pending)} migrations. Create or update its tables with:\n"
            "  python manage.py migrate"
        )
