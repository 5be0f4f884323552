"""Drift of listening: the last week compared with the weeks before, its causes and its alarms."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from ingestion.models import Listener, ListeningHistory
from recommender.models import AttributedListen, CandidateList, DriftReport, Feedback, ServedList
from recommender.monitoring import listening_drift
from recommender.monitoring.alerts import describe_causes
from recommender.monitoring.drift_reports import last_full_week
from recommender.registry import model_loader
from recommender.registry.model_loader import ServingModel
from recommender.serving.list_limits import ServingOptions
from tests.support.builders.experiments import make_version

# A Tuesday: the week that is over began on Monday the 16th of November.
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.fixture
def model(options: ServingOptions) -> ServingModel:
    loaded = model_loader.current_model(options.storage).model
    assert loaded is not None
    ListeningHistory.objects.all().delete()
    return loaded


def listen(
    model: ServingModel,
    *,
    moved: float = 0.0,
    weeks: int = 9,
    seed: int = 1,
    last: datetime = MONDAY,
    moved_weeks: int = 1,
) -> None:
    """Weeks of listeners with tastes; in the last ones a share of all plays is in the largest cluster."""
    random = np.random.default_rng(seed)
    labels = np.asarray(model.scorer.labels)
    largest = np.flatnonzero(labels == np.bincount(labels).argmax())
    rows = []
    for listener in Listener.objects.values_list("pk", flat=True):
        dear = random.choice(len(labels), 40)
        for week in range(weeks):
            share = moved if week >= weeks - moved_weeks else 0.0
            songs = np.where(random.random(15) < share, random.choice(largest, 15), random.choice(dear, 15))
            at = last - (weeks - 1 - week) * WEEK + timedelta(hours=float(random.uniform(0, 160)))
            items = model.song_ids[songs].tolist()
            rows.append(ListeningHistory(user_id=listener, items=items, created_at=at, updated_at=at))
    ListeningHistory.objects.bulk_create(rows)


def report(found: list[DriftReport], kind: str) -> DriftReport:
    return next(one for one in found if one.kind == kind)


def test_the_week_that_is_over_is_looked_at() -> None:
    assert last_full_week(NOW) == date(2026, 11, 16)
    assert last_full_week(datetime(2026, 11, 23, 0, tzinfo=UTC)) == date(2026, 11, 16)
    assert last_full_week(datetime(2026, 11, 22, 23, 59, tzinfo=UTC)) == date(2026, 11, 9)


def test_listeners_who_go_on_as_before_have_not_drifted(model: ServingModel) -> None:
    listen(model)

    found = listening_drift.check_week(model, NOW)

    assert [one.kind for one in found] == ["listening", "recommended", "feedback"]
    assert not any(one.drifted or one.alarm for one in found)
    assert report(found, "listening").n == 15 * Listener.objects.count()


def test_a_week_that_moved_far_is_an_alarm_and_names_cluster_and_songs(model: ServingModel) -> None:
    listen(model, moved=0.7)

    moved = report(listening_drift.check_week(model, NOW), "listening")

    labels = np.asarray(model.scorer.labels)
    largest = model.clusters[int(np.bincount(labels).argmax())]
    assert moved.drifted
    assert moved.alarm
    assert moved.causes[0]["clusters"][0] == {"id": largest.number, "name": largest.name}
    assert moved.causes[0]["change"] > 0.3
    assert len(moved.causes[0]["songs"]) == 5


def test_looking_twice_makes_one_report(model: ServingModel) -> None:
    listen(model, moved=0.7)

    listening_drift.check_week(model, NOW)
    listening_drift.check_week(model, NOW + timedelta(hours=1))

    assert DriftReport.objects.filter(kind="listening").count() == 1


def test_half_the_way_is_an_alarm_in_the_second_week_whichever_version_served_in_the_first(
    model: ServingModel,
) -> None:
    listen(model, moved=0.2, weeks=11, moved_weeks=2)
    first = report(listening_drift.check_week(model, NOW - WEEK), "listening")
    # As on most Saturdays a refresh took over in between.
    DriftReport.objects.update(version=make_version("2026w47.1"))

    second = report(listening_drift.check_week(model, NOW), "listening")

    assert (first.drifted, first.alarm) == (True, False)
    assert (second.drifted, second.alarm) == (True, True)
    # Held against the weeks before both: the first one raises neither limit nor base.
    assert second.limit < 1.5 * first.limit


def test_recommended_plays_do_not_count_as_organic(model: ServingModel) -> None:
    listen(model, moved=0.7)
    shelf = CandidateList.objects.create(
        listener=Listener.objects.all()[0], version=model.version, made_at=NOW, candidates=b""
    )
    rows = []
    for session in ListeningHistory.objects.filter(created_at__gte=MONDAY):
        served = ServedList.objects.create(
            listener_id=session.user_id, candidate_list=shelf, version=model.version, arm="champion",
            generated_at=session.created_at, discovery=0.3, temperature=0.1, seed="s", pages=[], items=[],
        )  # fmt: skip
        rows += [
            AttributedListen(served_list=served, song_id=song, at=session.created_at)
            for song in set(session.items)
        ]
    AttributedListen.objects.bulk_create(rows)

    found = listening_drift.check_week(model, NOW)

    assert (report(found, "listening").n, report(found, "listening").drifted) == (0, False)
    assert report(found, "recommended").n == 15 * Listener.objects.count()


def test_more_skips_than_ever_is_a_drift_of_feedback(model: ServingModel) -> None:
    random = np.random.default_rng(3)
    rows = []
    for listener in Listener.objects.values_list("pk", flat=True):
        for week in range(9):
            at = MONDAY - (8 - week) * WEEK + timedelta(hours=5)
            skips = 0.8 if week == 8 else 0.2
            for place in range(10):
                kind = "skip" if random.random() < skips else "like"
                rows.append(
                    Feedback(event_id=f"{listener}-{week}-{place}", listener_id=listener, kind=kind, at=at,
                             song_id=int(model.song_ids[place]), received_at=at)
                )  # fmt: skip
    Feedback.objects.bulk_create(rows)

    found = report(listening_drift.check_week(model, NOW), "feedback")

    assert found.alarm
    assert {cause["name"] for cause in found.causes[:2]} == {"likes", "skips and dislikes"}


def test_without_listening_there_is_a_report_that_says_so(model: ServingModel) -> None:
    found = listening_drift.check_week(model, NOW)

    assert [(one.n, one.drifted, one.p) for one in found] == [(0, False, 1.0)] * 3


def test_a_drift_that_came_a_year_ago_as_well_is_told_as_a_season(model: ServingModel) -> None:
    listen(model, moved=0.7)
    listen(model, moved=0.6, seed=2, last=MONDAY - 52 * WEEK)

    moved = report(listening_drift.check_week(model, NOW), "listening")

    assert moved.season["week"] == "2025-11-17"
    assert moved.season["likeness"] > 0.9
    assert "possibly seasonal: the same week last year changed alike" in describe_causes(moved)
    assert moved.alarm


def test_a_drift_that_a_year_ago_did_not_know_is_told_as_none(model: ServingModel) -> None:
    listen(model, moved=0.7)
    listen(model, seed=2, last=MONDAY - 52 * WEEK)

    moved = report(listening_drift.check_week(model, NOW), "listening")

    assert moved.season["n"] == 15 * Listener.objects.count()
    assert "season" not in describe_causes(moved)


def test_without_last_year_nothing_is_said_of_seasons(model: ServingModel) -> None:
    listen(model, moved=0.7)

    moved = report(listening_drift.check_week(model, NOW), "listening")

    assert moved.season == {}
