"""Folders, databases and an environment of their own for the measured processes."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import orjson
import psycopg

from tests.support.servers.postgres_and_valkey import run_postgres

ROOT: Final = Path(__file__).resolve().parents[1]
TEMPLATE: Final = "benchmark_template"
Figures = dict[str, Any]


class MeasurementFailed(Exception):
    """A measured process failed; the text holds its output."""


class Workspace:
    """A temporary folder whose processes ignore the caller's settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "moovitamix.settings",
            "ENV_FILE": os.devnull,
            "VAR_DIR": str(folder / "var"),
            "LOG_LEVEL": "WARNING",
        }

    def measure_module(self, module: str, *arguments: str, **variables: str) -> Figures:
        """Run `python -m MODULE` and return the JSON of its last line."""
        output = self.run_python("-m", module, *arguments, **variables)
        figures: Figures = orjson.loads(output.splitlines()[-1])
        return figures

    def run_python(self, *arguments: str, **variables: str) -> bytes:
        """The output of a Python process.

        Raises:
            MeasurementFailed: it failed.
        """
        done = subprocess.run(
            [sys.executable, *arguments], env={**self.environment, **variables}, cwd=self.folder,
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise MeasurementFailed(f"{' '.join(arguments)}: {done.stderr.decode(errors='replace')[-3000:]}")
        return done.stdout

    @contextmanager
    def serve_source(self, rows: tuple[int, int, int], latency: float = 0.0) -> Iterator[str]:
        """The address of a source with these numbers of songs, users and sessions."""
        command = [sys.executable, "-m", "benchmarks.imports.source_server", *map(str, rows), str(latency)]
        with subprocess.Popen(
            command, env=self.environment, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None  # noqa: S101
            assert process.stdout is not None  # noqa: S101
            try:
                yield process.stdout.readline().decode().strip()
            finally:
                process.stdin.close()


@contextmanager
def temporary_workspace() -> Iterator[Workspace]:
    with tempfile.TemporaryDirectory(prefix="moovitamix-benchmark-") as folder:
        yield Workspace(Path(folder))


class FreshDatabases(Protocol):
    """Creates migrated, empty databases."""

    name: str

    def create_database(self) -> dict[str, str]:
        """Environment variables of a new database; the one before may be deleted."""


class SQLiteFiles:
    """Copies of one migrated file."""

    name = "SQLite"

    def __init__(self, workspace: Workspace) -> None:
        self._template = workspace.folder / "template.db"
        self._file = workspace.folder / "fresh.db"
        workspace.run_python(str(ROOT / "manage.py"), "migrate", "-v", "0", DATABASE_NAME=str(self._template))

    def create_database(self) -> dict[str, str]:
        for left in self._file.parent.glob(f"{self._file.name}*"):
            left.unlink()
        shutil.copyfile(self._template, self._file)
        return self.newest()

    def newest(self) -> dict[str, str]:
        """Environment variables of the database created last."""
        return {"DATABASE_NAME": str(self._file)}


class PostgresDatabases:
    """Copies of one migrated database."""

    name = "PostgreSQL"

    def __init__(self, workspace: Workspace, url: str) -> None:
        self._url = url
        self._count = 0
        self._execute(f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE}")
        workspace.run_python(
            str(ROOT / "manage.py"), "migrate", "-v", "0", DATABASE_URL=self._url_of(TEMPLATE)
        )

    def create_database(self) -> dict[str, str]:
        name, self._count = f"benchmark_{self._count + 1}", self._count + 1
        self._execute(
            f"DROP DATABASE IF EXISTS benchmark_{self._count - 1}",
            f"DROP DATABASE IF EXISTS {name}",
            f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}",
        )
        return {"DATABASE_URL": self._url_of(name)}

    def drop_databases(self) -> None:
        self._execute(
            f"DROP DATABASE IF EXISTS benchmark_{self._count}", f"DROP DATABASE IF EXISTS {TEMPLATE}"
        )

    def _url_of(self, database: str) -> str:
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc}/{database}"

    def _execute(self, *statements: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def open_sqlite(workspace: Workspace) -> Iterator[FreshDatabases]:
    yield SQLiteFiles(workspace)


@contextmanager
def open_postgres(workspace: Workspace) -> Iterator[FreshDatabases]:
    """Databases on a temporary server, or on that of `TEST_DATABASE_URL`.

    Raises:
        ServerUnavailable: there is none.
    """
    with ExitStack() as stack:
        databases = PostgresDatabases(workspace, stack.enter_context(run_postgres()).url)
        stack.callback(databases.drop_databases)
        yield databases
