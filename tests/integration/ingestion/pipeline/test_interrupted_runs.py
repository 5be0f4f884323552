"""However a run ends early, its row has the status and the reason."""

from pathlib import Path

import psycopg
import pytest
from django.db import connection

from ingestion.models import IngestionRun, ResourceReport, Song
from ingestion.pipeline.change_detection import ChangeDetector
from ingestion.pipeline.ingest import IngestionOptions, IngestionProgress, ingest
from tests.integration.ingestion.conftest import Run, Serve, client_of


def report(run: IngestionRun, resource: str) -> ResourceReport:
    return run.reports.get(resource=resource)


@pytest.mark.parametrize(
    ("interruption", "status"),
    [(KeyboardInterrupt, "stopped"), (SystemExit, "stopped"), (RuntimeError, "failed")],
)
def test_an_exception_while_a_page_is_compared_marks_the_run_as_ended(
    run: Run, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException], status: str
) -> None:
    def broken(*_: object) -> None:
        raise interruption

    # By then the page's rows are counted as received only.
    monkeypatch.setattr(ChangeDetector, "_compare", broken)

    with pytest.raises(interruption):
        run()

    ended = IngestionRun.objects.get()
    assert (ended.status, ended.error_kind) == (status, interruption.__name__)


class ConnectionCut(IngestionProgress):
    """The database server ends the run's connection when this stage begins, as a restart does."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def on_stage(self, run: IngestionRun, name: str) -> None:
        if name == self._stage:
            with psycopg.connect(**connection.get_connection_params()) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("stage", ["reading users", "judging", "writing songs"])
def test_a_lost_database_connection_does_not_end_the_run(run: Run, stage: str) -> None:
    ended = run(callback=ConnectionCut(stage))

    assert ended.status == "succeeded"
    assert Song.objects.count() == 30


def test_an_unwritable_staging_folder_fails_the_run_with_advice(
    run: Run, serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")

    failed = ingest(client_of(serve()), IngestionOptions(staging=tmp_path / "taken"))

    assert (failed.status, failed.error_kind) == ("failed", "staging")
    assert "Not a directory" in failed.error
    assert "STAGING_DIR" in failed.error


def test_a_run_whose_report_cannot_be_saved_ends_as_partial(run: Run) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ingestion_resourcereport ADD CONSTRAINT small CHECK (received < 30)")

    ended = run()

    assert (ended.status, ended.error_kind) == ("partial", "report")
    assert "The report could not be saved (IntegrityError)." in ended.error
    assert ended.reports.count() == 0
    assert Song.objects.count() == 30
