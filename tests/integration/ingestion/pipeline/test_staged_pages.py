"""Which staged pages a later run may use: only the recent ones of a crash in the same slot."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from ingestion.jobs.lock import LockLost
from ingestion.models import IngestionRun, ListeningHistory, Song
from ingestion.pipeline.change_detection import ChangeDetector
from ingestion.pipeline.compact.page_results import PageResult
from ingestion.pipeline.ingest import IngestionProgress
from ingestion.pipeline.staging import FrameKind, Spool, can_resume
from tests.integration.ingestion.conftest import Run, Serve
from tests.support.builders.source_rows import make_track
from tests.support.servers.list_source import ListSource
from tests.support.servers.misleading_source import MisleadingSource
from tests.support.servers.scripted_server import Reply, ScriptedServer

SLOT = "daily 2026-11-29"
NOW = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)


class Clock:
    """Stands for Django's clock."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timezone, "now", clock)
    return clock


class Crash(IngestionProgress):
    """Ends a run like a crash when it begins this stage: no outcome is recorded and the pages stay."""

    def __init__(self, stage: str = "reading listening history") -> None:
        self.stage = stage

    def on_stage(self, run: IngestionRun, name: str) -> None:
        if name == self.stage:
            IngestionRun.objects.filter(pk=run.pk).update(status="abandoned", finished_at=timezone.now())
            raise LockLost(run)


def crash(run: Run, *, stage: str = "reading listening history", url: str = "", **options: Any) -> None:
    with pytest.raises(LockLost):
        run(url, Crash(stage), **options)


def resumed(run: IngestionRun) -> list[bool]:
    return [report.resumed for report in run.reports.order_by("id")]


def albums(source: ListSource, album: str) -> None:
    source.tracks = [make_track(pk, album=album) for pk in range(1, 31)]


def test_a_slot_that_crashed_uses_its_complete_pages_and_says_as_of_when(run: Run, clock: Clock) -> None:
    crash(run, slot=SLOT)
    clock.now = NOW + timedelta(minutes=9)
    again = run(slot=SLOT)

    assert (again.status, resumed(again)) == ("succeeded", [True, True, False])
    assert again.summary.startswith("30 songs as of 2026-11-29 02:00 UTC: 30 new, ")
    assert "10 listening sessions: " in again.summary
    assert again.reports.get(resource="songs").read_at == NOW


def test_pages_are_read_anew_ten_minutes_after_they_were_read(
    run: Run, clock: Clock, source: ListSource
) -> None:
    crash(run, slot=SLOT)
    albums(source, "Newer")
    clock.now = NOW + timedelta(minutes=10, seconds=1)
    again = run(slot=SLOT)

    assert resumed(again) == [False, False, False]
    assert Song.objects.filter(album="Newer").count() == 30


def test_a_chain_of_crashes_does_not_renew_the_age_of_the_pages(
    run: Run, clock: Clock, source: ListSource
) -> None:
    for minutes in (0, 6):
        clock.now = NOW + timedelta(minutes=minutes)
        crash(run, slot=SLOT)
    albums(source, "Newer")
    clock.now = NOW + timedelta(minutes=12)
    again = run(slot=SLOT)

    assert resumed(again) == [False, False, False]
    assert Song.objects.filter(album="Newer").count() == 30


def test_pages_from_the_future_are_read_anew() -> None:
    assert can_resume(NOW.isoformat(), NOW)
    assert not can_resume(NOW.isoformat(), NOW - timedelta(seconds=1))
    assert not can_resume("", NOW)


def test_a_run_by_hand_never_uses_the_pages_of_another_run(run: Run, source: ListSource) -> None:
    crash(run)
    albums(source, "Newer")

    assert resumed(run()) == [False, False, False]
    assert Song.objects.filter(album="Newer").count() == 30


def test_pages_of_a_run_that_missed_a_list_are_never_used(run: Run, tmp_path: Path) -> None:
    source = MisleadingSource()
    source.mislead["/listen_history"] = lambda _: Reply(500)
    albums(source, "Wrong")
    with ScriptedServer(source) as server:
        partial = run(server.url, slot=SLOT)
        left = list(tmp_path.rglob("*.pages"))
        source.mislead.clear()
        albums(source, "Right")
        again = run(server.url)

    assert (partial.status, left) == ("partial", [])
    assert resumed(again) == [False, False, False]
    assert Song.objects.filter(album="Right").count() == 30


def test_pages_that_broke_a_run_are_removed_at_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ChangeDetector, "read_changes", broken)
    with pytest.raises(ZeroDivisionError):
        run(slot=SLOT)

    assert list(tmp_path.rglob("*.pages")) == []


@pytest.mark.parametrize("between", [{"trigger": "command"}, {"slot": "daily 2026-11-30"}])
def test_pages_older_than_another_run_are_read_anew(
    run: Run, source: ListSource, between: dict[str, Any]
) -> None:
    crash(run, slot=SLOT)
    albums(source, "Newer")
    run(**between)

    again = run(slot=SLOT)

    assert resumed(again) == [False, False, False]
    assert Song.objects.filter(album="Newer").count() == 30


def test_a_dry_run_in_between_leaves_the_pages_alone(run: Run) -> None:
    crash(run, slot=SLOT)
    run(dry_run=True)

    assert resumed(run(slot=SLOT)) == [True, True, False]


def test_pages_of_another_source_are_not_used(run: Run, serve: Serve) -> None:
    crash(run, url=serve(of=ListSource()), slot=SLOT)

    assert resumed(run(slot=SLOT)) == [False, False, False]


def test_pages_of_an_earlier_database_are_not_used(run: Run, source: ListSource, tmp_path: Path) -> None:
    crash(run, slot=SLOT)
    crashed = IngestionRun.objects.get()
    (left,) = (tmp_path / "staging").glob(f"*/run-{crashed.pk}")
    left.rename(left.with_name(f"run-{crashed.pk + 1}"))
    IngestionRun.objects.all().delete()
    albums(source, "Newer")

    second = run(slot=SLOT)

    assert second.pk == crashed.pk + 1
    assert resumed(second) == [False, False, False]
    assert Song.objects.filter(album="Newer").count() == 30


def test_a_crash_while_writing_is_completed_from_the_pages_of_the_same_reading(run: Run) -> None:
    crash(run, slot=SLOT, stage="writing listening history")
    assert (Song.objects.count(), ListeningHistory.objects.count()) == (30, 0)

    again = run(slot=SLOT)

    assert (again.status, resumed(again)) == ("succeeded", [True, True, True])
    assert ListeningHistory.objects.count() == 10


def test_staged_pages_are_processed_one_at_a_time(
    run: Run, source: ListSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.tracks = [make_track(pk) for pk in range(1, 251)]
    crash(run, slot=SLOT)
    steps: list[tuple[str, int]] = []
    read, process = Spool.read_frame, ChangeDetector.process_page

    def recorded_read(self: Spool, kind: FrameKind, number: int) -> bytes:
        if kind is FrameKind.PAGE and "songs" in self.path.name:
            steps.append(("read", number))
        return read(self, kind, number)

    def recorded_process(self: ChangeDetector, number: int, *rest: Any) -> PageResult:
        if self.table.name == "songs":
            steps.append(("process", number))
        return process(self, number, *rest)

    monkeypatch.setattr(Spool, "read_frame", recorded_read)
    monkeypatch.setattr(ChangeDetector, "process_page", recorded_process)
    run(slot=SLOT)

    assert steps == [(step, number) for number in (1, 2, 3) for step in ("read", "process")]
