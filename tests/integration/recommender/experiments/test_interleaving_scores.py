"""Scores of interleaved lists: which lists count, when they close, and what counts as engaged."""

from datetime import datetime, timedelta

import pytest

from ingestion.models import Listener, ListeningHistory
from recommender.engine.experiments.interleaving_credit import InterleavingCredit, ListCredit
from recommender.experiments.interleaving_scores import (
    close_due_lists,
    hash_scores,
    open_scored_list,
    read_closed_scores,
)
from recommender.models import Experiment, Feedback, ScoredList, ServedList
from tests.support.builders.experiments import (
    DAY,
    START,
    make_bystander_session,
    make_experiment,
    make_import,
    make_ingestion_run,
    make_interleaved_list,
    make_listeners_and_songs,
)

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
TEAMS = [False, True, True, False]
SONGS = [10, 11, 12, 13]


@pytest.fixture
def running() -> Experiment:
    make_listeners_and_songs()
    return make_experiment()


def serve(test: Experiment, at: datetime = START, listener: int = 1, songs: list[int] = SONGS) -> ServedList:
    served = make_interleaved_list(test, listener, at, songs, TEAMS)
    open_scored_list(served, test, TEAMS)
    return served


def said(song: int, kind: str, at: datetime, *, seconds: float | None = None, listener: int = 1) -> None:
    Feedback.objects.create(
        event_id=f"{listener}-{song}-{kind}-{at}", listener_id=listener, song_id=song, kind=kind,
        seconds=seconds, at=at, received_at=at,
    )  # fmt: skip


def played(items: list[int], at: datetime, listener: int = 1) -> None:
    ListeningHistory.objects.create(user_id=listener, items=items, created_at=at, updated_at=at)


def score_after(days: int = 2) -> InterleavingCredit:
    make_import(START + days * DAY)
    close_due_lists(START + days * DAY + HOUR)
    row = ScoredList.objects.get()
    assert row.closed_at is not None
    return InterleavingCredit(row.wins, row.losses)


def test_only_the_first_list_of_a_day_counts(running: Experiment) -> None:
    first = serve(running)
    serve(running, START + HOUR, songs=[14, 15, 16, 17])
    serve(running, START + HOUR, listener=2)
    serve(running, START + DAY)

    rows = ScoredList.objects.order_by("day", "listener_id")
    assert [(row.listener_id, (row.day - START.date()).days) for row in rows] == [(1, 0), (2, 0), (1, 1)]
    assert rows[0].served_list == first
    assert (rows[0].rounds, rows[0].first_picks) == (2, 1)


def test_likes_listens_and_the_first_session_within_two_days_count(running: Experiment) -> None:
    serve(running)
    said(11, "like", START + HOUR)
    played([12, 99], START + 20 * HOUR)
    played([13], START + 30 * HOUR)

    assert score_after() == InterleavingCredit(wins=2, losses=0)


@pytest.mark.parametrize(
    ("seconds", "score"), [(29.0, InterleavingCredit(0, 0)), (30.0, InterleavingCredit(1, 0))]
)
def test_a_song_played_for_a_few_seconds_is_not_engaged(
    running: Experiment, seconds: float, score: InterleavingCredit
) -> None:
    serve(running)
    said(11, "listen", START + HOUR, seconds=seconds)

    assert score_after() == score


@pytest.mark.parametrize("kind", ["skip", "dislike"])
def test_a_skip_or_dislike_undoes_an_engagement(running: Experiment, kind: str) -> None:
    serve(running)
    said(11, "like", START + HOUR)
    said(11, kind, START + 2 * HOUR)

    assert score_after() == InterleavingCredit(0, 0)


def test_feedback_before_the_list_or_after_48_hours_does_not_count(running: Experiment) -> None:
    serve(running)
    said(11, "like", START - HOUR)
    said(12, "like", START + 48 * HOUR + timedelta(seconds=1))
    played([13], START + 49 * HOUR)

    assert score_after(days=3) == InterleavingCredit(0, 0)


