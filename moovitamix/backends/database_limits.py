"""Time limits of PostgreSQL statements by kind of process; commands have none."""

from typing import Final

from django.conf import settings
from django.db import connections

# A worker's longest statement writes or deletes a large table. It waits for a lock at most this long, and is
# then retried (ingestion/jobs/database_patience.py).
TASK_STATEMENT_SECONDS: Final = 3_600
TASK_LOCK_SECONDS: Final = 120
WEB_LOCK_SECONDS: Final = 10


def limit_web_statements() -> None:
    """Limit the statements of this process to WEB_STATEMENT_SECONDS."""
    _limit_statements(settings.WEB_STATEMENT_SECONDS, min(WEB_LOCK_SECONDS, settings.WEB_STATEMENT_SECONDS))


def limit_task_statements() -> None:
    _limit_statements(TASK_STATEMENT_SECONDS, TASK_LOCK_SECONDS)


def _limit_statements(statement: float, lock: float) -> None:
    """Set the limits for connections that this process opens from now on, in any thread."""
    database = connections.settings["default"]
    if database["ENGINE"].endswith("postgresql"):
        limits = f"-c statement_timeout={round(1_000 * statement)} -c lock_timeout={round(1_000 * lock)}"
        options = database["OPTIONS"]
        own = options.get("options", "")
        options["options"] = f"{own} {limits}".strip()
