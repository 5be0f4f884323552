"""Engagement with served lists, per list and per day."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from ingestion.models import ListeningHistory
from recommender.feedback.engagement import unfinished_lists, update_engagement
from recommender.models import (
    AttributedListen,
    CandidateList,
    EngagedList,
    EngagementDay,
    Feedback,
    ModelVersion,
    Promotion,
    ServedList,
)
from recommender.monitoring.alerts import check_engagement
from tests.support.builders.experiments import (
    DAY,
    START,
    make_ingestion_run,
    make_listeners_and_songs,
    make_version,
)
from tests.support.project import Project

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
LATER = START + 3 * DAY


@pytest.fixture
def champion() -> ModelVersion:
    make_listeners_and_songs()
    return make_version("2026w44.1", "champion")


def serve(
    of: ModelVersion, songs: list[int], at: datetime = START, listener: int = 1, arm: str = "champion"
) -> ServedList:
    shelf = CandidateList.objects.create(listener_id=listener, version=of, made_at=at, candidates=b"")
    return ServedList.objects.create(
        listener_id=listener, candidate_list=shelf, version=of, arm=arm, generated_at=at, discovery=0.3,
        temperature=0.1, seed="s", pages=[], items=[{"song": song} for song in songs],
    )  # fmt: skip


def said(song: int, kind: str, at: datetime, **fields: Any) -> None:
    Feedback.objects.create(
        event_id=f"{song}-{kind}-{at}", listener_id=fields.pop("listener", 1), song_id=song, kind=kind,
        at=at, received_at=at, **fields,
    )  # fmt: skip


def played(items: list[int], at: datetime, listener: int = 1) -> None:
    ListeningHistory.objects.create(user_id=listener, items=items, created_at=at, updated_at=at)


def outcome(served: ServedList) -> tuple[int, int, int, int, int]:
    row = EngagedList.objects.get(served_list=served)
    return (row.engaged, row.likes, row.listens, row.skips, row.dislikes)


def test_likes_listens_and_later_plays_engage_a_list(champion: ModelVersion) -> None:
    served = serve(champion, [10, 11, 12, 13, 14])
    said(10, "like", START + HOUR)
    said(11, "listen", START + HOUR, seconds=60)
    played([12, 99, 10], START + 2 * DAY)
    said(13, "like", START + HOUR)
    said(13, "skip", START + 2 * HOUR)

    update_engagement(LATER)

    assert outcome(served) == (3, 2, 3, 1, 0)


def test_a_list_without_events_counts_as_zero(champion: ModelVersion) -> None:
    served = serve(champion, [10, 11])

    assert update_engagement(LATER) == 1

    assert outcome(served) == (0, 0, 0, 0, 0)
    day = EngagementDay.objects.get()
    assert (day.lists, day.listeners, day.engaged) == (1, 1, 0.0)


@pytest.mark.parametrize(
    ("after", "engaged"), [(-HOUR, 0), (HOUR, 1), (7 * DAY, 1), (7 * DAY + timedelta(seconds=1), 0)]
)
def test_a_play_counts_for_seven_days(champion: ModelVersion, after: timedelta, engaged: int) -> None:
    served = serve(champion, [10])
    played([10], START + after)

    update_engagement(START + 10 * DAY)

    assert outcome(served)[0] == engaged


def test_a_play_counts_for_the_latest_list_that_offered_the_song(champion: ModelVersion) -> None:
    first, second = serve(champion, [10]), serve(champion, [10, 11], START + DAY)
    played([10], START + 2 * DAY)

    update_engagement(LATER)

    assert (outcome(first)[0], outcome(second)[0]) == (0, 1)


def test_a_song_that_is_played_twice_is_one_engaged_song(champion: ModelVersion) -> None:
    served = serve(champion, [10])
    played([10, 10], START + HOUR)
    played([10], START + DAY)

    update_engagement(LATER)

    assert outcome(served)[:3] == (1, 0, 1)
    assert AttributedListen.objects.get().at == START + HOUR


def test_late_events_count_until_the_list_is_final(champion: ModelVersion) -> None:
    served = serve(champion, [10, 11])
    update_engagement(LATER)
    played([10], START + DAY)
    update_engagement(START + 8 * DAY)

    assert outcome(served)[0] == 1
    assert not EngagedList.objects.get().final

    make_ingestion_run(START + 7 * DAY)
    update_engagement(START + 8 * DAY)
    played([11], START + 2 * DAY)
    update_engagement(START + 9 * DAY)

    assert EngagedList.objects.get().final
    assert outcome(served)[0] == 1


@pytest.mark.django_db(transaction=True)
def test_the_next_run_stores_the_days_that_the_database_refused(champion: ModelVersion) -> None:
    challenger = make_version("2026w45.1", "challenger")
    for version in (champion, challenger):
        serve(version, [10, 11])
    make_ingestion_run(START + 7 * DAY)

    def fail(execute: Any, statement: str, *rest: Any) -> Any:
        if statement.startswith('INSERT INTO "recommender_engagementday"'):
            raise OperationalError("The database is restarting.")
        return execute(statement, *rest)

    with connection.execute_wrapper(fail), pytest.raises(OperationalError, match="restarting"):
        update_engagement(START + 8 * DAY)

    assert update_engagement(START + 8 * DAY) == 2
    assert list(EngagementDay.objects.values_list("lists", "final")) == [(1, True), (1, True)]
    assert update_engagement(START + 8 * DAY) == 0


def test_engagement_within_a_day_is_stored_apart_and_does_not_grow(champion: ModelVersion) -> None:
    serve(champion, [10, 11, 12, 13, 14])
    said(10, "like", START + HOUR)
    played([11], START + DAY)
    played([12], START + DAY + HOUR)
    said(13, "like", START + HOUR)
    said(13, "skip", START + 2 * HOUR)
    said(10, "dislike", START + 2 * DAY)
    make_ingestion_run(START + DAY)

    update_engagement(START + DAY + 2 * HOUR)
    soon = (EngagedList.objects.get().early, EngagementDay.objects.get().early)
    update_engagement(START + 6 * DAY)

    assert soon == (2, 2.0)
    assert (EngagedList.objects.get().early, EngagementDay.objects.get().early) == (2, 2.0)
    assert EngagedList.objects.get().engaged == 2


def test_early_engagement_is_unknown_until_the_day_is_imported(champion: ModelVersion) -> None:
    serve(champion, [10])
    serve(champion, [11], START + HOUR)
    make_ingestion_run(START + DAY)

    update_engagement(START + DAY + 2 * HOUR)

    assert sorted(EngagedList.objects.values_list("early", flat=True), key=str) == [0, None]
    assert EngagementDay.objects.get().early is None


@pytest.mark.slow
def test_two_bad_days_open_an_incident_two_days_later(champion: ModelVersion) -> None:
    Promotion.objects.create(promoted=champion, reason="The first.", by="test", at=START - DAY)
    told = {}
    for day in range(20):
        at = START + day * DAY
        for listener in (1, 2):
            serve(champion, [10, 11, 12, 13], at, listener)
            played([10, 11, 12] if day < 16 else [], at + HOUR, listener)
        make_ingestion_run(at.replace(hour=2))
        look = at.replace(hour=5)
        update_engagement(look)
        told[day] = [one.facts["days"] for one in check_engagement(look)]

    # The days 16 and 17 are bad: the 18th and the 19th of November.
    assert told[18] == []
    assert told[19] == [["2026-11-18", "2026-11-19"]]


def test_updating_twice_changes_nothing(champion: ModelVersion) -> None:
    serve(champion, [10, 11])
    played([10], START + DAY)

    update_engagement(LATER)
    before = (list(EngagedList.objects.values()), list(EngagementDay.objects.values()))
    update_engagement(LATER)

    assert (list(EngagedList.objects.values()), list(EngagementDay.objects.values())) == before
    assert AttributedListen.objects.count() == 1


def test_a_day_counts_listeners_and_not_lists(champion: ModelVersion) -> None:
    for hour in range(3):
        serve(champion, [10], START + hour * HOUR)
    serve(champion, [12, 13], listener=2)
    played([12, 13], START + 4 * HOUR, listener=2)

    update_engagement(LATER)

    day = EngagementDay.objects.get()
    assert (day.lists, day.listeners, day.engaged, day.engaged_deviation) == (4, 2, 1.0, 1.0)
    assert (day.listens, day.recommended_plays) == (2, 2)


def test_organic_and_recommended_plays_are_counted_apart(champion: ModelVersion) -> None:
    serve(champion, [10, 11])
    played([10, 20, 21, 22], START + HOUR)

    update_engagement(LATER)

    day = EngagementDay.objects.get()
    assert (day.recommended_plays, day.organic_plays) == (1, 3)


def test_plays_of_listeners_with_a_list_of_the_week_before_are_organic(champion: ModelVersion) -> None:
    """Listener 2 got a list six days before, and listener 3 one eight days before."""
    make_listeners_and_songs(listeners=[3], songs=[])
    serve(champion, [10], START)
    serve(champion, [10], START - 6 * DAY, listener=2)
    serve(champion, [10], START - 8 * DAY, listener=3)
    for listener in (2, 3):
        played([20] * listener, START + HOUR, listener=listener)

    update_engagement(LATER)

    assert EngagementDay.objects.get(day=START.date()).organic_plays == 2


def test_an_interleaved_list_counts_for_the_champion_of_that_moment(champion: ModelVersion) -> None:
    serve(champion, [10, 11], arm="interleaved")
    played([10], START + HOUR)

    update_engagement(LATER)

    day = EngagementDay.objects.get()
    assert (day.version, day.lists, day.engaged) == (champion, 1, 1.0)


def test_fallback_lists_belong_to_no_version(champion: ModelVersion) -> None:
    shelf = CandidateList.objects.create(listener_id=1, made_at=START, candidates=b"")
    ServedList.objects.create(
        listener_id=1,
        candidate_list=shelf,
        arm="fallback",
        generated_at=START,
        discovery=0.3,
        temperature=0.1,
        seed="s",
        pages=[],
        items=[{"song": 10}],
    )

    assert update_engagement(LATER) == 0


def test_the_review_never_reads_all_final_lists_again_for_each_list(champion: ModelVersion) -> None:
    """With more final lists than `work_mem` holds, PostgreSQL rescans the rows of a NOT IN for each list."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64kB'")
    listeners_of_a_batch = [1, 2]

    everything = unfinished_lists(LATER).explain()
    batch = unfinished_lists(LATER, listeners_of_a_batch).explain()

    assert ("SubPlan" in everything, "SubPlan" in batch) == (False, False)
    assert "Anti Join" in batch
    # Of the final rows, too, only those of the batch's listeners are read.
    assert batch.count("listener_id = ANY") >= 2


