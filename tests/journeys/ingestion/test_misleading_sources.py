"""Sources with misleading data, imported with the commands that people run.

On both databases if these store or query in different ways.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ingestion.demo.server import DemoServer
from tests.support.builders.source_rows import make_session, make_track, make_user
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


def serve_rows(project: Project) -> Iterator[MisleadingSource]:
    rows = ListSource()
    with DemoServer(rows) as server:
        yield MisleadingSource(project, rows, server.url)


@pytest.fixture
def source(sqlite_project: Project) -> Iterator[MisleadingSource]:
    yield from serve_rows(sqlite_project)


@pytest.fixture
def source_for_both(project: Project) -> Iterator[MisleadingSource]:
    """Read into each of the two databases in turn."""
    yield from serve_rows(project)


def test_different_sessions_of_one_day_are_all_kept_in_any_order(source_for_both: MisleadingSource) -> None:
    day = "2026-11-20"
    source_for_both.rows.sessions = [
        make_session(1 + n % 3, [1 + n, 2 + n], created_at=day, updated_at=day) for n in range(24)
    ]
    source_for_both.rows.sessions += [dict(source_for_both.rows.sessions[0])]

    first = source_for_both.run()
    stored = source_for_both.stored_sessions()
    source_for_both.rows.sessions.reverse()
    second = source_for_both.run()

    history = [run["resources"]["listening_history"] for run in (first, second)]
    assert [(one["new"], one["duplicates"], one["same_key"]) for one in history] == [(24, 1, 24), (0, 1, 24)]
    assert history[1]["written"] == 0
    assert stored == sorted(
        [row["user_id"], "2026-11-20T00:00:00+00:00", row["items"]]
        for row in source_for_both.rows.sessions[1:]
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
    assert (
        "9 of 10 known sessions of the listening history were not sent (90%, limit 50%)" in days[0]["error"]
    )
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


def test_a_null_in_an_unimportant_field_costs_no_row(source_for_both: MisleadingSource) -> None:
    source_for_both.rows.tracks[::3] = [make_track(pk, album=None, duration=None) for pk in range(1, 31, 3)]
    source_for_both.rows.users[::2] = [make_user(pk, gender=None, updated_at=None) for pk in range(1, 11, 2)]
    source_for_both.rows.sessions[0] = make_session(1, []) | {"items": [1, "x", "2", None]}

    first, second = source_for_both.run(), source_for_both.run()

    songs, users, history = (first["resources"][name] for name in ("songs", "users", "listening_history"))
    assert (first["status"], songs["new"], users["new"], history["new"]) == ("succeeded", 30, 10, 10)
    assert songs["corrections"] == {"album left empty": 10, "duration left empty": 10}
    assert users["corrections"] == {"gender left empty": 5, "updated_at taken from created_at": 5}
    assert history["corrections"] == {"items cleaned of unreadable parts": 1}
    assert source_for_both.stored_sessions()[0][2] == [1, 2]
    assert [one["written"] for one in second["resources"].values()] == [0, 0, 0]


def test_ids_that_become_text_are_the_same_ids(source: MisleadingSource) -> None:
    source.run()
    source.rows.tracks = [row | {"id": str(row["id"])} for row in source.rows.tracks]
    source.rows.sessions = [row | {"user_id": str(row["user_id"])} for row in source.rows.sessions]

    second = source.run()

    assert second["status"] == "succeeded"
    assert second["resources"]["songs"]["unchanged"] == 30
    assert second["resources"]["songs"]["corrections"] == {"id read from text": 30}
    assert second["resources"]["listening_history"]["corrections"] == {"user_id read from text": 10}


def test_names_that_no_database_can_hold_neither_end_a_run_nor_come_back(
    source_for_both: MisleadingSource,
) -> None:
    source_for_both.rows.tracks[0] |= {"x\0y": 1, "k" * 5_000: 1}
    source_for_both.rows.tracks[1] |= {"audio_features": {"e\0": 1.0, "tempo": 120.0}}

    runs = [source_for_both.run(), source_for_both.run()]

    assert [(run["status"], run["resources"]["songs"]["resumed"]) for run in runs] == [
        ("succeeded", False)
    ] * 2


LOOK_UP = """
import sqlite3
from django.db import connection
from ingestion.models import Song
from ingestion.pipeline.upsert import SONG_TABLE, existing_ids, read_stored
connection.ensure_connection()
if connection.vendor == "sqlite":
    connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 7)
print(len(read_stored(SONG_TABLE, [(pk,) for pk in range(1, 31)])), len(existing_ids(Song, range(1, 31))))
"""


def test_look_ups_keep_to_the_engine_s_number_of_parameters(source_for_both: MisleadingSource) -> None:
    source_for_both.run()

    assert source_for_both.project.shell(LOOK_UP) == "30 30"
