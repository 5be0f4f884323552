"""Collects the log lines of a run for its page."""

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from django.db import DatabaseError, connection

from ingestion.jobs.database_patience import first_line
from ingestion.jobs.lock import HEARTBEAT_INTERVAL, LOG_CONTEXT
from ingestion.models import IngestionRun, RunLogLine

# A source that fails on every page causes thousands of lines; the first ones show the reason.
MAX_LINES: Final = 500
MAX_CHARS: Final = 1_000


class RunLog(logging.Handler):
    """Keeps log lines whose context names the run, and saves them from time to time."""

    def __init__(self, run: IngestionRun) -> None:
        super().__init__()
        self._run = run
        self._waiting: deque[RunLogLine] = deque()
        self._kept = 0
        self._saved_at = time.monotonic()

    @contextmanager
    def collecting(self) -> Iterator["RunLog"]:
        logging.getLogger().addHandler(self)
        try:
            yield self
        finally:
            logging.getLogger().removeHandler(self)
            self.save()

    def emit(self, record: logging.LogRecord) -> None:
        if LOG_CONTEXT.get().get("run") != self._run.pk or self._kept > MAX_LINES:
            return
        self._kept += 1
        # Only the first line: PostgreSQL quotes the row in the next ones, which may hold personal data.
        text = record.getMessage().partition("\n")[0][:MAX_CHARS]
        if record.exc_info and record.exc_info[1]:
            text += f" {type(record.exc_info[1]).__name__}: {first_line(record.exc_info[1])}"[:MAX_CHARS]
        if self._kept > MAX_LINES:
            text = "Further lines are in the process's own log."
        at = datetime.fromtimestamp(record.created, UTC)
        line = RunLogLine(run=self._run, at=at, level=record.levelname[:8], text=text.replace("\0", ""))
        self._waiting.append(line)

    def save_if_due(self) -> None:
        if self._waiting and time.monotonic() - self._saved_at >= HEARTBEAT_INTERVAL:
            self.save()

    def save(self) -> None:
        """Store the lines with the run; if the database can't store them now, they are kept."""
        self._saved_at = time.monotonic()
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not lines or connection.needs_rollback:
            return
        try:
            RunLogLine.objects.bulk_create(lines)
        except DatabaseError:
            self._waiting.extendleft(reversed(lines))
