"""Rows that come more than once, or not at all: the different rows must be as many as the source reports."""

from datetime import UTC
from typing import Any

import pytest

from ingestion.models import IngestionRun, Listener, ListeningHistory, Rejection, ResourceReport, Song
from ingestion.pipeline import rejections
from ingestion.pipeline.quality_gate import QualityLimits
from tests.integration.ingestion.conftest import Run
from tests.support.builders.source_rows import make_session, make_track, make_user
from tests.support.servers.list_source import ListSource
from tests.support.servers.misleading_source import MisleadingSource
from tests.support.servers.scripted_server import ScriptedServer, page_reply


def report(run: IngestionRun, resource: str) -> ResourceReport:
    return run.reports.get(resource=resource)


def test_rows_sent_twice_count_once_and_the_newest_stands(run: Run, source: ListSource) -> None:
    source.tracks.append(make_track(5, name="Older", updated_at="2020-01-01T00:00:00"))
    source.tracks.insert(0, make_track(6, name="Newer", updated_at="2027-01-01T00:00:00"))

    first, second = run(), run()

    assert first.status == "succeeded"
    assert (report(first, "songs").duplicates, report(first, "songs").new) == (2, 30)
    assert (report(second, "songs").duplicates, report(second, "songs").unchanged) == (2, 30)
    assert sum(second.reports.values_list("written", flat=True)) == 0
    assert Song.objects.get(pk=5).name == "Song 5"
    assert Song.objects.get(pk=6).name == "Newer"


def test_a_doubled_session_is_one(run: Run, source: ListSource) -> None:
    source.sessions += [dict(row) for row in source.sessions]

    first = run()

    assert (report(first, "listening_history").duplicates, ListeningHistory.objects.count()) == (10, 10)


def test_sessions_of_one_time_with_other_content_are_all_kept(run: Run, source: ListSource) -> None:
    run()  # the previous release kept one session of each listener and time
    source.sessions += [make_session(1, [pk]) for pk in range(20, 30)]

    second = run()
    source.sessions.reverse()
    third = run()

    assert (report(second, "listening_history").new, report(second, "listening_history").same_key) == (10, 11)
    assert report(third, "listening_history").written == 0
    assert sorted(ListeningHistory.objects.filter(user_id=1).values_list("items", flat=True)) == sorted(
        [[1, 2], *([pk] for pk in range(20, 30))]
    )
    assert "11 share listener and time with a different session" in second.summary


def test_one_of_several_sessions_of_one_time_that_leaves_is_the_one_that_goes_missing(
    run: Run, source: ListSource
) -> None:
    source.sessions += [make_session(1, [20]), make_session(1, [21])]
    run()
    source.sessions = [row for row in source.sessions if row["items"] != [1, 2]]

    first, _ = run(), run()

    assert (report(first, "listening_history").missing, first.changed) == (1, 0)
    gone = ListeningHistory.objects.filter(unavailable_at__isnull=False)
    assert list(gone.values_list("items", flat=True)) == [[1, 2]]


def test_waiting_sessions_of_one_time_are_all_taken_in_once_their_listener_comes(
    run: Run, source: ListSource
) -> None:
    source.sessions += [make_session(500, [pk]) for pk in (1, 2, 3)]
    run(limits=QualityLimits(rejected=0.5))
    source.users.append(make_user(500))

    run()

    assert ListeningHistory.objects.filter(user_id=500).count() == 3
    assert set(Rejection.objects.values_list("resolution", flat=True)) == {"taken in"}


def test_waiting_sessions_of_one_time_are_all_replayed(run: Run, source: ListSource) -> None:
    source.sessions += [make_session(500, [pk]) for pk in (1, 2, 3)]
    run(limits=QualityLimits(rejected=0.5))
    moment = "2026-11-01T00:00:00Z"
    Listener.objects.create(pk=500, created_at=moment, updated_at=moment)

    rejections.replay_open(UTC)

    assert ListeningHistory.objects.filter(user_id=500).count() == 3


