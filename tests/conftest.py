"""Real servers for the whole session, and nothing of the developer's own settings.

All of it happens while this file is imported: Django reads its settings once, and the conftest files below
this one import models.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import django
import pytest
import redis
from django.conf import settings

from moovitamix import servers
from tests.support.projects import Project, ProjectMaker, make_projects, own_variables

if settings.configured:
    raise pytest.UsageError("Unset DJANGO_SETTINGS_MODULE: the tests bring their own settings.")

# Not pytest_unconfigure: a wrong option ends pytest between this import and that hook.
OPEN = ExitStack()
atexit.register(OPEN.close)

POSTGRES = OPEN.enter_context(servers.postgres())
VALKEY = OPEN.enter_context(servers.valkey())
FOLDER = Path(tempfile.mkdtemp(prefix="moovitamix-tests-"))
OPEN.callback(shutil.rmtree, FOLDER, ignore_errors=True)

for name in own_variables():
    os.environ.pop(name, None)
os.environ.update(
    DJANGO_SETTINGS_MODULE="moovitamix.settings",
    ENV_FILE=os.devnull,
    DATABASE_URL=POSTGRES.url,
    REDIS_URL=VALKEY.url,
    VAR_DIR=str(FOLDER / "var"),
)
django.setup()


def pytest_report_header() -> list[str]:
    return [f"PostgreSQL: {POSTGRES.name}", f"Redis: {VALKEY.name}"]


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """What one test caches the next must not see."""
    with redis.Redis.from_url(VALKEY.url) as client:
        client.flushdb()
    yield


@pytest.fixture(scope="session")
def _make_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectMaker]:
    with make_projects(tmp_path_factory.mktemp("projects"), POSTGRES.url) as maker:
        yield maker


@pytest.fixture
def sqlite_project(_make_project: ProjectMaker, tmp_path: Path) -> Project:
    """An installation on a migrated SQLite file of its own."""
    return _make_project.on_sqlite(tmp_path)


@pytest.fixture
def postgres_project(_make_project: ProjectMaker, tmp_path: Path) -> Iterator[Project]:
    """An installation on a migrated PostgreSQL database of its own."""
    with _make_project.on_postgres(tmp_path) as project:
        yield project
