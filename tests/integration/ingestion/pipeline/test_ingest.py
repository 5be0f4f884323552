"""Successive runs against a changing source: what is written, what is not, and what is reported."""

import logging
from typing import Any

import pytest
from django.db import connection
from psycopg.errors import CheckViolation

from ingestion.models import IngestionRun, Listener, ListeningHistory, ResourceReport, Song
from ingestion.pipeline.ingest import IngestionProgress
from ingestion.pipeline.quality_gate import QualityLimits
from tests.integration.ingestion.conftest import Run, Serve
from tests.support.builders.source_rows import make_session, make_track, make_user
from tests.support.servers.list_source import ListSource


def report(run: IngestionRun, resource: str) -> ResourceReport:
    return run.reports.get(resource=resource)


def test_the_first_run_takes_everything_in(run: Run, source: ListSource) -> None:
    first = run()

    assert first.status == "succeeded"
    assert (first.received, first.new) == (50, 50)
    assert Song.objects.count() == 30
    assert Listener.objects.get(pk=3).email == "user3@example.org"
    assert ListeningHistory.objects.get(user_id=3).items == [3, 4]
    assert first.summary.startswith("30 songs: 30 new, 0 changed, 0 unchanged, 0 rejected, 0 missing; ")


def test_an_identical_second_run_writes_nothing(run: Run) -> None:
    run()

    second = run()

    assert second.status == "succeeded"
    assert (second.new, second.changed, second.unchanged) == (0, 0, 50)
    assert sum(second.reports.values_list("written", flat=True)) == 0


def test_only_what_changed_is_written(run: Run, source: ListSource) -> None:
    run()
    source.tracks[4] = make_track(5, name="Renamed")
    source.sessions[0] = make_session(1, [7])

    second = run()

    assert (second.new, second.changed) == (0, 2)
    assert [one.written for one in second.reports.order_by("id")] == [1, 0, 1]
    assert Song.objects.get(pk=5).name == "Renamed"
    assert ListeningHistory.objects.get(user_id=1).items == [7]


def test_a_row_that_somebody_edited_is_put_right(run: Run) -> None:
    run()
    Song.objects.filter(pk=5).update(name="Edited by hand", audio_features={"tempo": 1.0})

    second = run()

    assert second.changed == 1
    assert Song.objects.get(pk=5).name == "Song 5"
    assert Song.objects.get(pk=5).audio_features is None


def test_features_that_were_written_by_others_differ_only_if_their_content_does(
    run: Run, source: ListSource
) -> None:
    source.tracks[0] = make_track(1, audio_features={"tempo": 120, "energy": 0.5})
    run()
    Song.objects.filter(pk=1).update(audio_features={"energy": 0.5, "tempo": 120.0})

    assert run().changed == 0


def test_a_row_missing_from_two_runs_becomes_unavailable_and_comes_back(run: Run, source: ListSource) -> None:
    run()
    gone = source.tracks.pop(4)

    first, seen_first = run(), Song.objects.get(pk=5).unavailable_at
    second, seen_second = run(), Song.objects.get(pk=5).unavailable_at
    third = run()
    source.tracks.insert(4, gone)
    fourth = run()

    assert (seen_first, seen_second is not None) == (None, True)
    assert [report(one, "songs").missing for one in (first, second, third, fourth)] == [1, 1, 0, 0]
    assert report(fourth, "songs").returned == 1
    assert Song.objects.get(pk=5).unavailable_at is None
    assert Song.objects.get(pk=5).missing_since is None


def test_a_missing_session_becomes_unavailable_too(run: Run, source: ListSource) -> None:
    run()
    source.sessions.pop()

    run()
    run()

    assert ListeningHistory.objects.filter(unavailable_at__isnull=False).count() == 1
    assert ListeningHistory.objects.count() == 10


def test_only_runs_that_succeeded_count_a_row_missing(run: Run, source: ListSource) -> None:
    run()
    source.tracks.pop(4)
    first = run()
    IngestionRun.objects.filter(pk=first.pk).update(status="partial", error_kind="x")

    run()

    assert Song.objects.get(pk=5).unavailable_at is None


def test_a_partial_run_counts_nothing_as_missing(run: Run, source: ListSource, serve: Serve) -> None:
    run()
    source.tracks.pop(4)

    partial = run(serve("lyingtotal"))

    assert (partial.status, partial.error_kind) == ("partial", "lying_total")
    assert Song.objects.get(pk=5).missing_since is None


def test_a_reset_source_is_refused_before_anything_is_written(run: Run, source: ListSource) -> None:
    run()
    source.new_catalogue()
    source.users.append(make_user(99))

    refused = run()

    assert (refused.status, refused.error_kind) == ("refused", "source_reset")
    assert "30 of 30 known ids of songs now mean something else" in refused.error
    assert Song.objects.get(pk=1).name == "Song 1"
    assert not Listener.objects.filter(pk=99).exists()


def test_a_reset_that_a_person_accepts_replaces_the_catalogue_at_once(run: Run, source: ListSource) -> None:
    run()
    source.tracks = [make_track(pk) for pk in range(1001, 1031)]
    source.sessions = []

    refused, accepted = run(), run(accept_reset=True)

    assert (refused.status, accepted.status) == ("refused", "succeeded")
    assert set(Song.objects.filter(unavailable_at=None).values_list("pk", flat=True)) == set(
        range(1001, 1031)
    )
    assert Song.objects.filter(unavailable_at__isnull=False).count() == 30


