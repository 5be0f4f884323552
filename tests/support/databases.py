"""Migrated databases for tests: each kind is migrated once a session, and copied from then on."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg

from tests.support.fork_server import ForkServer
from tests.support.project import Project, build_environment


class ProjectDatabases:
    """Makes installations, each on a migrated database of its own.

    `folder` is kept as long as this object; `server_url` names a database of the server, on which others
    may be created.
    """

    def __init__(self, folder: Path, server_url: str, fork_server: ForkServer) -> None:
        self._folder = folder
        self._fork_server = fork_server
        self._server_url = server_url
        self._sqlite: Path | None = None
        self._postgres: str | None = None

    @contextmanager
    def sqlite_project(self, folder: Path) -> Iterator[Project]:
        if self._sqlite is None:
            template = self._folder / "template.db"
            self._migrate(DATABASE_NAME=template)
            self._sqlite = template
        shutil.copyfile(self._sqlite, folder / "music_data.db")
        with _stopped_at_end(self._project(folder, DATABASE_NAME=folder / "music_data.db")) as project:
            yield project

    @contextmanager
    def postgres_project(self, folder: Path) -> Iterator[Project]:
        if self._postgres is None:
            template = f"moovitamix_template_{uuid4().hex}"
            self._create(template, "template1")
            self._migrate(DATABASE_URL=self._url(template))
            self._postgres = template
        name = f"moovitamix_project_{uuid4().hex}"
        self._create(name, self._postgres)
        with _stopped_at_end(self._project(folder, DATABASE_URL=self._url(name))) as project:
            yield project
        self._drop(name)

    def close(self) -> None:
        if self._postgres is not None:
            self._drop(self._postgres)

    def _migrate(self, **variables: object) -> None:
        self._project(self._folder, **variables).manage("migrate", "--verbosity=0")

    def _project(self, folder: Path, **variables: object) -> Project:
        return Project(build_environment(folder, **variables), folder, self._fork_server)

    def _create(self, name: str, template: str) -> None:
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')

    def _drop(self, name: str) -> None:
        # FORCE: a process that the test killed may still hold its connection.
        self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _url(self, name: str) -> str:
        return urlsplit(self._server_url)._replace(path=f"/{name}").geturl()


@contextmanager
def _stopped_at_end(project: Project) -> Iterator[Project]:
    try:
        yield project
    finally:
        project.stop()
