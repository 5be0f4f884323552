"""Downloads of songs, listeners and sessions from the admin's lists."""

import csv
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from ingestion.admin import export
from ingestion.models import AuditEntry, Listener, Song
from tests.support.builders.experiments import make_listeners_and_songs
from tests.support.builders.roles import find_role

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer(client: Client) -> Client:
    person = User.objects.create_user("eve", is_staff=True)
    person.groups.add(find_role("viewer"))
    client.force_login(person)
    make_listeners_and_songs()
    return client


def read(answer: Any) -> str:
    assert answer.status_code == 200
    text: str = b"".join(answer.streaming_content).decode()
    return text


def test_all_filtered_rows_are_exported_page_by_page(viewer: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(export, "BATCH", 3)
    Song.objects.filter(pk__lt=17).update(artist="Abba")
    Song.objects.filter(pk__gte=17).update(artist="Zappa")

    answer = viewer.get("/admin/ingestion/song/export/ndjson/?q=abba")
    rows = [orjson.loads(line) for line in read(answer).splitlines()]

    assert [row["id"] for row in rows] == [10, 11, 12, 13, 14, 15, 16]
    assert answer["Content-Disposition"] == 'attachment; filename="songs.ndjson"'
    assert "export/csv/?q=abba" in viewer.get("/admin/ingestion/song/?q=abba").content.decode()


def test_a_time_that_only_utc_can_express_does_not_cut_the_download(viewer: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Kiritimati"
    Song.objects.filter(pk=10).update(created_at=datetime(9999, 12, 31, 23, tzinfo=UTC))

    rows = read(viewer.get("/admin/ingestion/song/export/ndjson/")).splitlines()

    assert len(rows) == 20
    assert orjson.loads(rows[0])["created_at"].startswith("9999-12-31T23:00")


def test_text_that_looks_like_a_formula_is_quoted_in_csv(viewer: Client) -> None:
    Song.objects.filter(pk=10).update(name="=HYPERLINK(1)", album="+1", audio_features={"loudness": -3.5})

    rows = list(csv.DictReader(read(viewer.get("/admin/ingestion/song/export/csv/")).splitlines()))

    assert (rows[0]["name"], rows[0]["album"]) == ("'=HYPERLINK(1)", "'+1")
    assert orjson.loads(rows[0]["audio_features"]) == {"loudness": -3.5}
    assert len(rows) == 20


def test_personal_data_is_exported_only_with_its_permission_and_audited(viewer: Client) -> None:
    Listener.objects.filter(pk=1).update(email="zoe@example.org")
    url = "/admin/ingestion/listener/export/csv/"

    without = read(viewer.get(url))
    assert not AuditEntry.objects.filter(action="personal_data_read").exists()
    User.objects.get(username="eve").user_permissions.add(
        Permission.objects.get(codename="view_personal_data")
    )
    allowed = read(viewer.get(url))

    assert "zoe@example.org" not in without
    assert "email" not in without
    assert "zoe@example.org" in allowed
    assert AuditEntry.objects.filter(action="personal_data_read", actor="eve").exists()


def test_an_export_needs_the_permission_to_see_the_list_and_a_known_filter(viewer: Client) -> None:
    other = Client()
    other.force_login(User.objects.create_user("staff", is_staff=True))

    assert other.get("/admin/ingestion/listeninghistory/export/csv/").status_code == 403
    assert viewer.get("/admin/ingestion/listeninghistory/export/xlsx/").status_code == 400
    assert viewer.get("/admin/ingestion/listener/export/csv/?email__startswith=z").status_code == 400
    assert read(viewer.get("/admin/ingestion/listeninghistory/export/ndjson/")) == ""
