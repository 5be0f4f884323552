"""Filters that staff save: their owner's alone, on every list, without personal data."""

from itertools import product

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import get_resolver

from ingestion.admin.saved_filters import MAX_FILTERS, SavedFiltersMixin
from ingestion.models import SavedFilter
from tests.support.builders.roles import find_role

pytestmark = pytest.mark.django_db
RUNS = "/admin/ingestion/ingestionrun/"
LISTENERS = "/admin/ingestion/listener/"


def log_in(name: str, *roles: str) -> Client:
    staff = User.objects.create_user(name, is_staff=True)
    staff.groups.add(*map(find_role, roles))
    client = Client()
    client.force_login(staff)
    return client


def save(client: Client, name: str, query: str, page: str = RUNS) -> int:
    return client.post(f"{page}saved-filters/", {"name": name, "query": query}).status_code


def names(client: Client, query: str = "", page: str = RUNS) -> list[str]:
    return [one.name for one in client.get(f"{page}?{query}").context["saved_filters"]["own"]]


def test_a_filter_is_saved_shown_replaced_and_deleted() -> None:
    vera = log_in("vera", "viewer")

    unsaved = vera.get(f"{RUNS}?status__exact=failed&p=1").content.decode()
    save(vera, "Bad nights", "status__exact=failed&p=1")
    save(vera, "Bad nights", "status__exact=failed&q=502")
    shown = vera.get(f"{RUNS}?q=502&status__exact=failed")
    link = shown.context["saved_filters"]["active"]
    deleted = vera.post(f"{RUNS}saved-filters/", {"delete": link.pk}, follow=True).content.decode()

    assert 'name="query" value="status__exact=failed"' in unsaved
    assert link.query == "q=502&status__exact=failed"
    assert 'href="?q=502&amp;status__exact=failed"' in shown.content.decode()
    assert "Deleted the filter “Bad nights”." in deleted
    assert not SavedFilter.objects.exists()


def test_nobody_sees_or_deletes_the_filter_of_another_person() -> None:
    vera, otto = log_in("vera", "viewer"), log_in("otto", "owner")
    save(vera, "Bad nights", "status__exact=failed")

    refused = otto.post(f"{RUNS}saved-filters/", {"delete": SavedFilter.objects.get().pk}).status_code

    assert (names(vera), names(otto)) == (["Bad nights"], [])
    assert names(vera, page=LISTENERS) == []
    assert refused == 404
    assert SavedFilter.objects.get().user.username == "vera"


def test_a_list_that_is_not_shown_keeps_no_filters() -> None:
    vera = log_in("vera", "viewer")

    assert save(vera, "All", "q=ada", "/admin/ingestion/auditentry/") == 403
    assert vera.get(f"{RUNS}saved-filters/").status_code == 405
    assert (
        Client()
        .post(f"{RUNS}saved-filters/", {"name": "x", "query": "q=1"})["Location"]
        .startswith("/admin/login/")
    )


@pytest.mark.parametrize(
    ("query", "is_saved"),
    [
        ("q=Lovelace", False), ("q=Lovelace&q=7", False), ("q=7", True), ("availability=missing", True),
    ],
)  # fmt: skip
def test_a_search_for_a_listener_s_name_is_not_saved(query: str, is_saved: bool) -> None:
    otto = log_in("otto", "owner")

    offered = 'name="query"' in otto.get(f"{LISTENERS}?{query}").content.decode()
    save(otto, "Mine", query, LISTENERS)

    assert (offered, SavedFilter.objects.exists()) == (is_saved, is_saved)


def test_parameters_that_the_list_does_not_have_are_not_saved() -> None:
    otto = log_in("otto", "owner")

    page = otto.post(
        f"{LISTENERS}saved-filters/", {"name": "Mine", "query": "email=ada@example.org"}, follow=True
    )

    assert "it has personal data, or parameters that this list does not have" in page.content.decode()
    assert not SavedFilter.objects.exists()


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("", "q=1"),
        ("x", "&" * 1_000),
        ("x", f"q={'é' * 900}"),
        ("x" * 61, "q=1"),
        ("x", ""),
        ("x", "p=3"),
        ("x", "q="),
        ("x", f"q={'1' * 1_000}"),
    ],
)
def test_what_is_empty_or_too_long_is_not_saved(name: str, query: str) -> None:
    save(log_in("vera", "viewer"), name, query)

    assert not SavedFilter.objects.exists()


def test_a_person_has_at_most_twenty_filters_for_a_list() -> None:
    vera = log_in("vera", "viewer")
    SavedFilter.objects.bulk_create(
        SavedFilter(user=User.objects.get(), page=page, name=str(n), query=f"q={n}")
        for page, n in product(("ingestion.ingestionrun", "ingestion.listener"), range(MAX_FILTERS))
    )

    save(vera, "One more", "q=x")
    save(vera, "3", "q=y")

    assert len(names(vera)) == MAX_FILTERS
    assert SavedFilter.objects.get(page="ingestion.ingestionrun", name="3").query == "q=y"


def test_every_list_of_the_admin_can_save_its_filter() -> None:
    assert get_resolver().url_patterns  # discovers the admins

    assert [page for page in admin.site._registry.values() if not isinstance(page, SavedFiltersMixin)] == []
