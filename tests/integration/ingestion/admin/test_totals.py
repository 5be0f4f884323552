"""Totals above admin lists: of the present filter, and of no more rows than a page may read."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from ingestion.admin import totals
from ingestion.models import IngestionRun, Rejection
from recommender.models import CandidateList, Feedback, ServedList
from tests.support.builders.api import make_listener, make_song

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    return client


def make_run(status: str, received: int, rejected: int, **fields: object) -> IngestionRun:
    kind = {} if status == "succeeded" else {"error": "No answer", "error_kind": "source_unavailable"}
    return IngestionRun.objects.create(
        trigger="command", status=status, started_at=NOW, heartbeat_at=NOW, finished_at=NOW, host="here",
        pid=1, process_started=0.0, received=received, rejected=rejected, **kind, **fields,
    )  # fmt: skip


def shown(staff: Client, address: str) -> dict[str, str]:
    found = staff.get(address).context["totals"]
    return {str(label): total for label, total in found}


def test_runs_have_totals_of_each_kind_of_row_for_the_present_filter(staff: Client) -> None:
    for received in (1_000, 500):
        make_run("succeeded", received, 3)
    make_run("failed", 7, 0)

    everything = shown(staff, "/admin/ingestion/ingestionrun/")
    failed = shown(staff, "/admin/ingestion/ingestionrun/?status__exact=failed")

    assert (everything["Rows in this list"], everything["Received"], everything["Rejected"]) == (
        "3", "1\N{NARROW NO-BREAK SPACE}507", "6",
    )  # fmt: skip
    assert (failed["Rows in this list"], failed["Received"], failed["New"]) == ("1", "7", "0")


def test_rejections_lists_and_feedback_have_totals_by_kind(staff: Client) -> None:
    run, listener, song = make_run("succeeded", 1, 1), make_listener(1), make_song(1)
    for n, resource in enumerate(("songs", "users", "users")):
        Rejection.objects.create(
            run=run, last_run=run, resource=resource, field="name", reason="empty", fingerprint=str(n),
            payload="{}", resolved_at=NOW if n else None,
        )  # fmt: skip
    candidates = CandidateList.objects.create(listener=listener, made_at=NOW, candidates=b"")
    for arm in ("fallback", "fallback"):
        ServedList.objects.create(
            listener=listener, candidate_list=candidates, generated_at=NOW, arm=arm, seed=1, discovery=0.5,
            temperature=1.0, items=[], pages=[],
        )  # fmt: skip
    for n, kind in enumerate(("like", "like", "skip")):
        Feedback.objects.create(
            event_id=str(n), listener=listener, song=song, kind=kind, at=NOW, received_at=NOW,
            withdrawn_at=NOW + timedelta(1) if n == 1 else None,
        )  # fmt: skip

    rejections = shown(staff, "/admin/ingestion/rejection/")
    lists = shown(staff, "/admin/recommender/servedlist/")
    feedback = shown(staff, "/admin/recommender/feedback/?kind__exact=like")

    assert rejections == {
        "Rows in this list": "3", "Open rejections": "1", "Songs": "1", "Listeners": "2",
        "Listening sessions": "0",
    }  # fmt: skip
    assert (lists["Listeners"], lists["Champion"], lists["Fallback"]) == ("1", "0", "2")
    assert (feedback["Likes"], feedback["Skips"], feedback["Withdrawn events"]) == ("2", "0", "1")


def test_a_list_of_too_many_rows_asks_for_a_filter_with_one_query_that_stops_early(
    staff: Client, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _n in range(3):
        make_run("succeeded", 1, 0)
    monkeypatch.setattr(totals, "MAX_ROWS", 2)

    page = staff.get("/admin/ingestion/ingestionrun/").content.decode()
    with django_assert_num_queries(1) as asked:
        found = totals.read_totals(IngestionRun.objects.all(), {})

    assert "This list has more than 2 rows. Choose a filter to see its totals." in page
    assert found is None
    assert "LIMIT 3" in asked[0]["sql"]
    assert "ORDER BY" not in asked[0]["sql"]
