"""Rejected rows are stored once with the reason, and imported once they are valid."""

import json
from datetime import UTC

import pytest

from ingestion.models import IngestionRun, Listener, ListeningHistory, Rejection, Song
from ingestion.pipeline import rejections, run_lifecycle
from ingestion.pipeline.change_detection import UNKNOWN_USER
from ingestion.pipeline.quality_gate import QualityLimits
from tests.integration.ingestion.conftest import Run
from tests.support.builders.source_rows import MOMENT, make_session, make_track, make_user
from tests.support.project import Project
from tests.support.servers.list_source import ListSource


def test_a_bad_row_is_kept_whole_with_its_field_and_reason(run: Run, source: ListSource) -> None:
    bad = make_track(5, name="nul \0")
    source.tracks[4] = bad

    first = run()

    rejection = Rejection.objects.get()
    assert (first.status, first.rejected) == ("succeeded", 1)
    assert json.loads(rejection.payload) == bad
    assert (rejection.resource, rejection.field) == ("songs", "name")
    assert rejection.run == rejection.last_run == first


def test_a_row_that_is_refused_again_is_not_kept_twice(run: Run, source: ListSource) -> None:
    source.tracks[4] = make_track(5, artist=None)

    first, second = run(), run()

    rejection = Rejection.objects.get()
    assert (rejection.run, rejection.last_run) == (first, second)
    assert second.rejected == 1


def test_two_equal_bad_rows_in_one_run_are_kept_once_and_counted_twice(run: Run, source: ListSource) -> None:
    source.tracks += [make_track(99, artist=None), make_track(99, artist=None)]

    first = run(limits=QualityLimits(rejected=0.5))

    assert (first.rejected, Rejection.objects.count()) == (2, 1)


def test_a_row_that_the_source_puts_right_settles_its_rejection(run: Run, source: ListSource) -> None:
    source.tracks[4] = make_track(5, artist=None)
    run()
    source.tracks[4] = make_track(5)

    run()

    rejection = Rejection.objects.get()
    assert rejection.resolved_at is not None
    assert rejection.resolution == "the source no longer sends it in this form"
    assert Song.objects.filter(pk=5).exists()


def test_a_known_row_that_is_refused_is_not_missing(run: Run, source: ListSource) -> None:
    run()
    source.tracks[4] = make_track(5, artist=None)

    second = run()

    assert second.missing == 0
    assert Song.objects.get(pk=5).missing_since is None


def test_a_session_of_nobody_is_refused(run: Run, source: ListSource) -> None:
    source.sessions[0] = make_session(1, [1]) | {"user_id": None}

    run(limits=QualityLimits(rejected=0.5))

    assert Rejection.objects.get().field == "user_id"


def test_a_session_waits_for_its_user_and_is_taken_in_when_it_has_come(run: Run, source: ListSource) -> None:
    source.sessions.append(make_session(500, [1, 2]))
    run(limits=QualityLimits(rejected=0.5))
    waiting = Rejection.objects.get()
    source.users.append(make_user(500))

    run()

    waiting.refresh_from_db()
    assert (waiting.field, waiting.resolution) == ("user_id", "taken in")
    assert ListeningHistory.objects.get(user_id=500).items == [1, 2]


def test_a_session_that_was_taken_back_while_it_waited_is_not_imported(run: Run, source: ListSource) -> None:
    source.sessions.append(make_session(500, [1, 2]))
    run(limits=QualityLimits(rejected=0.5))
    source.users.append(make_user(500))
    source.sessions.pop()

    second = run()

    assert second.status == "succeeded"
    assert Rejection.objects.get().resolution == "the source no longer sends it in this form"
    assert not ListeningHistory.objects.filter(user_id=500).exists()


def test_a_session_that_changed_while_it_waited_is_stored_as_it_is_sent_now(
    run: Run, source: ListSource
) -> None:
    source.sessions.append(make_session(500, [1, 2], updated_at="2026-11-09T10:00:00"))
    run(limits=QualityLimits(rejected=0.5))
    source.users.append(make_user(500))
    source.sessions[-1] = make_session(500, [3], updated_at=None)

    second = run()

    assert second.status == "succeeded"
    assert [one.items for one in ListeningHistory.objects.filter(user_id=500)] == [[3]]


