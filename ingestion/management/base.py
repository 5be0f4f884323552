"""Parts shared by the commands: the format of help texts, and a check for migrations."""

from argparse import Action, RawDescriptionHelpFormatter
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    def _reordered_actions(self, actions: Iterable[Action]) -> list[Action]:
        return [action for action in actions if not self.show_last & set(action.option_strings)]


class GuidedCommand(BaseCommand):
    """A command whose `help` has several lines: what it does, examples, and the next step."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=_HelpFormatter, **kwargs)


def require_migrations() -> None:
    """Raise `CommandError`, with the command to run, if migrations are missing."""
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        raise CommandError(
            f"The database lacks {len(pending)} migrations. Create or update its tables with:\n"
            "  python manage.py migrate"
        )
