"""The cost of Celery tasks is stored, and storing it never makes a task fail."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Task
from django.utils import translation

from ingestion.models import TaskUsage
from ingestion.tasks import ingest_due
from moovitamix.background.measured_task import MeasuredTask
from moovitamix.celery import app

pytestmark = pytest.mark.django_db
Make = Callable[[Callable[[], Any]], "Task[[], Any]"]


@pytest.fixture
def make_task() -> Iterator[Make]:
    """A task of this test alone."""
    made: list[str] = []

    def make(work: Callable[[], Any]) -> "Task[[], Any]":
        name = f"tests.{work.__name__}"
        made.append(name)
        return app.task(name=name)(work)

    yield make
    for name in made:
        app.tasks.pop(name)


def burn() -> int:
    held = bytearray(120_000_000)
    end = time.process_time() + 0.3
    while time.process_time() < end:
        held[0] = 1
    return len(held)


def tell_language() -> str:
    return translation.get_language() or ""


def break_down() -> None:
    raise ValueError("no such thing")


def test_a_long_task_leaves_its_seconds_cpu_and_memory(
    make_task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moovitamix.background.measured_task.MIN_RECORDED_SECONDS", 0.2)
    monkeypatch.setattr("ingestion.jobs.resource_usage.SAMPLE_SECONDS", 0.02)
    done = make_task(burn).apply()

    use = TaskUsage.objects.get()

    assert done.result == 120_000_000
    assert (use.task, use.task_id, use.succeeded) == ("tests.burn", done.id, True)
    assert use.seconds >= 0.3
    assert use.cpu_seconds >= 0.3
    assert use.peak_memory >= 120_000_000


def test_a_failed_task_is_kept_however_short(make_task: Make) -> None:
    done = make_task(break_down).apply()

    assert done.failed()
    assert TaskUsage.objects.get().succeeded is False


def test_a_look_that_finds_nothing_to_do_leaves_nothing() -> None:
    ingest_due.apply()

    assert isinstance(app.tasks["ingestion.tasks.ingest_due"], MeasuredTask)
    assert TaskUsage.objects.count() == 0


def test_a_call_without_a_worker_is_not_measured(make_task: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moovitamix.background.measured_task.MIN_RECORDED_SECONDS", 0.0)

    make_task(burn)()

    assert TaskUsage.objects.count() == 0


def test_a_task_works_in_english_whatever_the_worker_s_language(make_task: Make) -> None:
    with translation.override("fr"):
        done = make_task(tell_language).apply()

    assert done.result == "en"
