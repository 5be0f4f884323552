"""A run that only reads outlives a locked database, and its heartbeats wait."""

import psycopg
import pytest
from django.db import connection

from ingestion.models import IngestionRun
from ingestion.pipeline.ingest import IngestionProgress
from tests.integration.ingestion.conftest import Run


class LockedRuns(IngestionProgress):
    """Somebody else holds the runs' table while the listeners are read."""

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
