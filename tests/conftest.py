"""Starts real servers for the test session, and keeps the developer's own settings out.

This happens while the file is imported: Django reads its settings once, and the conftest files below this one
import models.
"""

import atexit
import gc
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO
from uuid import uuid4

import django
import psycopg
import pytest
import redis
from django.conf import settings
from django.db import connection

from tests.support.databases import ProjectDatabases
from tests.support.fork_server import ForkServer, run_fork_server
from tests.support.project import ROOT, Project, build_environment
from tests.support.servers import postgres_and_valkey

# Where the shell forbids compiled files, every test process and each of the hundreds of interpreters that the
# tests start would compile the whole project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if settings.configured:
    raise pytest.UsageError("Unset DJANGO_SETTINGS_MODULE: the tests bring their own settings.")

# A shell that starts this in the background has its processes ignore Ctrl-C, and theirs in turn; the commands
# under test must hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Not pytest_unconfigure: a wrong option ends pytest between this import and that hook.
OPEN_RESOURCES = ExitStack()
atexit.register(OPEN_RESOURCES.close)

# With several processes each imports this file, and they share one PostgreSQL.
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
TEMPLATE_VARIABLE = "MOOVITAMIX_TEST_TEMPLATE"
FORK_SERVER_VARIABLE = "MOOVITAMIX_TEST_FORK_SERVER"
# Files and folders that take longest, the longest first.
LONG = (
    "/test_demo.py", "/test_killed_trainings.py", "/test_simulation.py", "/test_experiment_pages.py",
    "/journeys/", "/browser/", "/integration/benchmarks/", "/spark/", "/tooling/", "/management/",
)  # fmt: skip
# A trained model, or an installation whose commands are processes: left out by --fast.
SLOW_FIXTURES = {"trained", "champion_storage", "sqlite_project", "postgres_project", "project"}
if not IS_WORKER:
    os.environ[TEMPLATE_VARIABLE] = f"moovitamix_template_{uuid4().hex}"

POSTGRES = OPEN_RESOURCES.enter_context(postgres_and_valkey.run_postgres())
VALKEY = OPEN_RESOURCES.enter_context(postgres_and_valkey.run_valkey())
# Kept open: to connect takes longer than most tests.
CACHE = OPEN_RESOURCES.enter_context(redis.Redis.from_url(VALKEY.url))
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
    EXPECTED_PARTS="",  # no Beat and no worker run beside the tests
    UMASK="022",  # PostgreSQL runs as another user where the tests run as root
)
django.setup()
# Most tests log somebody in. The real hasher takes half a second of CPU; the journeys log in with it.
# Its backend needs a request, which a test client's login has not; the tests of the lock turn it on.
settings.AXES_ENABLED = False
# Else each test client first visits all static files, for 20 ms.
settings.WHITENOISE_AUTOREFRESH = True
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]


@OPEN_RESOURCES.callback
def drop_template() -> None:
    if not IS_WORKER:
        with psycopg.connect(POSTGRES.url, autocommit=True) as server:
            name = os.environ[TEMPLATE_VARIABLE]
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Give each test process its own settings and Valkey; this process runs no test."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    os.environ["TEST_DATABASE_URL"] = POSTGRES.url
    server = OPEN_RESOURCES.enter_context(run_fork_server(build_environment(FOLDER)))
    os.environ[FORK_SERVER_VARIABLE] = server.address


@contextmanager
def fork_server() -> Iterator[ForkServer]:
    """The fork server that all processes of the session share; without one, a server for this process."""
    address = os.environ.get(FORK_SERVER_VARIABLE)
    if address is not None:
        yield ForkServer(address, build_environment(FOLDER))
    else:
        with run_fork_server(build_environment(FOLDER)) as server:
            yield server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast",
        action="store_true",
        help="tests within one process, on one database, that need no trained model and are not marked slow",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.option.durations is None:
        config.option.durations = 10
        config.option.durations_min = 1.0


def pytest_collection_finish() -> None:
    # Modules, models and tests stay until the end: collections need not visit them again.
    gc.collect()
    gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --fast, folders without a fast test are not even imported."""
    is_slow = any(collection_path.is_relative_to(ROOT / "tests" / name) for name in ("journeys", "browser"))
    return True if config.option.fast and is_slow else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run files of minutes first: if one began last, all other cores would wait for it."""
    items.sort(key=lambda item: next((n for n, name in enumerate(LONG) if name in str(item.path)), len(LONG)))
    if config.option.fast:
        left_out = [item for item in items if not is_fast(item)]
        items[:] = [item for item in items if is_fast(item)]
        config.hook.pytest_deselected(items=left_out)


def is_fast(item: pytest.Item) -> bool:
    path = str(item.path)
    if "/journeys/" in path or "/browser/" in path or item.get_closest_marker("slow"):
        return False
    if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
        return False
    callspec = getattr(item, "callspec", None)
    # Compared as text only: a parameter may be an array.
    return callspec is None or not any(
        isinstance(one, str) and one == "sqlite" for one in callspec.params.values()
    )


def pytest_report_header() -> list[str]:
    return [f"PostgreSQL: {POSTGRES.name}", f"Redis: {VALKEY.name}"]


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    """Empty the cache before each test, so that it does not see values of earlier tests."""
    # The broker's database, and that of the cache.
    CACHE.flushall()


@pytest.fixture(autouse=True)
def _unchanged_log() -> Iterator[None]:
    """Fail a test that moves the log to a stream that pytest closes: any later test could meet it."""
    before = log_streams()
    yield
    assert log_streams() == before, "The test has set up the log anew."


def log_streams() -> list[TextIO]:
    handlers = logging.getLogger().handlers
    return [one.stream for one in handlers if type(one) is logging.StreamHandler]  # not those of pytest


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectDatabases]:
    folder = tmp_path_factory.mktemp("databases")
    # With several processes each has a folder of its own below this one.
    shared = tmp_path_factory.getbasetemp()
    if IS_WORKER:
        shared = shared.parent
    with fork_server() as server:
        yield ProjectDatabases(folder, shared, POSTGRES.url, os.environ[TEMPLATE_VARIABLE], server)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, databases: ProjectDatabases
) -> None:
    """Let the test database of this process be a copy of the migrated template."""
    connection.settings_dict["TEST"]["TEMPLATE"] = databases.postgres_template()


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
