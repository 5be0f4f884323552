"""A list that cannot be read holds back only what depends on it."""

import pytest

from ingestion.models import IngestionRun, Listener, ListeningHistory, Song
from tests.integration.ingestion.conftest import Run
from tests.support.builders.source_rows import make_track
from tests.support.servers.misleading_source import MisleadingSource
from tests.support.servers.scripted_server import Reply, ScriptedServer

PATHS = {"songs": "/tracks", "users": "/users", "listening_history": "/listen_history"}


def rows() -> tuple[int, int, int]:
    return Song.objects.count(), Listener.objects.count(), ListeningHistory.objects.count()


@pytest.mark.parametrize(
    ("down", "stored"),
    [("listening_history", (30, 10, 0)), ("users", (30, 0, 0)), ("songs", (0, 10, 0))],
)
def test_lists_that_were_read_are_imported_though_another_is_down(
    run: Run, down: str, stored: tuple[int, int, int]
) -> None:
    source = MisleadingSource()
    source.mislead[PATHS[down]] = lambda _: Reply(500)
    with ScriptedServer(source) as server:
        partial = run(server.url)
        counted = rows()
        source.mislead.clear()
        complete = run(server.url)

    assert (partial.status, partial.error_kind) == ("partial", "source_incomplete")
    assert partial.error.startswith(
        f"The {down.replace('_', ' ')} could not be read: {server.url}{PATHS[down]}"
    )
    assert "The lists that were read are imported." in partial.error
    assert counted == stored
    assert (complete.status, rows()) == ("succeeded", (30, 10, 10))


def test_a_run_that_can_read_no_list_fails_and_writes_nothing(run: Run) -> None:
    source = MisleadingSource()
    for path in ("/tracks", "/users"):
        source.mislead[path] = lambda _: Reply(500)
    with ScriptedServer(source) as server:
        failed = run(server.url)

    assert (failed.status, failed.error_kind, rows()) == ("failed", "http_500", (0, 0, 0))
    assert "/tracks" in failed.error


def test_nothing_counts_as_missing_while_a_list_is_down(run: Run) -> None:
    source = MisleadingSource()
    with ScriptedServer(source) as server:
        run(server.url)
        source.tracks.pop()
        source.mislead["/listen_history"] = lambda _: Reply(500)
        run(server.url)

    assert not Song.objects.exclude(missing_since=None).exists()


def test_a_source_that_was_reset_is_refused_though_its_history_is_down(run: Run) -> None:
    source = MisleadingSource()
    with ScriptedServer(source) as server:
        run(server.url)
        source.tracks = [make_track(pk) for pk in range(1001, 1031)]
        source.mislead["/listen_history"] = lambda _: Reply(500)
        refused = run(server.url)

    assert refused.status == IngestionRun.Status.REFUSED
    assert Song.objects.filter(unavailable_at=None).count() == 30


def test_a_dry_run_reports_that_a_list_is_down(run: Run) -> None:
    source = MisleadingSource()
    source.mislead["/listen_history"] = lambda _: Reply(500)
    with ScriptedServer(source) as server:
        partial = run(server.url, dry_run=True)

    assert (partial.status, partial.error_kind, rows()) == ("partial", "source_incomplete", (0, 0, 0))
