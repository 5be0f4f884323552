"""Every page shows any time that the database can hold, in any time zone."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.urls import reverse

from ingestion.models import Listener, ListeningHistory, Song

FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin", "admin@example.org", "pw"))
    return client


@pytest.fixture
def rows(db: None) -> dict[str, int]:
    """One row of each table from the first and the last moment of the calendar."""
    times = {"created_at": FIRST, "updated_at": LAST}
    Song.objects.create(pk=1, name="First", artist="A", duration="00:03:00", unavailable_at=LAST, **times)
    Song.objects.create(pk=2, name="Last", artist="A", duration="00:03:00", **times)
    Listener.objects.create(pk=1, **times)
    session = ListeningHistory.objects.create(user_id=1, items=[1, 2], **times)
    ListeningHistory.objects.create(user_id=1, items=[1], created_at=LAST, updated_at=LAST, expired_at=LAST)
    return {"song": 1, "listener": 1, "listeninghistory": session.pk}


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_every_page_shows_the_first_and_the_last_time(staff: Client, rows: dict[str, int], zone: str) -> None:
    pages = [f"/api/v1/{name}/" for name in ("songs", "songs/1", "users", "listening-history")]
    pages.append("/listen/?user=1")
    pages += [reverse(f"admin:ingestion_{name}_changelist") for name in rows]
    pages += [reverse(f"admin:ingestion_{name}_change", args=[pk]) for name, pk in rows.items()]

    with override_settings(TIME_ZONE=zone):
        found = {page: staff.get(page).status_code for page in pages}

    assert found == dict.fromkeys(pages, 200)
