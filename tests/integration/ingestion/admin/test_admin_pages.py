"""The ingestion admin: every list and page opens, no query counts a table, and the buttons work."""

import re
from html import unescape
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.contrib.admin.sites import site
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from ingestion.models import IngestionRun, Listener, ListeningHistory, Rejection, Song
from ingestion.pipeline.quality_gate import QualityLimits
from ingestion.tasks import start_ingestion
from tests.integration.ingestion.conftest import Run, Serve
from tests.support.builders.source_rows import make_session, make_track
from tests.support.servers.list_source import ListSource
from tests.support.servers.refusing_broker import refusing_broker

LISTS = ["song", "listener", "listeninghistory", "ingestionrun", "rejection"]


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin", "admin@example.org", "pw"))
    return client


@pytest.fixture
def filled(run: Run, source: ListSource) -> IngestionRun:
    source.tracks[4] = make_track(5, artist=None)
    source.sessions.append(make_session(99, [1]))
    return run(limits=QualityLimits(rejected=0.5))


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
def test_every_list_opens_empty_and_filled_and_counts_no_table(
    staff: Client, filled: IngestionRun, name: str
) -> None:
    url = reverse(f"admin:ingestion_{name}_changelist")

    with CaptureQueriesContext(
        connection,
    ) as queries:
        page = staff.get(url)
    searched = staff.get(url, {"q": "1"})

    assert (page.status_code, searched.status_code) == (200, 200)
    assert len(queries) <= 10
    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"]]


@pytest.mark.parametrize("name", LISTS)
def test_every_list_can_be_filtered(staff: Client, filled: IngestionRun, name: str) -> None:
    url = reverse(f"admin:ingestion_{name}_changelist")
    filters = {
        "ingestionrun": ("status__exact", ["succeeded", "failed"]),
        "rejection": ("state", ["open", "settled"]),
    }
    parameter, values = filters.get(name, ("availability", ["available", "missing", "unavailable"]))

    codes = [staff.get(url, {parameter: value}).status_code for value in values]

    assert set(codes) == {200}


def test_every_row_has_a_page(staff: Client, filled: IngestionRun) -> None:
    rows = [Song.objects.first(), Listener.objects.first(), ListeningHistory.objects.first(), filled,
            Rejection.objects.first()]  # fmt: skip

    for row in rows:
        assert row is not None
        page = staff.get(reverse(f"admin:ingestion_{row._meta.model_name}_change", args=[row.pk]))
        assert page.status_code == 200, row


@pytest.mark.parametrize(
    "number", ["abc", "7", "99999999999999999999", "9" * 5000, "\N{ARABIC-INDIC DIGIT ONE}7"]
)
@pytest.mark.parametrize(
    "path",
    [
        "recommender/experiment",
        "recommender/decision",
        "recommender/driftreport",
        "ingestion/incident",
        "ingestion/ingestionrun",
        "ingestion/song",
        "recommender/modelversion",
        "recommender/promotion",
    ],
)
def test_a_row_that_does_not_exist_is_not_found(staff: Client, path: str, number: str) -> None:
    answer = staff.get(f"/admin/{path}/{number}/change/")

    assert answer.status_code == 404
    assert "This page does not exist" in answer.content.decode()


@pytest.mark.parametrize("may_view_songs", [True, False])
def test_the_songs_of_a_session_are_links_only_for_staff_who_may_view_songs(
    filled: IngestionRun, client: Client, may_view_songs: bool
) -> None:
    names = ["view_listeninghistory", *(["view_song"] if may_view_songs else [])]
    reader = User.objects.create_user("bob", is_staff=True)
    reader.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(reader)
    session = ListeningHistory.objects.exclude(items=[]).first()
    assert session is not None
    song = Song.objects.get(pk=session.items[0])

    page = client.get(reverse("admin:ingestion_listeninghistory_change", args=[session.pk]))
    link = reverse("admin:ingestion_song_change", args=[song.pk])

    assert str(song) in unescape(page.content.decode())
    assert (link in page.content.decode()) is may_view_songs
    assert client.get(link).status_code == (200 if may_view_songs else 403)


