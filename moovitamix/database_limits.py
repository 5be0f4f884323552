"""Time limits of PostgreSQL statements, by kind of process; commands by hand have none."""

from typing import Final

from django.conf import settings
from django.db import connections

# A worker's longest statement writes or deletes a large table; its locks wait for a run at most this long,
# after which the statement is tried again (ingestion/jobs/database_patience.py).
TASK_STATEMENT_SECONDS: Final = 3_600
TASK_LOCK_SECONDS: Final = 120
WEB_LOCK_SECONDS: Final = 10


def limit_web_statements() -> None:
    """Let no request of this process hold a connection for longer than WEB_STATEMENT_SECONDS."""
    _limit_statements(settings.WEB_STATEMENT_SECONDS, min(WEB_LOCK_SECONDS, settings.WEB_STATEMENT_SECONDS))


def limit_task_statements() -> None:
    _limit_statements(TASK_STATEMENT_SECONDS, TASK_LOCK_SECONDS)


def _limit_statements(statement: float, lock: float) -> None:
    """For connections that this process opens from now on, in any thread."""
    database = connections.settings["default"]
    if database["ENGINE"].endswith("postgresql"):
        limits = f"-c statement_timeout={round(1_000 * statement)} -c lock_timeout={round(1_000 * lock)}"
        options = database["OPTIONS"]
        own = options.get("options", "")
        options["options"] = f"{own} {limits}".strip()
