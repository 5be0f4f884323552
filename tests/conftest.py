"""Real servers for the whole session, and nothing of the developer's own settings.

All of it happens while this file is imported: Django reads its settings once, and the conftest files below
this one import models.
"""

import atexit
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import django
import pytest
import redis
from django.conf import settings

from tests.support.databases import ProjectDatabases
from tests.support.fork_server import run_fork_server
from tests.support.project import ROOT, Project, build_environment
from tests.support.servers import postgres_and_valkey

if settings.configured:
    raise pytest.UsageError("Unset DJANGO_SETTINGS_MODULE: the tests bring their own settings.")

# A shell that starts this in the background has its processes ignore Ctrl-C, and theirs in turn; the commands
# under test must hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Not pytest_unconfigure: a wrong option ends pytest between this import and that hook.
OPEN_RESOURCES = ExitStack()
atexit.register(OPEN_RESOURCES.close)

POSTGRES = OPEN_RESOURCES.enter_context(postgres_and_valkey.run_postgres())
VALKEY = OPEN_RESOURCES.enter_context(postgres_and_valkey.run_valkey())
FOLDER = Path(tempfile.mkdtemp(prefix="moovitamix-tests-"))
OPEN_RESOURCES.callback(shutil.rmtree, FOLDER, ignore_errors=True)

# .env.example names every variable that the settings read.
for name in re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE):
    os.environ.pop(name, None)
os.environ.update(
    DJANGO_SETTINGS_MODULE="moovitamix.settings",
    ENV_FILE=os.devnull,
    DATABASE_URL=POSTGRES.url,
    REDIS_URL=VALKEY.url,
    VAR_DIR=str(FOLDER / "var"),
)
django.setup()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """On several cores each process brings servers and settings of its own, and this one runs no test."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Journeys first: a file of three minutes that is begun last is what all cores wait for."""
    items.sort(key=lambda item: "/journeys/" not in str(item.path))


def pytest_report_header() -> list[str]:
    return [f"PostgreSQL: {POSTGRES.name}", f"Redis: {VALKEY.name}"]


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    """What one test caches the next must not see."""
    with redis.Redis.from_url(VALKEY.url) as client:
        client.flushdb()


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectDatabases]:
    folder = tmp_path_factory.mktemp("databases")
    with run_fork_server(build_environment(folder)) as fork_server:
        databases = ProjectDatabases(folder, POSTGRES.url, fork_server)
        yield databases
        databases.close()


@pytest.fixture
def sqlite_project(databases: ProjectDatabases, tmp_path: Path) -> Iterator[Project]:
    """An installation on a migrated SQLite file of its own."""
    with databases.sqlite_project(tmp_path) as project:
        yield project


@pytest.fixture
def postgres_project(databases: ProjectDatabases, tmp_path: Path) -> Iterator[Project]:
    """An installation on a migrated PostgreSQL database of its own."""
    with databases.postgres_project(tmp_path) as project:
        yield project


@pytest.fixture(params=["sqlite", "postgres"])
def project(request: pytest.FixtureRequest) -> Project:
    """An installation on each of the two databases in turn."""
    made: Project = request.getfixturevalue(f"{request.param}_project")
    return made
