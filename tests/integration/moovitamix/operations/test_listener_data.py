"""What is stored about a listener: the export is complete, and a deletion names what remains elsewhere."""

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import ForeignKey
from django.utils import timezone

from ingestion.jobs.lock import lock_owner
from ingestion.models import AuditEntry, Listener
from moovitamix.operations.backup import MANIFEST
from moovitamix.operations.listener_data import DERIVED, export_listener
from recommender.models import AttributedListen, Feedback, ServedList, TrainingRun
from tests.support.builders.api import make_api_caller, make_listener, make_session, make_song
from tests.support.builders.experiments import make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def listener() -> Listener:
    """A listener with personal data, a session, a list and feedback."""
    for number in range(1, 31):
        make_song(number, artist=f"Artist {number}")
    make_listener(1)
    make_listener(2)
    make_session(1, [1, 2])
    make_session(2, [3])
    caller = make_api_caller()
    assert caller.get("/users/1/recommendations/?n=3").status_code == 200
    caller.post("/feedback/", {"event_id": "a", "user_id": 1, "song_id": 1, "kind": "like"})
    Listener.objects.filter(pk=1).update(first_name="Ada", email="ada@example.org")
    return Listener.objects.get(pk=1)


def test_the_export_has_every_table_that_names_the_listener(listener: Listener) -> None:
    said = StringIO()

    call_command("exportlistener", "1", stdout=said)

    told = json.loads(said.getvalue())
    assert told["listener"]["email"] == "ada@example.org"
    assert [len(told[name]) for name in ("listening history", "served lists", "feedback")] == [1, 1, 1]
    # The other listener's session is not there.
    assert told["listening history"][0]["items"] == [1, 2]
    assert AuditEntry.objects.filter(action="listener_exported", target="listener 1").exists()
    related = {
        str(one.related_model._meta.verbose_name_plural)
        for one in Listener._meta.related_objects
        if isinstance(one.field, ForeignKey) and one.related_model not in DERIVED
    }
    filled = {name for name, rows in export_listener(listener).items() if isinstance(rows, list)}
    assert filled <= related | {"rejections"}


def test_an_unknown_listener_is_an_error() -> None:
    with pytest.raises(CommandError, match="No listener has the ID 99"):
        call_command("exportlistener", "99")


def test_a_training_that_may_read_the_export_refuses_a_deletion(
    listener: Listener, settings: Any, tmp_path: Path
) -> None:
    settings.EXPORT_DIR = tmp_path
    exported = tmp_path / "sessions" / "000000000000.parquet"
    exported.parent.mkdir()
    exported.write_text("")
    now = timezone.now()
    TrainingRun.objects.create(trigger="command", started_at=now, heartbeat_at=now, **lock_owner())

    with pytest.raises(CommandError, match="may be reading the sessions exported for Spark") as refused:
        call_command("forgetlistener", "1", stdout=StringIO())

    assert refused.value.returncode == 3
    assert exported.exists()
    assert Listener.objects.filter(pk=1).exists()


def test_a_deletion_names_the_backups_and_model_versions_that_still_hold_something(
    listener: Listener, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_STORAGE, settings.BACKUP_DIR = tmp_path / "models", tmp_path / "backups"
    settings.EXPORT_DIR = tmp_path / "exports"
    now = timezone.now()
    for label, cut_off in (("2020w01.1", now - timedelta(days=3_000)), ("2026w48.1", now)):
        make_version(label, cut_off=cut_off)
        (settings.MODEL_STORAGE / label).mkdir(parents=True)
    (settings.BACKUP_DIR / "20261129T030000Z").mkdir(parents=True)
    (settings.BACKUP_DIR / "20261129T030000Z" / MANIFEST).write_text("{}")
    AttributedListen.objects.create(served_list=ServedList.objects.get(), song_id=1, at=now)
    said = StringIO()
    exported = settings.EXPORT_DIR / "sessions" / "000000000000.parquet"
    exported.parent.mkdir(parents=True)
    exported.write_text("")

    call_command("forgetlistener", "1", stdout=said, stderr=StringIO())

    assert not exported.exists()
    assert "exported for Spark were deleted" in said.getvalue()
    assert not AttributedListen.objects.exists()
    assert "2026w48.1" in said.getvalue()
    assert "2020w01.1" not in said.getvalue()
    assert "20261129T030000Z" in said.getvalue()
    assert not Feedback.objects.exists()
