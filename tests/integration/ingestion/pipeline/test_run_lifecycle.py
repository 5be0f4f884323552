"""Starting and ending a run: the lock, and what a killed run leaves behind."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from ingestion.jobs.lock import JobHeartbeat, LockLost, finish_job
from ingestion.models import IngestionRun
from ingestion.pipeline import run_lifecycle
from ingestion.pipeline.ingest import IngestionProgress
from ingestion.pipeline.run_lifecycle import AlreadyRunning, SlotTaken
from tests.integration.ingestion.conftest import Run

pytestmark = pytest.mark.django_db


def begin(**fields: Any) -> IngestionRun:
    return run_lifecycle.start_run(trigger=IngestionRun.Trigger.COMMAND, **fields)


def dead(run: IngestionRun) -> IngestionRun:
    """Let the run's row name a process that does not exist."""
    IngestionRun.objects.filter(pk=run.pk).update(process_started=1.0)
    return run


def test_a_second_run_is_told_who_holds_the_lock_and_since_when() -> None:
    first = begin()

    with pytest.raises(AlreadyRunning) as error:
        begin()

    assert f"Run {first.pk} holds the lock since {first.started_at:%Y-%m-%d %H:%M:%S} UTC" in str(error.value)
    assert f"process {os.getpid()}" in str(error.value)


def test_a_run_whose_process_is_gone_is_abandoned_at_once() -> None:
    first = dead(begin())

    second = begin()

    first.refresh_from_db()
    assert (first.status, first.error_kind, second.status) == ("abandoned", "abandoned", "running")


def test_a_run_on_another_machine_is_abandoned_when_its_lease_is_over() -> None:
    first = begin()
    IngestionRun.objects.update(host="elsewhere", heartbeat_at=timezone.now() - timedelta(minutes=4))
    with pytest.raises(AlreadyRunning):
        begin()
    IngestionRun.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=6))

    begin()

    first.refresh_from_db()
    assert first.status == "abandoned"


def test_a_run_that_lost_its_lock_writes_nothing_more() -> None:
    first = begin()
    heart = JobHeartbeat(first)
    begin_after_abandoning(first)

    with pytest.raises(LockLost):
        heart.send()
    with pytest.raises(LockLost):
        finish_job(first, IngestionRun.Status.SUCCEEDED)

    assert IngestionRun.objects.get(pk=first.pk).status == "abandoned"


def test_a_heartbeat_just_after_the_end_of_its_own_run_is_no_lost_lock() -> None:
    run = begin()
    heart = JobHeartbeat(run)
    finish_job(run, IngestionRun.Status.SUCCEEDED)

    heart.send()

    assert IngestionRun.objects.get(pk=run.pk).status == "succeeded"


def begin_after_abandoning(run: IngestionRun) -> IngestionRun:
    dead(run)
    return begin()


def test_a_slot_whose_run_failed_can_be_run_again() -> None:
    failed = begin(slot="daily 2026-11-23")
    finish_job(failed, IngestionRun.Status.FAILED, error_kind="x", error="x")

    assert begin(slot="daily 2026-11-23").status == "running"


@pytest.mark.parametrize("end", [IngestionRun.Status.SUCCEEDED, IngestionRun.Status.REFUSED])
def test_a_slot_that_succeeded_or_was_refused_is_not_run_again(end: IngestionRun.Status) -> None:
    finish_job(begin(slot="daily 2026-11-23"), end)

    with pytest.raises(SlotTaken, match="Slot daily 2026-11-23 was run"):
        begin(slot="daily 2026-11-23")

    assert begin(slot="daily 2026-11-24").status == "running"


def test_the_slot_of_a_dead_run_is_taken_up_again() -> None:
    dead(begin(slot="daily 2026-11-23"))

    assert begin(slot="daily 2026-11-23").status == "running"


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "succeeded"},
        {"status": "running", "finished_at": timezone.now()},
        {"status": "failed", "finished_at": timezone.now(), "error": "no kind"},
    ],
)
def test_the_database_refuses_a_run_that_contradicts_itself(fields: dict[str, Any]) -> None:
    now = timezone.now()
    with pytest.raises(IntegrityError), transaction.atomic():
        IngestionRun.objects.create(
            trigger="command", started_at=now, heartbeat_at=now, host="x", pid=1, process_started=0, **fields
        )


def test_a_finished_run_leaves_no_pages_behind(run: Run, tmp_path: Path) -> None:
    run()

    assert list(tmp_path.rglob("*.pages")) == []


def test_an_unexpected_exception_ends_as_a_failed_run_without_pages(run: Run, tmp_path: Path) -> None:
    class Broken(IngestionProgress):
        def on_progress(self, done: int, total: int) -> None:
            raise ZeroDivisionError("in the middle")

    with pytest.raises(ZeroDivisionError):
        run(callback=Broken())

    failed = IngestionRun.objects.get()
    assert (failed.status, failed.error) == ("failed", "ZeroDivisionError: in the middle")
    assert list(tmp_path.rglob("*.pages")) == []
