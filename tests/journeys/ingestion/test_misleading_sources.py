"""Sources whose data misleads, against the commands a person runs, on both databases."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ingestion.demo.server import DemoServer
from tests.support.builders.source_rows import make_session
from tests.support.project import Project
from tests.support.servers.list_source import ListSource

SESSIONS = """
import json
from ingestion.models import ListeningHistory
print(json.dumps(sorted(
    (one.user_id, one.created_at.isoformat(), one.items)
    for one in ListeningHistory.objects.filter(unavailable_at=None)
)))
"""


class MisleadingSource:
    """A source whose rows a test changes between two runs of a project."""

    def __init__(self, project: Project, rows: ListSource, url: str) -> None:
        self.project, self.rows, self.url = project, rows, url

    def run(self, *arguments: str, **variables: str) -> dict[str, Any]:
        environment: dict[str, Any] = {"BASE_URL": self.url, **variables}
        done = self.project.manage("runingest", "--json", *arguments, check=False, **environment)
        assert done.stdout, done.stderr
        facts: dict[str, Any] = json.loads(done.stdout)
        assert facts["exit_code"] == done.returncode
        return facts

    def stored_sessions(self) -> list[Any]:
        rows: list[Any] = json.loads(self.project.shell(SESSIONS))
        return rows


@pytest.fixture
def source(project: Project) -> Iterator[MisleadingSource]:
    rows = ListSource()
    with DemoServer(rows) as server:
        yield MisleadingSource(project, rows, server.url)


def test_different_sessions_of_one_day_are_all_kept_in_any_order(source: MisleadingSource) -> None:
    day = "2026-11-20"
    source.rows.sessions = [
        make_session(1 + n % 3, [1 + n, 2 + n], created_at=day, updated_at=day) for n in range(24)
    ]
    source.rows.sessions += [dict(source.rows.sessions[0])]

    first = source.run()
    stored = source.stored_sessions()
    source.rows.sessions.reverse()
    second = source.run()

    history = [run["resources"]["listening_history"] for run in (first, second)]
    assert [(one["new"], one["duplicates"], one["same_key"]) for one in history] == [(24, 1, 24), (0, 1, 24)]
    assert history[1]["written"] == 0
    assert stored == sorted(
        [row["user_id"], "2026-11-20T00:00:00+00:00", row["items"]] for row in source.rows.sessions[1:]
    )
