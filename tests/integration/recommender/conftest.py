"""A small world in the tables and a model of it, trained once a file by the real code."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from recommender.serving.list_limits import ServingOptions
from tests.support.builders.small_world import fill_tables, small_world
from tests.support.builders.trained_model import train_champion


@pytest.fixture(scope="module")
def trained(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Where the champion's artifact is; what a test changes in the tables is undone after it."""
    folder = tmp_path_factory.mktemp("models")
    with django_db_blocker.unblock(), transaction.atomic():
        fill_tables(small_world())
        train_champion(folder)
        yield folder
        transaction.set_rollback(True)


@pytest.fixture
def options(trained: Path, db: None) -> ServingOptions:
    return ServingOptions(trained)


@pytest.fixture
def storage(trained: Path, db: None, tmp_path: Path) -> Path:
    """A copy of the artifacts, for a test to damage."""
    return Path(shutil.copytree(trained, tmp_path / "models"))
