"""The search of staff: what each role finds, in both languages, and how much it reads."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from ingestion.models import AuditEntry, Incident, IngestionRun, Song
from tests.support.builders.api import make_listener, make_song
from tests.support.builders.roles import find_role

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)


@pytest.fixture
def viewer() -> Client:
    staff = User.objects.create_user("vera", is_staff=True)
    staff.groups.add(find_role("viewer"))
    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture(autouse=True)
def rows() -> None:
    make_song(7, name="Blue Train", artist="Clara Blake")
    for pk in range(100, 109):
        make_song(pk, name=f"Number {pk} 111", artist="Counting")
    make_song(111, name="Late", artist="Counting")
    make_listener(7, first_name="Augusta", last_name="Lovelace", email="ada@example.org")
    IngestionRun.objects.create(
        id=7, trigger="command", status="failed", error_kind="source_unavailable",
        error="The source answered 502",
        started_at=NOW, heartbeat_at=NOW, finished_at=NOW, host="here", pid=1, process_started=0.0,
    )  # fmt: skip
    Incident.objects.create(
        id=7, key="backup_old", kind="backup_old", severity="warning", opened_at=NOW, seen_at=NOW,
        facts={"age_hours": 60},
    )  # fmt: skip


def found(client: Client, text: str, **headers: str) -> dict[str, list[str]]:
    answer = client.get("/admin/search/", {"s": text}, headers=headers)
    assert answer.status_code == 200
    return {group.title: [one.title for one in group.results] for group in answer.context["groups"]}


def test_a_number_finds_the_song_the_listener_the_run_and_the_incident(viewer: Client) -> None:
    rows = found(viewer, "7")

    assert rows["Songs"][0] == "Blue Train by Clara Blake"
    assert rows["Listeners"] == ["Listener 7"]
    assert rows["Ingestion runs"] == ["Run 7, 2026-11-23 02:00 UTC: failed"]
    assert rows["Incidents"][0].startswith("Incident 7: ")


def test_words_find_songs_errors_problems_and_pages_in_the_reader_s_language(viewer: Client) -> None:
    assert found(viewer, "clara blue") == {"Songs": ["Blue Train by Clara Blake"]}
    assert list(found(viewer, "502")) == ["Ingestion runs"]
    assert list(found(viewer, "newest backup is")) == ["Incidents"]
    assert list(found(viewer, "sauvegarde", accept_language="fr")) == ["Incidents"]
    # As a keyboard writes it: the page has another apostrophe.
    assert "Pages" in found(viewer, "exécutions de l'ingestion", accept_language="fr")
    assert found(viewer, "drift rep") == {"Pages": ["Drift reports"]}
    assert found(viewer, "no such thing") == {}


def test_a_song_whose_number_is_entered_comes_before_names_with_the_number(viewer: Client) -> None:
    assert found(viewer, "111")["Songs"][:2] == ["Late by Counting", "Number 100 111 by Counting"]
    assert len(found(viewer, "counting")["Songs"]) == 6


@pytest.mark.parametrize("text", ["Lovelace", "ada@example.org", "Augusta", "example"])
def test_a_viewer_finds_no_listener_by_name_or_address(viewer: Client, text: str) -> None:
    page = viewer.get("/admin/search/", {"s": text}).content.decode()
    window = viewer.get("/admin/search/", {"s": text, "extended": "1"}).content.decode()

    assert found(viewer, text) == {}
    assert "Listener 7" not in page + window
    assert not AuditEntry.objects.filter(action=AuditEntry.Action.PERSONAL_DATA_READ).exists()


def test_whoever_may_see_personal_data_finds_listeners_by_name_and_it_is_recorded(viewer: Client) -> None:
    User.objects.get().user_permissions.add(Permission.objects.get(codename="view_personal_data"))

    assert found(viewer, "lovelace") == {"Listeners": ["Listener 7: Augusta Lovelace"]}
    assert found(viewer, "ada@") == {"Listeners": ["Listener 7: Augusta Lovelace"]}
    assert AuditEntry.objects.get(action=AuditEntry.Action.PERSONAL_DATA_READ).actor == "vera"


def test_a_search_that_shows_no_listener_is_not_recorded(viewer: Client) -> None:
    User.objects.get().user_permissions.add(Permission.objects.get(codename="view_personal_data"))

    assert found(viewer, "clara") == {"Songs": ["Blue Train by Clara Blake"]}
    assert not AuditEntry.objects.filter(action=AuditEntry.Action.PERSONAL_DATA_READ).exists()


def test_a_lookup_of_a_listener_by_name_is_recorded(viewer: Client) -> None:
    User.objects.get().user_permissions.add(Permission.objects.get(codename="view_personal_data"))
    asked = {"app_label": "recommender", "model_name": "feedback", "field_name": "listener", "term": "lovel"}

    answer = viewer.get("/admin/autocomplete/", asked)

    assert [one["id"] for one in answer.json()["results"]] == ["7"]
    assert AuditEntry.objects.get(action=AuditEntry.Action.PERSONAL_DATA_READ).actor == "vera"


def test_staff_without_a_role_find_only_pages_for_everybody(viewer: Client) -> None:
    User.objects.get().groups.clear()

    assert found(viewer, "7") == {}
    assert found(viewer, "two-factor") == {"Pages": ["Your two-factor login"]}


def test_the_window_shows_the_same_results_and_no_cache_keeps_them(viewer: Client) -> None:
    answer = viewer.get("/admin/search/", {"s": "counting", "extended": "1", "page": "x"}).content.decode()
    Song.objects.all().delete()
    later = viewer.get("/admin/search/", {"s": "counting", "extended": "1"}).content.decode()

    assert answer.count("by Counting") == 12  # each as text and as an attribute
    assert "/admin/search/?s=counting" in answer
    assert "Found 6 results" in answer  # without the link to more
    assert "No results matching your query" in later


def test_a_search_needs_few_queries(
    viewer: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    found(viewer, "7")

    with django_assert_max_num_queries(9):
        viewer.get("/admin/search/", {"s": "111"})


def test_too_long_a_text_and_no_text_find_nothing(viewer: Client) -> None:
    too_long = viewer.get("/admin/search/", {"s": "7" * 201}, headers={"accept-language": "fr"})
    window = viewer.get("/admin/search/", {"s": "7" * 201, "extended": "1"}).content.decode()
    none = [viewer.get("/admin/search/", {"s": text}).content.decode() for text in ("", " ")]

    assert too_long.context["groups"] == []
    assert "au plus 200 caractères" in too_long.content.decode()
    assert "at most 200 characters (it has 201)" in window
    assert not any("This field is required" in page for page in none)
    assert found(viewer, "") == found(viewer, " ") == {}
    assert viewer.get("/admin/search/", {"s": "9" * 40}).status_code == 200