def test_a_source_that_ignores_the_page_is_partial_on_the_first_run_too(run: Run) -> None:
    source = MisleadingSource()
    source.mislead["/tracks"] = lambda request: page_reply(
        source.tracks, request.page, size=10, items=source.tracks[:10]
    )
    with ScriptedServer(source) as server:
        first, second = run(server.url), run(server.url)

    for day in (first, second):
        assert (day.status, day.error_kind) == ("partial", "doubled_rows")
        assert day.error == (
            "The source reports 30 songs and sent 10 different ones: 20 rows came more than once "
            "(such as 1, 2, 3, 4, 5), so others may be missing."
        )
        assert ", 20 sent more than once; " in day.summary
    assert Song.objects.count() == 10


def test_rows_hidden_by_ties_in_the_order_are_partial_every_day_and_not_missing(run: Run) -> None:
    source = MisleadingSource()
    hidden = {3: 25, 4: 12}
    source.mislead["/tracks"] = lambda request: page_reply(
        [hidden_row(row, hidden) for row in source.tracks], request.page, size=10
    )

    def hidden_row(row: dict[str, Any], hidden: dict[int, int]) -> dict[str, Any]:
        return make_track(hidden.get(row["id"], row["id"]))

    with ScriptedServer(source) as server:
        days = [run(server.url)]
        hidden = {25: 3, 12: 4}
        days += [run(server.url) for _ in range(4)]

    assert [day.error_kind for day in days] == ["doubled_rows"] * 5
    assert Song.objects.filter(missing_since=None).count() == 30


@pytest.mark.parametrize("broken", [{"name": ""}, {"name": None}])
def test_rejected_rows_that_came_twice_count_once(run: Run, broken: dict[str, Any]) -> None:
    source = MisleadingSource()
    source.tracks[20] = source.tracks[4] = make_track(5, **broken)
    with ScriptedServer(source) as server:
        doubtful = run(server.url, limits=QualityLimits(rejected=1.0))

    assert doubtful.error_kind == "doubled_rows"
    assert "reports 30 songs and sent 29 different ones" in doubtful.error


def test_rejected_sessions_of_one_time_are_different_rows(run: Run) -> None:
    source = MisleadingSource(size=4)
    source.sessions[:2] = [{**make_session(1, [song]), "user_id": "broken"} for song in (1, 2)]
    with ScriptedServer(source) as server:
        whole = run(server.url, limits=QualityLimits(rejected=1.0))
        source.sessions[1] = dict(source.sessions[0])
        source.sessions.reverse()
        source.sessions[0] = dict(source.sessions[-1])
        doubled = run(server.url, limits=QualityLimits(rejected=1.0))

    assert whole.status == "succeeded"
    assert doubled.error_kind == "doubled_rows"


def test_a_list_that_is_short_every_day_is_learnt_and_then_proven_by_the_known_rows(run: Run) -> None:
    source = MisleadingSource()
    filtered = {7, 18}
    source.mislead["/tracks"] = lambda request: page_reply(
        source.tracks, request.page, size=10,
        items=[row for row in source.tracks[request.page * 10 - 10 : request.page * 10]
               if row["id"] not in filtered],
    )  # fmt: skip
    with ScriptedServer(source) as server:
        learning = [run(server.url) for _ in range(3)]
        usual = run(server.url)
        filtered.add(30)
        shorter = run(server.url)
        filtered -= {30, 18}
        longer = run(server.url)

    assert [day.error_kind for day in learning] == ["lying_total"] * 3
    assert usual.status == "succeeded"
    assert ", 30 reported by the source; " in usual.summary
    assert shorter.error == "The source reports 30 songs and sent 27."
    assert longer.status == "succeeded"


def test_a_list_that_sends_none_of_its_rows_is_never_learnt(run: Run) -> None:
    source = MisleadingSource()
    source.mislead["/tracks"] = lambda request: page_reply(source.tracks, request.page, size=10, items=[])
    with ScriptedServer(source) as server:
        days = [run(server.url) for _ in range(5)]

    assert [day.error_kind for day in days] == ["lying_total"] * 5


def test_a_row_sent_whole_and_broken_hides_no_missing_one(run: Run, source: ListSource) -> None:
    run()
    source.tracks[4] = make_track(8, artist=None)

    second = run()

    assert report(second, "songs").missing == 1
    assert report(second, "songs").rejected == 1
