"""Every kind of process logs in the configured format, with its context and without personal data."""

import json
import logging
import signal
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError

from ingestion.demo.faults.spec import parse_faults
from ingestion.demo.server import DemoServer
from ingestion.demo.world.world import World
from ingestion.models import Listener
from moovitamix.reporting.logs import JsonFormatter
from tests.support.project import Project, wait_for_line

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def lines_of(text: str) -> list[dict[str, Any]]:
    """Every line as the object that it is; a line that is none fails."""
    return [json.loads(line) for line in text.splitlines() if line.strip()]


@pytest.mark.django_db
def test_a_row_that_postgresql_refuses_is_not_logged() -> None:
    Listener.objects.create(
        id=7, first_name="Ada", last_name="Lovelace\nCountess", email="ada@example.org",
        created_at=NOW, updated_at=NOW,
    )  # fmt: skip

    with pytest.raises(IntegrityError) as caught:
        Listener.objects.update(created_at=None)
    error = caught.value
    record = logging.LogRecord(
        "ingestion", 40, "x.py", 1, "broke reason=%s", (error,), (type(error), error, error.__traceback__)
    )
    said = JsonFormatter().format(record)

    assert "ada@example.org" in str(error)
    assert "violates not-null constraint" in said
    assert "Which caused" in said
    assert not [word for word in ("ada@", "Ada", "Lovelace", "Countess") if word in said]


@pytest.mark.slow
def test_each_line_of_a_run_names_it_also_those_of_the_threads_that_fetch(sqlite_project: Project) -> None:
    world = World(songs=300, listeners=10, days=3)
    with DemoServer(world, faults=parse_faults("500@2x1")) as server:
        done = sqlite_project.manage("runingest", "--json", BASE_URL=server.url, LOG_FORMAT="json")

    lines = lines_of(done.stderr)

    run = str(json.loads(done.stdout)["run"])
    named = [
        line for line in lines if line["logger"] in {"ingestion.pipeline.ingest", "ingestion.source.fetcher"}
    ]
    assert {line["run"] for line in named} == {run}
    assert {"ingestion.pipeline.ingest", "ingestion.source.fetcher"} == {line["logger"] for line in named}
    assert any(line["thread"].startswith("source") for line in named)


@pytest.mark.slow
def test_each_line_of_a_task_names_it_in_the_worker_and_in_its_pool(sqlite_project: Project) -> None:
    worker = sqlite_project.start(
        sys.executable, "-m", "celery", "-q", "-A", "moovitamix", "worker", "-c", "1", "-l", "info",
        LOG_FORMAT="json", SOURCE_PATIENCE="0.1",
    )  # fmt: skip
    said = wait_for_line(worker, "ready.")
    task = sqlite_project.shell(
        "from ingestion.tasks import ingest_on_request; print(ingest_on_request.delay().id)"
    )
    said += wait_for_line(worker, "succeeded in")
    worker.send_signal(signal.SIGTERM)

    lines = lines_of(said)

    about = [line for line in lines if line.get("task") == task]
    loggers = {line["logger"] for line in about}
    assert {"celery.worker.strategy", "celery.app.trace", "ingestion.pipeline.ingest"} <= loggers
    assert {line["run"] for line in about if line["logger"] == "ingestion.pipeline.ingest"} == {"1"}
    assert len({line["process"] for line in about}) == 2
