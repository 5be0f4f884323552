"""Are the tables there, and as this version wants them?"""

from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


def require_migrations() -> None:
    """Stop a command that would fail at the first query, and say what to do.

    Raises:
        CommandError: migrations have not been applied.
    """
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        raise CommandError(
            f"The database lacks {len(pending)} migrations. Make or update its tables with:\n"
            "  python manage.py migrate"
        )
