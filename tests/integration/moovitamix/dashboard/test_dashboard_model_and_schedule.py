"""The operations page: the serving model, the periodic tasks and the heartbeats."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from ingestion.models import Heartbeat, IngestionRun
from ingestion.schedules import DAILY_ENTRY
from moovitamix.dashboard.queries import list_scheduled_entries, next_ingestion_at
from recommender.models import ModelVersion
from tests.support.builders.small_world import fill_tables, small_world
from tests.support.builders.trained_model import train_champion

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def storage(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("models")
    with django_db_blocker.unblock(), transaction.atomic():
        fill_tables(small_world())
        train_champion(folder)
        yield folder
        transaction.set_rollback(True)


@pytest.fixture
def staff(db: None, client: Client, django_user_model: Any) -> Client:
    client.force_login(django_user_model.objects.create_superuser("ada"))
    return client


def read(staff: Client, language: str = "en") -> str:
    answer = staff.get("/", headers={"accept-language": language})
    page = re.sub(r"<script.*?</script>|<[^>]+>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(page).replace("\N{NARROW NO-BREAK SPACE}", " ").split())


def entry(name: str, *, enabled: bool = True, **when: Any) -> PeriodicTask:
    return PeriodicTask.objects.create(name=name, task="a.task", enabled=enabled, **when)


def crontab(**fields: str) -> CrontabSchedule:
    return CrontabSchedule.objects.create(**fields)


def test_the_serving_model_shows_its_age_size_and_ranking_quality(
    storage: Path, staff: Client, settings: Any
) -> None:
    settings.MODEL_STORAGE = storage
    version = ModelVersion.objects.get()

    text = read(staff)

    assert re.search(rf"{version.label}\s?, \d+ seconds? old, champion\.", text)
    assert f"{version.n_songs} songs" in text
    assert re.search(r"NDCG@20 0\.\d{4}, [\d.]+ times that of the popularity baseline\.", text)


def test_a_model_without_its_files_shows_the_fallback(
    storage: Path, staff: Client, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_STORAGE = tmp_path / "elsewhere"

    assert "Popularity serves instead." in read(staff)
    assert "La popularité sert à la place." in read(staff, "fr")


def test_after_a_catalogue_reset_the_page_says_in_french_why_no_model_serves(
    storage: Path, staff: Client, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_STORAGE = tmp_path  # for a new loader: that of `storage` looks again after seconds
    at = timezone.now()
    IngestionRun.objects.create(
        trigger="command", status="succeeded", new_catalogue=True, started_at=at, heartbeat_at=at,
        finished_at=at, pid=1, host="h", process_started=0.0,
    )  # fmt: skip

    assert (
        f"Le catalogue de la source a été remplacé le {at:%Y-%m-%d %H:%M} UTC, et aucun modèle n"
        "\N{RIGHT SINGLE QUOTATION MARK}a encore été entraîné sur le nouveau." in read(staff, "fr")
    )


def test_dated_entries_come_first_and_soonest_first(db: None) -> None:
    quarter = IntervalSchedule.objects.create(every=15, period=IntervalSchedule.MINUTES)
    entry("often", interval=quarter)
    entry("weekly", crontab=crontab(minute="0", hour="4", day_of_week="0", timezone="UTC"))
    entry("in Paris", crontab=crontab(minute="10", hour="12", timezone="Europe/Paris"))
    entry("switched off", enabled=False, interval=quarter)

    found = list_scheduled_entries(NOW)

    assert [(due.name, due.timing) for due in found] == [
        ("in Paris", "in 2 hours"), ("weekly", "in 5 days"), ("often", "every 15 minutes"),
    ]  # fmt: skip
    assert found[0].at == datetime(2026, 11, 23, 11, 10, tzinfo=UTC)
    assert next_ingestion_at(found) is None


@pytest.mark.parametrize(
    ("now", "due"),
    [
        # The clocks jump from 02:00 to 03:00: a run at 02:30 is due at 03:30 summer time.
        ("2026-03-29T00:00", "2026-03-29T01:30"),
        # They go back from 03:00 to 02:00: it is due at the first 02:30, and not again.
        ("2026-10-25T00:00", "2026-10-25T00:30"),
        ("2026-10-25T00:45", "2026-10-26T01:30"),
    ],
)
def test_the_daily_run_is_next_when_its_own_rule_says_so(db: None, now: str, due: str) -> None:
    entry(DAILY_ENTRY, crontab=crontab(minute="30", hour="2", timezone="Europe/Paris"))

    found = list_scheduled_entries(datetime.fromisoformat(f"{now}+00:00"))

    assert next_ingestion_at(found) == datetime.fromisoformat(f"{due}+00:00")


def test_each_part_shows_the_age_of_its_last_heartbeat(staff: Client) -> None:
    now = timezone.now()
    for part, seconds in (("beat", 12), ("worker", 400)):
        Heartbeat.objects.create(
            part=part, at=now - timedelta(seconds=seconds), since=now, host="here", pid=1
        )

    text = read(staff)

    assert re.search(r"Celery Beat 1[2-9] seconds ago", text)
    assert "Celery workers 6 minutes ago: no recent heartbeat" in text
    assert "Watchdog" not in text
