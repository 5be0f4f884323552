"""A champion with a week of new plays, made once for the tests of each file."""

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from ingestion.demo.world.world import World
from recommender.training.train import TrainingOptions, retrain
from tests.support.builders.small_world import fill_tables, update_tables


def _world(day: date, days: int) -> World:
    return World.ending_on(day, songs=600, listeners=120, days=days)


@pytest.fixture(scope="module")
def champion_storage(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    storage = tmp_path_factory.mktemp("models")
    with django_db_blocker.unblock(), transaction.atomic():
        fill_tables(_world(date(2026, 10, 31), 40))
        retrain(TrainingOptions(storage=storage))
        update_tables(_world(date(2026, 11, 7), 47))
        yield storage
        transaction.set_rollback(True)


@pytest.fixture
def week_later(champion_storage: Path, db: None, tmp_path: Path) -> Path:
    """The model storage: a champion of the end of October, and a week more of songs and listening."""
    storage = tmp_path / "models"
    shutil.copytree(champion_storage, storage)
    return storage
