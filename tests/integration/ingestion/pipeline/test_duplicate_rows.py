"""Rows that come more than once: one stands, and only what is unusual is doubtful."""

from ingestion.models import IngestionRun, ListeningHistory, ResourceReport, Song
from ingestion.pipeline.quality_gate import QualityLimits
from tests.integration.ingestion.conftest import Run
from tests.support.builders.source_rows import make_session, make_track, make_user
from tests.support.servers.list_source import ListSource


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
    source.sessions = source.sessions[:-3]
    source.users.append(make_user(500))

    run(limits=QualityLimits(rejected=0.5))

    assert ListeningHistory.objects.filter(user_id=500).count() == 3


def test_known_rows_that_doubled_ones_may_hide_do_not_count_as_missing(run: Run, source: ListSource) -> None:
    source.tracks = [make_track(pk) for pk in range(1, 251)]
    run()
    source.tracks[200] = source.tracks[3]

    doubtful = run()

    assert (doubtful.status, doubtful.error_kind) == ("partial", "doubled_rows")
    assert "1 rows of songs came twice, on different pages, and 1 known ones did not come" in doubtful.error
    assert Song.objects.get(pk=201).missing_since is None


def test_a_source_that_doubles_the_same_rows_every_day_still_loses_a_row_for_good(
    run: Run, source: ListSource
) -> None:
    source.tracks = [make_track(pk) for pk in range(1, 251)]
    source.tracks.append(source.tracks[3])
    run()
    source.tracks.remove(make_track(100))

    days = [run(), run(), run()]

    assert [day.status for day in days] == ["succeeded"] * 3
    assert [report(day, "songs").missing for day in days] == [1, 1, 0]


def test_a_source_that_doubles_more_rows_every_day_is_not_partial_for_ever(
    run: Run, source: ListSource
) -> None:
    source.tracks = [make_track(pk) for pk in range(1, 251)]
    run()
    source.tracks.remove(make_track(100))
    statuses = []

    for day in range(5):
        source.tracks.append(source.tracks[day])
        statuses.append(run().status)

    assert statuses == ["partial", "succeeded", "partial", "succeeded", "succeeded"]
    assert Song.objects.get(pk=100).unavailable_at is not None


def test_one_double_more_than_the_day_before_is_doubtful_again(run: Run, source: ListSource) -> None:
    source.tracks = [make_track(pk) for pk in range(1, 251)]
    source.tracks.append(source.tracks[3])
    run()
    source.tracks[200] = source.tracks[5]

    doubtful = run()

    assert (doubtful.status, doubtful.error_kind) == ("partial", "doubled_rows")


def test_a_row_sent_whole_and_broken_hides_no_missing_one(run: Run, source: ListSource) -> None:
    run()
    source.tracks[4] = make_track(8, duration="broken")

    second = run()

    assert report(second, "songs").missing == 1
    assert report(second, "songs").rejected == 1
