"""Migrated databases for tests: each kind is migrated once a session, and copied from then on."""

import fcntl
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
    """Creates installations, each with its own migrated database.

    Args:
        folder: a folder that must exist as long as this object.
        shared: a folder that all processes of this test session share. The first process that needs a
            template migrates it there.
        server_url: a database on a PostgreSQL server that allows to create further ones.
        template: the name of the PostgreSQL template, which the session drops at its end.
        fork_server: forks the processes of the installations.
    """

    def __init__(
        self, folder: Path, shared: Path, server_url: str, template: str, fork_server: ForkServer
    ) -> None:
        self._folder = folder
        self._shared = shared
        self._server_url = server_url
        self._template = template
        self._fork_server = fork_server

    @contextmanager
    def sqlite_project(self, folder: Path) -> Iterator[Project]:
        template = self._shared / "template.db"
        with self._made_once("sqlite") as is_made:
            if not is_made:
                self._migrate(DATABASE_NAME=template)
        shutil.copyfile(template, folder / "music_data.db")
        with _stopped_at_end(self._project(folder, DATABASE_NAME=folder / "music_data.db")) as project:
            yield project

    @contextmanager
    def postgres_project(self, folder: Path) -> Iterator[Project]:
        name = f"moovitamix_project_{uuid4().hex}"
        self._create(name, self.postgres_template())
        with _stopped_at_end(self._project(folder, DATABASE_URL=self._url(name))) as project:
            yield project
        self._drop(name)

    def postgres_template(self) -> str:
        """The name of a migrated database to copy, for `TEMPLATE`."""
        with self._made_once("postgres") as is_made:
            if not is_made:
                self._create(self._template, "template1")
                self._migrate(DATABASE_URL=self._url(self._template))
        return self._template

    @contextmanager
    def _made_once(self, kind: str) -> Iterator[bool]:
        mark = self._shared / f"template-{kind}"
        with mark.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield mark.stat().st_size > 0
            file.write("made")

    def _migrate(self, **variables: object) -> None:
        with _stopped_at_end(self._project(self._folder, **variables)) as project:
            project.manage("migrate", "--skip-checks", "--verbosity=0")

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
