"""Whatever ends a run early: its row says so, and its pages go to nobody else."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection

from ingestion.models import IngestionRun, ResourceReport, Song
from ingestion.pipeline.change_detection import ChangeDetector, PageResult
from ingestion.pipeline.ingest import IngestionOptions, IngestionProgress, ingest
from ingestion.pipeline.staging import FrameKind, Spool
from tests.integration.ingestion.conftest import Run, Serve, client_of
from tests.support.builders.source_rows import make_track
from tests.support.servers.list_source import ListSource


def report(run: IngestionRun, resource: str) -> ResourceReport:
    return run.reports.get(resource=resource)


class Interrupted(IngestionProgress):
    """Ends the run when the sessions are to be read."""

    def on_stage(self, run: IngestionRun, name: str) -> None:
        if name == "reading listening history":
            raise KeyboardInterrupt


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_the_landing_of_a_page_the_run_says_that_it_failed(
    run: Run, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    def broken(*_: object) -> None:
        raise interruption

    # The page's rows are counted as received by then, and as nothing else.
    monkeypatch.setattr(ChangeDetector, "_compare", broken)

    with pytest.raises(interruption):
        run()

    ended = IngestionRun.objects.get()
    assert (ended.status, ended.error_kind) == ("failed", interruption.__name__)


@pytest.mark.django_db(transaction=True)
def test_a_run_that_loses_its_database_connection_says_that_it_failed(run: Run) -> None:
    class Cut(IngestionProgress):
        def on_stage(self, run: IngestionRun, name: str) -> None:
            if name == "reading users":
                with psycopg.connect(**connection.get_connection_params()) as other:
                    other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])

    with pytest.raises(OperationalError):
        run(callback=Cut())

    ended = IngestionRun.objects.get()
    assert (ended.status, ended.error_kind) == ("failed", "OperationalError")
    assert ended.reports.count() == 3


def test_the_pages_of_a_dead_run_are_taken_up_one_at_a_time(
    run: Run, source: ListSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.tracks = [make_track(pk) for pk in range(1, 251)]
    with pytest.raises(KeyboardInterrupt):
        run(callback=Interrupted())
    steps: list[tuple[str, int]] = []
    read, land = Spool.read_frame, ChangeDetector.process_page

    def noted_read(self: Spool, kind: FrameKind, number: int) -> bytes:
        if kind is FrameKind.PAGE and "songs" in self.path.name:
            steps.append(("read", number))
        return read(self, kind, number)

    def noted_land(self: ChangeDetector, number: int, *rest: Any) -> PageResult:
        if self.table.name == "songs":
            steps.append(("land", number))
        return land(self, number, *rest)

    monkeypatch.setattr(Spool, "read_frame", noted_read)
    monkeypatch.setattr(ChangeDetector, "process_page", noted_land)
    resumed = run()

    assert (resumed.status, report(resumed, "songs").resumed) == ("succeeded", True)
    assert steps == [(deed, number) for number in (1, 2, 3) for deed in ("read", "land")]


def test_a_staging_folder_that_cannot_be_written_fails_the_run_and_says_so(
    run: Run, serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")

    failed = ingest(client_of(serve()), IngestionOptions(staging=tmp_path / "taken"))

    assert (failed.status, failed.error_kind) == ("failed", "staging")
    assert "Not a directory" in failed.error
    assert "STAGING_DIR" in failed.error


def test_pages_left_by_a_database_that_is_no_more_are_not_judged_as_this_run_s(
    run: Run, source: ListSource, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(callback=Interrupted())
    failed = IngestionRun.objects.get()
    (left,) = (tmp_path / "staging").glob(f"*/run-{failed.pk}")
    left.rename(left.with_name(f"run-{failed.pk + 1}"))
    IngestionRun.objects.all().delete()
    source.tracks = [make_track(pk, name="Newer") for pk in range(1, 31)]

    second = run()

    assert second.pk == failed.pk + 1
    assert Song.objects.filter(name="Newer").count() == 30
    assert not any(one.resumed for one in second.reports.all())


@pytest.mark.parametrize("wanted", [{"dry_run": True}, {"trigger": "command"}])
def test_a_run_in_between_leaves_the_pages_of_a_dead_slot_alone(
    run: Run, source: ListSource, serve: Serve, wanted: dict[str, Any]
) -> None:
    good = serve()
    with pytest.raises(KeyboardInterrupt):
        run(good, Interrupted(), slot="daily 2026-11-23")
    IngestionRun.objects.update(status="abandoned")

    run(good, **wanted)
    resumed = run(good, slot="daily 2026-11-23")

    assert resumed.status == "succeeded"
    assert report(resumed, "songs").resumed


def test_a_dry_run_leaves_the_pages_of_a_run_by_hand_alone(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(callback=Interrupted())

    run(dry_run=True)
    resumed = run()

    assert [one.resumed for one in resumed.reports.order_by("id")] == [True, True, False]