def test_a_session_still_waits_while_its_user_has_not_come(run: Run, source: ListSource) -> None:
    source.sessions.append(make_session(500, [1, 2]))
    run(limits=QualityLimits(rejected=0.5))

    run(limits=QualityLimits(rejected=0.5))

    assert Rejection.objects.get().resolved_at is None


def test_replaying_takes_in_what_is_right_by_now(run: Run, source: ListSource) -> None:
    source.sessions.append(make_session(500, [1, 2]))
    source.tracks[4] = make_track(5, artist=None)
    run(limits=QualityLimits(rejected=0.5))
    moment = "2026-11-01T00:00:00Z"
    Listener.objects.create(pk=500, created_at=moment, updated_at=moment)

    taken = rejections.replay_open(UTC)

    assert taken == {"songs": 0, "users": 0, "listening_history": 1}
    assert list(Rejection.objects.filter(resolved_at=None).values_list("resource", flat=True)) == ["songs"]


def test_a_replay_waits_for_a_run_that_is_at_work(db: None) -> None:
    moment = "2026-11-01T00:00:00Z"
    Listener.objects.create(pk=500, created_at=moment, updated_at=moment)
    at_work = run_lifecycle.start_run(trigger=IngestionRun.Trigger.COMMAND)
    Rejection.objects.create(
        run=at_work, last_run=at_work, resource="listening_history", fingerprint="x",
        payload=json.dumps(make_session(500, [1])), reason=UNKNOWN_USER,
    )  # fmt: skip

    with pytest.raises(run_lifecycle.AlreadyRunning):
        rejections.replay_open(UTC, run_lifecycle.require_idle)

    assert not ListeningHistory.objects.exists()


@pytest.mark.parametrize(
    ("waiting", "left"),
    [
        (["2026-10-01T00:00:00"], "Song 5"),
        # As new as what the catalogue holds, which was read later.
        ([MOMENT], "Song 5"),
        (["2026-11-02T00:00:00"], "Copy of 2026-11-02T00:00:00"),
        (["2026-11-03T00:00:00", "2026-11-02T00:00:00"], "Copy of 2026-11-03T00:00:00"),
    ],
)
def test_of_a_song_and_the_copies_of_it_that_waited_the_newest_is_kept(
    run: Run, waiting: list[str], left: str
) -> None:
    first = run()
    for moment in waiting:
        row = make_track(5, name=f"Copy of {moment}", updated_at=moment)
        Rejection.objects.create(
            run=first,
            last_run=first,
            resource="songs",
            fingerprint=moment,
            payload=json.dumps(row),
            reason="bad",
        )

    rejections.replay_open(UTC)

    assert Song.objects.get(pk=5).name == left
    assert set(Rejection.objects.values_list("resolution", flat=True)) == {"taken in"}


@pytest.mark.slow
def test_more_rejections_than_a_batch_are_replayed_on_sqlite_too(sqlite_project: Project) -> None:
    taken = sqlite_project.shell(MANY)

    assert taken == "{'songs': 0, 'users': 0, 'listening_history': 1500} 1500"


MANY = """
import json
from datetime import UTC
from django.utils import timezone
from ingestion.pipeline import rejections, run_lifecycle as runs
from ingestion.models import Listener, ListeningHistory, Rejection
now = timezone.now()
run = runs.start_run(trigger="command")
Listener.objects.create(pk=1, created_at=now, updated_at=now)
Rejection.objects.bulk_create(
    Rejection(run=run, last_run=run, resource="listening_history", fingerprint=str(n), reason="x",
              payload=json.dumps({"user_id": 1, "items": [1], "created_at": f"2026-01-01T00:00:00.{n:06}",
                                  "updated_at": "2026-01-01T00:00:01"}))
    for n in range(1500)
)
print(rejections.replay_open(UTC), ListeningHistory.objects.count())
"""
