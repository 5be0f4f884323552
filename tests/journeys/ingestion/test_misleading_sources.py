"""Sources whose data misleads, against the commands a person runs, on both databases."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ingestion.demo.server import DemoServer
from tests.support.builders.source_rows import make_session, make_track
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


def test_a_history_that_is_suddenly_gone_makes_the_run_partial_and_stays_in_use(
    source: MisleadingSource,
) -> None:
    source.run()
    sessions, source.rows.sessions = source.rows.sessions, source.rows.sessions[4:5]

    days = [source.run(), source.run()]
    stored = source.stored_sessions()
    source.rows.sessions = sessions

    assert [(day["exit_code"], day["error_kind"]) for day in days] == [(2, "history_gone")] * 2
    assert "9 of 10 known sessions of the listening history did not come (90%, limit 50%)" in days[0]["error"]
    assert len(stored) == 10
    assert source.run()["status"] == "succeeded"


def test_sessions_that_leave_a_moving_window_stay_in_use_and_the_window_is_reported(
    source: MisleadingSource,
) -> None:
    everything = [
        make_session(1 + n % 10, [n], created_at=f"2026-10-{1 + n // 24:02}T{n % 24:02}:00:00")
        for n in range(60)
    ]
    source.rows.sessions = everything[:40]
    source.run()

    days = []
    for day in (1, 2):
        source.rows.sessions = everything[10 * day : 40 + 10 * day]
        days.append(source.run()["resources"]["listening_history"])

    assert [(day["new"], day["missing"], day["expired"]) for day in days] == [(10, 0, 10)] * 2
    assert len(source.stored_sessions()) == 60
    assert "history_window" in source.project.shell(
        "from ingestion.models import Incident; print(*Incident.objects.values_list('kind', flat=True))"
    )


def test_a_renamed_field_is_named_and_nobody_is_sent_to_accept_a_reset(source: MisleadingSource) -> None:
    source.run()
    for row in source.rows.tracks:
        row["artist_name"] = row.pop("artist")

    renamed = source.run()
    accepted = source.run("--accept-reset")

    assert (renamed["status"], renamed["error_kind"]) == ("partial", "form_changed")
    assert "artist is missing in 30 of 30 rows" in renamed["error"]
    assert "artist_name" in renamed["error"]
    assert "--accept-reset" not in renamed["error"]
    assert renamed["resources"]["songs"]["rejection_reasons"] == [
        {"field": "artist", "reason": "is missing", "rows": 30}
    ]
    assert accepted["status"] == "partial"
    assert "new_catalogue" not in source.project.shell(
        "from ingestion.models import IngestionRun;"
        "print(*['new_catalogue' for run in IngestionRun.objects.filter(new_catalogue=True)])"
    )


def test_a_field_that_becomes_empty_in_most_rows_is_not_written(source: MisleadingSource) -> None:
    source.run()
    source.rows.tracks = [make_track(pk, album="") for pk in range(1, 31)]

    emptied = source.run()

    assert (emptied["status"], emptied["error_kind"]) == ("partial", "form_changed")
    assert "album became empty in 30 of 30 known rows; no songs were written" in emptied["error"]
    assert emptied["resources"]["songs"]["written"] == 0