def test_a_source_that_is_down_fails_the_run_and_leaves_the_catalogue(run: Run, serve: Serve) -> None:
    run()

    failed = run(serve("500:1"))

    assert (failed.status, failed.error_kind) == ("failed", "http_500")
    assert failed.finished_at is not None
    assert Song.objects.count() == 30
    assert report(failed, "songs").errors == {"http_500": 4}


def test_a_dry_run_shows_the_difference_and_writes_nothing(run: Run, source: ListSource) -> None:
    run()
    source.tracks[0] = make_track(1, name="Renamed")
    source.tracks.append(make_track(77))
    source.users.pop()
    seen: list[tuple[str, Any, bool]] = []

    class Notebook(IngestionProgress):
        def on_change(self, resource: Any, change: Any) -> None:
            seen.append((resource, change.record[:2], change.before is None))

        def on_missing(self, resource: Any, key: tuple[object, ...]) -> None:
            seen.append((resource, key, False))

    dry = run(callback=Notebook(), dry_run=True)

    # The user that is gone had a session, which is sent still.
    assert seen == [
        ("songs", (1, "Renamed"), False),
        ("songs", (77, "Song 77"), True),
        ("users", (10,), False),
    ]
    assert (dry.new, dry.changed, dry.dry_run) == (1, 1, True)
    assert Song.objects.get(pk=1).name == "Song 1"
    assert Listener.objects.get(pk=10).missing_since is None
    assert run().new == 1


def test_songs_that_nobody_knows_stay_in_the_session_and_are_counted(run: Run, source: ListSource) -> None:
    source.sessions[0] = make_session(1, [1, 999_999, 2, 888_888])

    first = run()

    assert report(first, "listening_history").unknown_songs == 2
    assert ListeningHistory.objects.get(user_id=1).items == [1, 999_999, 2, 888_888]


def test_incoherent_times_and_unknown_fields_are_news_and_no_errors(run: Run, source: ListSource) -> None:
    source.tracks[0] = make_track(1, updated_at="2026-10-01T00:00:00", mood="blue")

    first = run()

    assert (report(first, "songs").incoherent_times, report(first, "songs").unknown_fields) == (
        1,
        {"mood": 1},
    )
    assert first.status == "succeeded"


def test_latency_counts_from_the_newest_time_of_a_row(run: Run, source: ListSource) -> None:
    first = run()
    newest = Song.objects.latest("created_at").created_at

    latency = report(first, "songs").latency_p50

    assert first.finished_at is not None
    assert latency == pytest.approx((first.finished_at - newest).total_seconds(), abs=60)
    assert report(run(), "songs").latency_p50 is None


def test_an_empty_source_is_a_success_that_says_so(run: Run, source: ListSource) -> None:
    source.tracks, source.users, source.sessions = [], [], []

    first = run()

    assert (first.status, first.received) == ("succeeded", 0)
    assert first.summary.startswith("0 songs")


def test_the_share_of_refused_rows_that_makes_a_run_partial_is_a_setting(
    run: Run, source: ListSource
) -> None:
    source.tracks[0] = make_track(1, artist=None)

    strict, lenient = run(limits=QualityLimits(rejected=0.01)), run(limits=QualityLimits(rejected=0.05))

    assert (strict.status, strict.error_kind, strict.rejected) == ("partial", "too_many_rejected", 1)
    assert lenient.status == "succeeded"
    assert Song.objects.count() == 29


def test_the_run_says_what_it_cost(run: Run) -> None:
    first = run()

    assert first.cpu_seconds > 0
    assert first.peak_memory > 10_000_000
    assert first.bytes > 5_000
    assert first.rows_per_second > 0


def test_no_log_line_holds_a_person_s_data(
    run: Run, source: ListSource, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source.users[0] = make_user(1, first_name=5, email="secret@example.org")
    source.users[1] = make_user(2, updated_at="nonsense", email="secret@example.org", gender="Secret")

    run(limits=QualityLimits(rejected=0.01))

    assert caplog.text
    assert "secret" not in caplog.text.lower()
    assert "Ada" not in caplog.text


def test_an_accepted_empty_source_can_fill_up_with_another_catalogue(run: Run, source: ListSource) -> None:
    run()
    source.tracks, source.users, source.sessions = [], [], []
    run(accept_reset=True)
    source.tracks = [make_track(pk, name="Another", artist="Stranger") for pk in range(1, 31)]

    refilled = run()

    assert refilled.status == "succeeded"
    assert Song.objects.filter(unavailable_at=None, artist="Stranger").count() == 30


def test_what_the_database_refuses_is_named_without_the_row(run: Run) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE users ADD CONSTRAINT nobody CHECK (email = '') NOT VALID")

    with pytest.raises(CheckViolation, match=r"user1@example\.org"):
        run()

    ended = IngestionRun.objects.get()
    assert ended.error == 'CheckViolation: new row for relation "users" violates check constraint "nobody"'