def row_places() -> list[str]:
    """Where PostgreSQL keeps each row; an update moves it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT ctid::text FROM recommender_engagedlist ORDER BY id")
        return [place for (place,) in cursor.fetchall()]


def test_only_rows_that_change_are_written_again(champion: ModelVersion) -> None:
    serve(champion, [10, 11])
    changed = serve(champion, [10, 11], listener=2)
    update_engagement(LATER)
    before = row_places()
    played([11], START + HOUR, listener=2)

    update_engagement(LATER)

    same, moved = (one == other for one, other in zip(before, row_places(), strict=True))
    assert (same, moved) == (True, False)
    assert outcome(changed) == (1, 0, 1, 0, 0)


ON_SQLITE = """
import json
from datetime import timedelta
from tests.integration.recommender.feedback.test_engagement import *
make_listeners_and_songs()
champion = make_version("2026w44.1", "champion")
first, second = serve(champion, [10, 11, 12]), serve(champion, [10], START + DAY)
said(11, "like", START + HOUR)
played([10, 12], START + 2 * DAY)
make_ingestion_run(START + 7 * DAY)
counted = [update_engagement(START + 8 * DAY) for _ in range(2)]
# The last moment of a day, which SQLite's own functions round to the next one.
midnight = (START + 2 * DAY).replace(hour=0, minute=0, second=0, microsecond=0)
late = serve(champion, [11], midnight + DAY - timedelta(microseconds=100), listener=2)
update_engagement(START + 8 * DAY)
rows = EngagedList.objects.exclude(served_list=late).order_by("at").values_list(
    "served_list", "at", "engaged", "early", "listens", "final"
)
print(json.dumps({
    "counted": counted,
    "rows": [[row[0] in (first.pk, second.pk), (row[1] - START).days, *row[2:]] for row in rows],
    "plays": list(AttributedListen.objects.order_by("at", "song").values_list("song", flat=True)),
    "days": list(EngagementDay.objects.order_by("day").values_list("lists", "engaged", "recommended_plays")),
}))
"""


def test_sqlite_counts_the_same(sqlite_project: Project) -> None:
    found = json.loads(sqlite_project.shell(ON_SQLITE))

    assert found == {
        "counted": [2, 1],
        "rows": [[True, 0, 2, 1, 1, True], [True, 1, 1, 1, 1, False]],
        "plays": [10, 12],
        "days": [[1, 2.0, 0], [1, 1.0, 0], [1, 0.0, 2]],
    }
