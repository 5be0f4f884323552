"""Hand-written SQL gives the same rows as the ORM, on both databases."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef

from ingestion.models import ListeningHistory
from recommender import catalogue_generation
from recommender.models import AttributedListen, CandidateList, EngagedList, Feedback, ServedList, sql
from tests.support.builders.experiments import (
    DAY,
    START,
    make_ingestion_run,
    make_listeners_and_songs,
    make_version,
)
from tests.support.project import Project

RESET = START + 10 * DAY
UNTIL = START + 20 * DAY
MICROSECOND = timedelta(microseconds=1)
ALL = 100  # more rows than any listener has


def answer_on(project: Project, function: str) -> Any:
    module = "tests.integration.recommender.test_hand_written_sql"
    return json.loads(project.shell(f"import json, {module} as tests\nprint(json.dumps(tests.{function}()))"))


def add_event(song: int, at: datetime, received_at: datetime, *, listener: int = 1, **fields: Any) -> None:
    Feedback.objects.create(
        event_id=f"{listener} {song}", listener_id=listener, song_id=song, kind="like", at=at,
        received_at=received_at, **fields,
    )  # fmt: skip


def add_session(songs: list[int], at: datetime, *, listener: int = 1, **fields: Any) -> None:
    ListeningHistory.objects.create(
        user_id=listener, items=songs, created_at=at, updated_at=at + DAY, **fields
    )


def songs_that_count() -> dict[str, list[int]]:
    """Songs whose feedback counts, by this SQL and by the ORM."""
    stands = Feedback.objects.filter(catalogue_generation.is_on_current(), withdrawn_at=None)
    return {
        "sql": sorted(row[2] for row in sql.newest_feedback([1], None, ALL) if row[6]),
        "orm": sorted(stands.values_list("song_id", flat=True)),
    }


def feedback_around_resets() -> list[dict[str, list[int]]]:
    """Which feedback counts without a reset, after one, after a second one, and while a third one runs."""
    make_listeners_and_songs()
    finished = RESET + DAY / 1440  # of the run that `make_ingestion_run` creates
    add_event(10, START, finished - MICROSECOND)
    add_event(11, START, finished)
    add_event(12, START, finished + MICROSECOND)
    add_event(13, START, finished + DAY)
    add_event(14, START, finished + DAY, withdrawn_at=finished + DAY)
    found = [songs_that_count()]
    for at in (RESET, RESET + DAY / 2):
        make_ingestion_run(at, new_catalogue=True)
        make_ingestion_run(at + 5 * DAY)
        found.append(songs_that_count())
    run = make_ingestion_run(RESET + 6 * DAY, new_catalogue=True)
    run.finished_at = None
    run.status = "running"
    run.save()
    return [*found, songs_that_count()]


def test_feedback_counts_if_the_orm_says_that_it_is_on_the_current_catalogue(project: Project) -> None:
    found = answer_on(project, "feedback_around_resets")

    assert [one["sql"] for one in found] == [one["orm"] for one in found]
    assert [one["sql"] for one in found[:3]] == [[10, 11, 12, 13], [12, 13], [13]]


def rows_until() -> dict[str, list[Any]]:
    """Songs of the newest sessions and feedback of two listeners, by id."""
    make_listeners_and_songs(listeners=(1, 2, 3))
    for song, at in enumerate((UNTIL - DAY, UNTIL - MICROSECOND, UNTIL, UNTIL + MICROSECOND), start=10):
        for listener in (1, 2, 3):
            add_session([song, song + 10], at, listener=listener)
            add_event(song, at, at, listener=listener)
    add_session([29], UNTIL - 2 * DAY, unavailable_at=UNTIL)

    def sessions(until: datetime | None, limit: int = ALL) -> list[Any]:
        rows = sorted(sql.newest_sessions([1, 2], until, limit), key=lambda row: row[4])
        return [[listener, json.loads(songs)] for listener, _, _, songs, _ in rows]

    def feedback(until: datetime | None, limit: int = ALL) -> list[Any]:
        rows = sorted(sql.newest_feedback([1, 2], until, limit), key=lambda row: row[1])
        return [[listener, song] for listener, _, song, *_ in rows]

    def in_lists(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
        return [list(row) for row in rows]

    available = ListeningHistory.objects.filter(user_id__in=[1, 2], unavailable_at=None).order_by("pk")
    events = Feedback.objects.filter(listener_id__in=[1, 2]).order_by("pk")
    return {
        "sessions": sessions(None), "sessions until": sessions(UNTIL), "newest session": sessions(UNTIL, 1),
        "feedback": feedback(None), "feedback until": feedback(UNTIL), "newest event": feedback(UNTIL, 1),
        "orm": [
            in_lists(available.values_list("user_id", "items")),
            in_lists(available.filter(created_at__lt=UNTIL).values_list("user_id", "items")),
            in_lists(events.values_list("listener_id", "song_id")),
            in_lists(events.filter(at__lt=UNTIL).values_list("listener_id", "song_id")),
        ],
    }  # fmt: skip


def test_the_newest_sessions_and_feedback_are_those_before_a_time(project: Project) -> None:
    found = answer_on(project, "rows_until")

    names = ("sessions", "sessions until", "feedback", "feedback until")
    assert [found[name] for name in names] == found["orm"]
    assert found["sessions until"] == [[1, [10, 20]], [2, [10, 20]], [1, [11, 21]], [2, [11, 21]]]
    assert found["newest session"] == [[1, [11, 21]], [2, [11, 21]]]
    assert found["feedback until"] == [[1, 10], [2, 10], [1, 11], [2, 11]]
    assert found["newest event"] == [[1, 11], [2, 11]]
    assert len(found["sessions"]) == len(found["feedback"]) == 8


def plays_of_version() -> dict[str, list[int]]:
    """Plays of listeners with a list within a week, on a day and around it."""
    listeners = range(1, 7)
    make_listeners_and_songs(listeners=listeners)
    version, other = make_version("2026w44.1", "champion"), make_version("2026w45.1", "challenger")
    week, ends = UNTIL - 7 * DAY, UNTIL + DAY
    served_at = (week - MICROSECOND, week, UNTIL + DAY / 2, ends - MICROSECOND, ends)
    lists = [add_engaged_list(version, n, at) for n, at in enumerate(served_at, start=1)]
    of_other = add_engaged_list(other, 6, UNTIL)
    moments = (UNTIL - MICROSECOND, UNTIL, ends - MICROSECOND, ends)
    for listener in listeners:
        # So many songs that each sum of listeners and moments is another one.
        for place, at in enumerate(moments):
            add_session([10] * (1 + place) * 2 ** (listener - 1), at, listener=listener)
        add_session([10] * 500, UNTIL + DAY / 3, listener=listener, unavailable_at=ends)
    for served in (*lists, of_other):
        AttributedListen.objects.bulk_create(
            AttributedListen(served_list=served, at=at, song_id=10 + place)
            for place, at in enumerate(moments[: 4 if served in lists[1:3] else 3])
        )
    engaged = EngagedList.objects.filter(version=version)
    sessions = ListeningHistory.objects.filter(
        user__in=engaged.filter(at__gte=week, at__lt=ends).values("listener"),
        created_at__gte=UNTIL, created_at__lt=ends, unavailable_at=None,
    )  # fmt: skip
    listens = AttributedListen.objects.filter(
        Exists(engaged.filter(served_list=OuterRef("served_list"))), at__gte=UNTIL, at__lt=ends
    )
    return {
        "sql": list(sql.count_plays_of_version(version.pk, week, UNTIL, ends)),
        "orm": [sum(len(one.items) for one in sessions), listens.count()],
    }


def add_engaged_list(version: Any, listener: int, at: datetime) -> ServedList:
    candidates = CandidateList.objects.create(
        listener_id=listener, version=version, made_at=at, candidates=b""
    )
    served = ServedList.objects.create(
        listener_id=listener, candidate_list=candidates, version=version, arm="champion", generated_at=at,
        discovery=0.3, temperature=0.1, seed="s", pages=[], items=[{"song": 10}],
    )  # fmt: skip
    EngagedList.objects.create(served_list=served, listener_id=listener, version=version, at=at, songs=1)
    return served


def test_a_days_plays_are_those_of_listeners_with_a_list_of_the_version_within_a_week(
    project: Project,
) -> None:
    found = answer_on(project, "plays_of_version")

    # Listeners 2, 3 and 4 with 2, 4 and 8 times 2 + 3 songs; two plays of each of five lists.
    assert found == {"sql": [70, 10], "orm": [70, 10]}
