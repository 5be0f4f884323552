"""Listeners' personal data in the admin needs its own permission."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from ingestion.models import IngestionRun, Listener, Rejection

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
WORDS = ("Augusta", "Lovelace", "ada@example.org", "female")


@pytest.fixture
def pages() -> list[str]:
    """Every page of the admin that shows a listener."""
    listener = Listener.objects.create(
        id=7, first_name="Augusta", last_name="Lovelace", email="ada@example.org", gender="female",
        favorite_genres="Rock", created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    run = IngestionRun.objects.create(
        trigger="command", status="succeeded", started_at=NOW, heartbeat_at=NOW, finished_at=NOW,
        host="here", pid=1, process_started=0.0,
    )  # fmt: skip
    refused = Rejection.objects.create(
        run=run, last_run=run, resource="users", field="email", reason="It is no address.", fingerprint="1",
        payload='{"first_name": "Augusta", "last_name": "Lovelace", "email": "ada@example.org", '
        '"gender": "female"}',
    )  # fmt: skip
    lists = reverse("admin:ingestion_listener_changelist")
    return [
        lists,
        f"{lists}?q=Lovelace",
        reverse("admin:ingestion_listener_change", args=[listener.pk]),
        reverse("admin:ingestion_rejection_change", args=[refused.pk]),
    ]


def seen(pages: list[str], *permissions: str) -> list[set[str]]:
    """The words of `WORDS` on each page, for staff with these permissions."""
    staff = User.objects.create_user("operator", password="a long password", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(staff)
    answers = [client.get(page) for page in pages]
    assert [answer.status_code for answer in answers] == [200] * len(pages)
    # The search field repeats the search term.
    told = [answer.content.decode().replace('value="Lovelace"', "") for answer in answers]
    return [{word for word in WORDS if word in text.replace("q=Lovelace", "")} for text in told]


def test_without_the_permission_no_listener_is_named_or_found_by_name(pages: list[str]) -> None:
    assert seen(pages, "view_listener", "view_rejection") == [set(), set(), set(), set()]


def test_with_the_permission_listeners_are_named_and_found_by_name(pages: list[str]) -> None:
    listed = {"Augusta", "Lovelace", "ada@example.org"}

    assert seen(pages, "view_listener", "view_rejection", "view_personal_data") == [
        listed, listed, set(WORDS), set(WORDS),
    ]  # fmt: skip
