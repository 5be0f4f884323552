"""A run survives a locked database: its heartbeats and writes are retried."""

import psycopg
import pytest
from django.db import connection

from ingestion.models import IngestionRun
from ingestion.pipeline.ingest import IngestionProgress
from tests.integration.ingestion.conftest import Run, Serve
from tests.support.project import Project


class LockedRuns(IngestionProgress):
    """Locks the table of runs from another connection while the listeners are read."""

    def __init__(self) -> None:
        self.waited = False

    def on_stage(self, run: IngestionRun, name: str) -> None:
        if name == "reading users":
            self._holder = psycopg.connect(**connection.get_connection_params())
            self._holder.execute("LOCK TABLE ingestion_ingestionrun IN EXCLUSIVE MODE")
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '20ms'")
        if name == "reading listening history":
            self.waited = True
            self._holder.close()


@pytest.mark.django_db(transaction=True)
def test_heartbeats_wait_for_a_locked_table(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    lock = LockedRuns()

    ended = run(callback=lock)

    assert lock.waited
    assert "job_heartbeat_failed" in caplog.text
    assert ended.status == "succeeded"


# Another program holds the write lock of the file from one stage to another, and once more while songs are
# written, until a query has waited.
LOCKED_FILE = """
import logging, sqlite3
from django.db import connection
from ingestion.models import Song
from ingestion.pipeline.ingest import IngestionProgress
from ingestion.services import ingest_now
connection.settings_dict["OPTIONS"]["timeout"] = 0.02
holder = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)

class Holder(IngestionProgress, logging.Handler):
    waited = []
    def emit(self, record):
        self.waited.append(record.getMessage().split()[0])
        if record.getMessage().startswith("database_unavailable"):
            holder.execute("ROLLBACK")
    def on_stage(self, run, name):
        if name in ("reading users", "writing songs"):
            holder.execute("BEGIN IMMEDIATE")
        if name == "reading listening history":
            holder.execute("ROLLBACK")

progress = Holder()
logging.Handler.__init__(progress, logging.WARNING)
logging.getLogger("ingestion").addHandler(progress)
run = ingest_now(progress)
print(run.status, Song.objects.count(), *sorted(set(progress.waited)))
"""


def test_a_run_waits_for_a_locked_sqlite_file(sqlite_project: Project, serve: Serve) -> None:
    done = sqlite_project.manage("shell", "--no-imports", "-c", LOCKED_FILE, BASE_URL=serve())

    assert done.stdout.split() == ["succeeded", "30", "database_unavailable", "job_heartbeat_failed"]
