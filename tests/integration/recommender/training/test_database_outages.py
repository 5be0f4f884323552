"""A training survives a database that is away for a moment, and always records how it ended."""

import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from recommender.models import ModelVersion, TrainingRun
from recommender.training.train import TrainingOptions, TrainingProgress, retrain
from tests.integration.recommender.training.test_train import fill

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


class LockedTrainings(TrainingProgress, logging.Handler):
    """Locks the table of trainings from another connection until a statement was retried."""

    def __init__(self, stage: str) -> None:
        logging.Handler.__init__(self, logging.WARNING)
        self.stage = stage
        self.warnings: set[str] = set()
        self.holder: psycopg.Connection[object] | None = None

    def on_stage(self, run: TrainingRun, name: str, step: int, steps: int) -> None:
        if name == self.stage:
            self.holder = psycopg.connect(**connection.get_connection_params())
            self.holder.execute("LOCK TABLE recommender_trainingrun IN EXCLUSIVE MODE")
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '20ms'")

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.add(record.getMessage().split()[0])
        if self.holder is not None:
            self.holder.close()


class LostConnections(LockedTrainings):
    """Also ends the connection of the training once in each stage."""

    def __init__(self, stage: str) -> None:
        super().__init__(stage)
        self.met = {stage}

    def on_stage(self, run: TrainingRun, name: str, step: int, steps: int) -> None:
        if name not in self.met:
            self.met.add(name)
            with psycopg.connect(**connection.get_connection_params()) as other, connection.cursor() as own:
                own.execute("SELECT pg_backend_pid()")
                other.execute("SELECT pg_terminate_backend(%s, 5000)", own.fetchone())
        super().on_stage(run, name, step, steps)


class LockedFailures(LockedTrainings):
    def on_stage(self, run: TrainingRun, name: str, step: int, steps: int) -> None:
        super().on_stage(run, name, step, steps)
        if name == self.stage:
            raise RuntimeError("no such style")


@pytest.fixture
def jobs_log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("ingestion.jobs")
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def test_a_training_goes_on_without_the_database_for_a_moment(
    tmp_path: Path, jobs_log: logging.Logger
) -> None:
    fill()
    outage = LostConnections("writing the artifact")
    jobs_log.addHandler(outage)

    ended = retrain(TrainingOptions(storage=tmp_path), outage)

    assert outage.warnings == {"job_heartbeat_failed", "database_unavailable"}
    assert (ended.status, ended.error) == ("succeeded", "")
    assert ModelVersion.objects.get().role == "champion"


def test_a_failed_training_waits_for_the_database_and_records_why(
    tmp_path: Path, jobs_log: logging.Logger
) -> None:
    fill()
    outage = LockedFailures("learning from everything")
    jobs_log.addHandler(outage)

    with pytest.raises(RuntimeError):
        retrain(TrainingOptions(storage=tmp_path), outage)

    ended = TrainingRun.objects.get()
    assert outage.warnings == {"database_unavailable"}
    assert (ended.status, ended.error) == ("failed", "RuntimeError: no such style")