def test_of_overlapping_lists_the_latest_gets_the_event(running: Experiment) -> None:
    serve(running)
    make_interleaved_list(running, 1, START + 2 * HOUR, [11, 20], [True, False])
    said(11, "like", START + HOUR)
    said(12, "like", START + 3 * HOUR)
    said(11, "listen", START + 3 * HOUR, seconds=60)

    assert score_after() == InterleavingCredit(wins=2, losses=0)


def test_a_like_counts_for_the_later_of_two_lists_that_offered_the_song(
    running: Experiment,
) -> None:
    serve(running)
    make_interleaved_list(running, 1, START + 2 * HOUR, [11, 20], [True, False])
    said(11, "like", START + 3 * HOUR)

    assert score_after() == InterleavingCredit(0, 0)


def test_a_list_stays_open_until_an_ingestion_two_days_later_succeeds(running: Experiment) -> None:
    serve(running)
    make_import(START + 2 * DAY - timedelta(seconds=1))
    make_ingestion_run(START + 2 * DAY, status="failed")
    make_ingestion_run(START + 2 * DAY + HOUR, dry_run=True)

    assert close_due_lists(START + 4 * DAY) == 0

    make_import(START + 3 * DAY)

    assert close_due_lists(START + 4 * DAY) == 1


def test_a_list_stays_open_until_its_48_hours_of_listening_are_imported(running: Experiment) -> None:
    """Runs succeed every day, but the source sends its history three days late."""
    serve(running)
    for day in range(1, 5):
        make_ingestion_run(START + day * DAY)
        make_bystander_session(START + (day - 3) * DAY)

    assert close_due_lists(START + 4 * DAY + HOUR) == 0

    make_bystander_session(START + 2 * DAY)

    assert close_due_lists(START + 5 * DAY) == 1


def test_an_empty_history_closes_no_list(running: Experiment) -> None:
    serve(running)
    make_ingestion_run(START + 5 * DAY)

    assert close_due_lists(START + 5 * DAY + HOUR) == 0


def test_a_partial_run_that_brought_the_history_closes_lists(running: Experiment) -> None:
    serve(running)
    make_ingestion_run(START + 2 * DAY + HOUR, status="partial")
    make_bystander_session(START + 2 * DAY)

    assert close_due_lists(START + 2 * DAY + 2 * HOUR) == 1


def test_a_quiet_night_at_a_small_site_does_not_keep_lists_open(running: Experiment) -> None:
    serve(running)
    make_bystander_session(START + DAY + 2 * HOUR)
    make_ingestion_run(START + 2 * DAY)

    assert close_due_lists(START + 2 * DAY + HOUR) == 1


def test_later_events_never_change_a_closed_list(running: Experiment) -> None:
    serve(running)
    before = score_after()
    said(11, "like", START + HOUR)
    make_import(START + 3 * DAY)

    assert close_due_lists(START + 3 * DAY + HOUR) == 0
    assert InterleavingCredit(*ScoredList.objects.values_list("wins", "losses").get()) == before


def test_all_due_lists_close_in_one_call(running: Experiment) -> None:
    Listener.objects.bulk_create(
        Listener(id=pk, created_at=START, updated_at=START) for pk in range(100, 120)
    )
    for listener in range(100, 120):
        serve(running, listener=listener)
        said(11 if listener % 2 else 10, "like", START + HOUR, listener=listener)
    make_import(START + 2 * DAY)

    closed = close_due_lists(START + 2 * DAY + HOUR)

    assert closed == 20
    assert sorted(ScoredList.objects.values_list("wins", "losses")) == [(0, 1)] * 10 + [(1, 0)] * 10


def test_days_of_scores_count_from_the_start_of_the_experiment(running: Experiment) -> None:
    serve(running)
    serve(running, START + DAY, listener=2)
    said(11, "like", START + HOUR)
    make_import(START + 3 * DAY)
    close_due_lists(START + 3 * DAY + HOUR)

    scores = read_closed_scores(running)

    assert scores == [ListCredit(1, 0, InterleavingCredit(1, 0)), ListCredit(2, 1, InterleavingCredit(0, 0))]
    assert hash_scores(scores) == hash_scores(read_closed_scores(running))
    assert hash_scores(scores) != hash_scores(scores[:1])