def test_a_runs_page_shows_its_reports_and_links_to_its_rejections(
    staff: Client, filled: IngestionRun
) -> None:
    page = staff.get(reverse("admin:ingestion_ingestionrun_change", args=[filled.pk])).content.decode()

    assert "listening sessions" in page
    assert f'href="/runs/{filled.pk}/"' in page
    assert "Longest latency" in page
    assert "Time reading and writing" in page
    assert "2 rows rejected in this run" in page


def test_a_run_with_many_rejections_links_to_them_and_shows_none(
    staff: Client, run: Run, source: ListSource
) -> None:
    source.tracks = [make_track(pk, artist=None, name="x" * 5_000) for pk in range(1, 26)]
    rejecting_run = run(limits=QualityLimits(rejected=1))

    page = staff.get(reverse("admin:ingestion_ingestionrun_change", args=[rejecting_run.pk])).content.decode()
    link = re.search(r'href="([^"]*)">25 rows rejected in this run', page)
    assert link is not None
    rows = staff.get(unescape(link[1])).content.decode()

    assert "x" * 300 not in page
    assert rows.count("field-reason") == 25


def test_the_index_shows_the_last_run_or_how_to_start_the_first(staff: Client, run: Run) -> None:
    before = staff.get(reverse("admin:index")).content.decode()
    run()
    after = staff.get(reverse("admin:index")).content.decode()

    assert "No data has been imported yet" in before
    assert "python manage.py runingest" in before
    assert re.search(r"Run \d+ succeeded", after)
    assert "30 songs: 30 new" in after


def test_nobody_edits_history(staff: Client, filled: IngestionRun) -> None:
    url = reverse("admin:ingestion_ingestionrun_change", args=[filled.pk])

    assert staff.post(url, {"status": "failed"}).status_code == 403
    assert staff.get(reverse("admin:ingestion_song_add")).status_code == 403


def test_rejections_are_replayed_from_the_admin(staff: Client, filled: IngestionRun) -> None:
    moment = "2026-11-01T00:00:00Z"
    Listener.objects.create(pk=99, created_at=moment, updated_at=moment)

    page = staff.post(reverse("admin:ingestion_ingestionrun_replay_rejections"), follow=True)

    assert "1 rejected rows were imported." in page.content.decode()
    assert ListeningHistory.objects.filter(user_id=99).exists()


def test_without_the_permission_no_run_is_started(filled: IngestionRun) -> None:
    client = Client()
    client.force_login(User.objects.create_user("guest", is_staff=True))

    assert client.get(reverse("admin:ingestion_ingestionrun_run_now")).status_code == 403
    assert client.post(reverse("admin:ingestion_ingestionrun_run_now")).status_code == 403


def test_the_run_now_link_starts_nothing_and_its_button_starts_a_run(
    staff: Client, filled: IngestionRun
) -> None:
    url = reverse("admin:ingestion_ingestionrun_run_now")
    without_token = Client(enforce_csrf_checks=True)
    without_token.force_login(User.objects.get(username="admin"))
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        page = staff.get(url).content.decode()
        refused = without_token.post(url).status_code
        after_get = broker.llen("ingestion")
        answer = staff.post(url)

        assert '<button type="submit"' in page
        assert "csrfmiddlewaretoken" in page
        assert (refused, after_get) == (403, 0)
        assert answer.headers["Location"] == reverse("admin:ingestion_ingestionrun_changelist")
        assert broker.llen("ingestion") == 1
        assert b"ingestion.tasks.ingest_by_hand" in broker.lindex("ingestion", 0)


def test_a_button_whose_task_can_not_be_sent_says_so(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_broker(monkeypatch):
        page = staff.post(reverse("admin:ingestion_ingestionrun_run_now"), follow=True)

    assert "Nothing was started: Redis does not answer" in page.content.decode()


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_run_now_works_in_the_web_process(serve: Serve, tmp_path: Path) -> None:
    with override_settings(REDIS_URL="", BASE_URL=serve(), STAGING_DIR=tmp_path):
        thread = start_ingestion()
        assert thread is not None
        thread.join(30)

    assert list(IngestionRun.objects.values_list("status", "trigger")) == [("succeeded", "admin")]


def test_every_model_of_ours_is_in_the_admin() -> None:
    registered = {model._meta.model_name for model in site._registry}

    assert set(LISTS) <= registered
