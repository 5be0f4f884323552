"""A run's report: stage durations, latency of the rows, and a sample of the changes."""

from typing import Any

import pytest
from django.utils import translation

from ingestion.models import IngestionRun
from ingestion.pipeline.ingest import IngestionProgress
from ingestion.pipeline.run_lifecycle import AlreadyRunning, SlotTaken
from tests.integration.ingestion.conftest import Run
from tests.support.builders.source_rows import make_session, make_track, make_user
from tests.support.servers.list_source import ListSource


class Follower(IngestionProgress):
    """Stores the progress that a page of the running run would show."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[int, int, int]] = {}

    def on_progress(self, done: int, total: int) -> None:
        run = IngestionRun.objects.get(status="running")
        self.seen[run.stage] = (run.stage_done, run.stage_total, len(run.stages))


def test_a_run_keeps_its_stages_in_order_with_start_and_seconds(run: Run) -> None:
    first = run()

    assert [stage["name"] for stage in first.stages] == [
        "reading songs", "reading users", "reading listening history", "judging",
        "writing songs", "writing users", "writing listening history",
    ]  # fmt: skip
    starts = [stage["started_at"] for stage in first.stages]
    assert starts == sorted(starts)
    assert all(stage["seconds"] >= 0 for stage in first.stages)


def test_a_resources_seconds_are_those_of_reading_and_writing_it(run: Run) -> None:
    first = run()

    seconds = {stage["name"]: stage["seconds"] for stage in first.stages}
    songs = first.reports.get(resource="songs")
    assert songs.seconds == pytest.approx(seconds["reading songs"] + seconds["writing songs"], abs=0.002)


def test_a_failed_run_shows_in_which_stage_it_ended(run: Run, serve: Any) -> None:
    failed = run(serve("500:1"))

    assert failed.status == "failed"
    assert [stage["name"] for stage in failed.stages] == ["reading songs", "reading users"]
    assert failed.stages[0]["seconds"] is not None


def test_progress_stands_on_the_row_while_a_run_runs(
    run: Run, source: ListSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.jobs.lock.HEARTBEAT_INTERVAL", 0.0)
    source.tracks = [make_track(pk) for pk in range(1, 251)]
    follower = Follower()

    run(callback=follower)

    # Two of the pages of 100, 100 and 50 have landed, in any order; the last one is not told yet.
    done, total, stages = follower.seen["reading songs"]
    assert done in (150, 200)
    assert (total, stages) == (250, 1)
    assert follower.seen["reading listening history"] == (0, 0, 3)


def test_latency_has_a_middle_a_tail_and_an_end(run: Run, source: ListSource) -> None:
    source.tracks = [make_track(pk, updated_at=f"2026-11-{pk:02}T10:00:00.000001") for pk in range(1, 22)]

    songs = run().reports.get(resource="songs")

    day = 86_400
    longest = songs.latency_max or 0.0
    assert [songs.latency_p50, songs.latency_p95] == pytest.approx([longest - 10 * day, longest - 1 * day])


def test_nothing_written_has_no_latency(run: Run) -> None:
    run()

    songs = run().reports.get(resource="songs")

    assert (songs.latency_p50, songs.latency_p95, songs.latency_max) == (None, None, None)


def test_a_sample_shows_what_changed(run: Run, source: ListSource) -> None:
    run()
    source.tracks[4] = make_track(5, name="Renamed", duration="04:00")
    source.sessions[0] = make_session(1, [7])

    second = run()

    assert second.reports.get(resource="songs").sample == [
        {"key": 5, "field": "name", "old": "Song 5", "new": "Renamed"},
        {"key": 5, "field": "duration", "old": "0:03:20", "new": "0:04:00"},
    ]
    assert second.reports.get(resource="listening_history").sample == [
        {"key": ["1", "2026-11-01 10:00:00.000001"], "field": "items", "old": "[1,2]", "new": "[7]"}
    ]


def test_a_sample_never_holds_what_a_listener_is_called_or_was_called(run: Run, source: ListSource) -> None:
    run()
    source.users[2] = make_user(3, first_name="Grace", email="grace@example.org")

    second = run()

    assert second.reports.get(resource="users").sample == [
        {"key": 3, "field": "first_name"},
        {"key": 3, "field": "email"},
    ]


def test_a_sample_holds_twenty_rows_and_short_values(run: Run, source: ListSource) -> None:
    run()
    source.tracks = [make_track(pk, album="n" * 300) for pk in range(1, 31)]

    sample = run().reports.get(resource="songs").sample

    assert len(sample) == 20
    assert len(sample[0]["new"]) == 200


def test_new_rows_are_no_difference(run: Run) -> None:
    assert run().reports.get(resource="songs").sample == []


def test_what_a_run_stores_is_english_whatever_language_is_active(run: Run, serve: Any) -> None:
    with translation.override("fr"):
        done = run()
        busy = str(AlreadyRunning(done))
        taken = str(SlotTaken(done))

    assert " songs: " in done.summary
    assert " listening sessions: " in done.summary
    assert "started by command" in busy
    assert "which succeeded" in taken
