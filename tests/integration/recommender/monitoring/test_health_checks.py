"""Incidents about old models, models that can't be served, and failed trainings."""

import shutil
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from ingestion.jobs.lock import lock_owner
from ingestion.models import Incident
from recommender.models import ModelVersion, TrainingRun
from recommender.monitoring.health_checks import model_degraded, model_stale, training_failed
from recommender.registry import model_loader
from recommender.schedules import sync_timetable
from tests.support.builders.experiments import START, make_version

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def open_keys() -> list[str]:
    return sorted(Incident.objects.filter(resolved_at=None).values_list("key", flat=True))


def training(status: str, after: timedelta = HOUR, **fields: Any) -> TrainingRun:
    at = START + after
    ended = (
        {"error": "Out of memory", "error_kind": "MemoryError"} if status in {"failed", "abandoned"} else {}
    )
    usual: dict[str, Any] = {
        "trigger": "schedule", "status": status, "started_at": at, "heartbeat_at": at,
        "finished_at": at + HOUR, "host": "elsewhere", "pid": 1, "process_started": 0.0,
    }  # fmt: skip
    return TrainingRun.objects.create(**usual | ended | fields)


def test_where_there_is_no_model_nothing_is_wrong() -> None:
    sync_timetable()

    for check in (model_stale, model_degraded, training_failed):
        check(START + 1000 * DAY)

    assert not Incident.objects.exists()


@pytest.mark.parametrize(("days", "stale"), [(13.9, []), (14.1, ["model_stale"])])
def test_a_model_is_stale_after_a_fortnight_without_another(days: float, stale: list[str]) -> None:
    sync_timetable()
    make_version("2026w45.1", "champion")

    model_stale(START + days * DAY)

    assert open_keys() == stale


def test_a_stale_model_is_reported_until_another_is_trained() -> None:
    sync_timetable()
    make_version("2026w45.1", "champion")
    model_stale(START + 15 * DAY)
    before = open_keys()
    make_version("2026w47.1", created_at=START + 15 * DAY)

    model_stale(START + 16 * DAY)

    assert before == ["model_stale"]
    assert open_keys() == []


def test_what_is_told_of_a_stale_model_is_about_the_one_that_serves() -> None:
    sync_timetable()
    make_version("2026w45.1", "champion")
    make_version("2026w46.1", created_at=START + 7 * DAY)

    model_stale(START + 22 * DAY)

    incident = Incident.objects.get()
    assert (incident.key, incident.severity, incident.link) == ("model_stale", "warning", "/models/")
    assert incident.facts == {"version": "2026w45.1", "age_days": 22.0, "limit_days": 14}


def test_a_champion_that_every_newer_version_loses_against_is_not_stale() -> None:
    sync_timetable()
    make_version("2026w45.1", "champion")
    make_version("2026w48.1", "retired", created_at=START + 21 * DAY)

    model_stale(START + 30 * DAY)

    assert open_keys() == []


def test_a_training_that_found_nothing_new_shows_that_the_model_knows_it_all() -> None:
    sync_timetable()
    make_version("2026w45.1", "champion")
    training("refused", 20 * DAY, error="Nothing new", error_kind="NothingNew")

    model_stale(START + 30 * DAY)

    assert open_keys() == []


def test_a_model_that_was_made_by_hand_may_get_old_until_that_is_a_habit() -> None:
    make_version("2026w45.1", "champion")
    model_stale(START + 100 * DAY)
    by_hand = open_keys()
    make_version("2026w46.1")
    make_version("2026w47.1")

    model_stale(START + 100 * DAY)

    assert by_hand == []
    assert open_keys() == ["model_stale"]


def test_who_switches_the_weekly_training_off_is_not_reminded() -> None:
    sync_timetable()
    PeriodicTask.objects.filter(task="recommender.tasks.learn_weekly").update(enabled=False)
    make_version("2026w45.1", "champion")

    model_stale(START + 100 * DAY)

    assert open_keys() == []


@pytest.mark.parametrize("status", ["failed", "abandoned"])
def test_a_training_that_failed_is_told_of_until_one_succeeds(status: str) -> None:
    failed = training(status)
    training_failed(START + DAY)
    incident = Incident.objects.get()
    training("refused", 2 * DAY, error="Nothing new", error_kind="NothingNew")
    training_failed(START + 3 * DAY)
    still_there = open_keys()
    training("succeeded", 4 * DAY)

    training_failed(START + 5 * DAY)

    assert incident.facts["error"] == "Out of memory"
    assert incident.facts["training"] == failed.pk
    assert incident.link == f"/admin/recommender/trainingrun/{failed.pk}/change/"
    assert still_there == ["training_failed"]
    assert open_keys() == []


def test_a_training_that_died_is_marked_and_told_of_at_once() -> None:
    now = timezone.now()
    training("running", started_at=now - HOUR, heartbeat_at=now - 6 * HOUR / 60, finished_at=None)

    training_failed(now)

    assert TrainingRun.objects.get().status == "abandoned"
    assert open_keys() == ["training_failed"]


@pytest.mark.parametrize(("hours", "told"), [(5.9, []), (6.1, ["training_failed"])])
def test_a_training_that_lives_may_take_six_hours(hours: float, told: list[str]) -> None:
    now = timezone.now()
    training("running", started_at=now - hours * HOUR, heartbeat_at=now, finished_at=None, **lock_owner())

    training_failed(now)

    assert TrainingRun.objects.get().status == "running"
    assert open_keys() == told


def test_a_champion_whose_files_are_lost_is_critical_until_they_are_back(
    storage: Path, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_STORAGE = storage
    now = timezone.now()
    model_degraded(now)
    before = open_keys()
    label = ModelVersion.objects.get(role="champion").label
    shutil.move(storage / label, tmp_path / "lost")
    model_loader.loader_for(storage).reload()
    model_degraded(now + HOUR)
    incident = Incident.objects.get()
    settings.MODEL_STORAGE = shutil.copytree(tmp_path / "lost", tmp_path / "other" / label).parent

    model_degraded(now + 2 * HOUR)

    assert before == []
    assert (incident.key, incident.severity) == ("model_degraded", "critical")
    assert label in incident.facts["reason"]
    assert open_keys() == []


def test_a_machine_that_has_the_files_does_not_end_what_another_one_lacks(
    storage: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, minute = timezone.now(), HOUR / 60
    complete, empty = storage, storage.parent / "empty"

    def check(host: str, folder: Path, at: datetime) -> None:
        monkeypatch.setattr(socket, "gethostname", lambda: host)
        settings.MODEL_STORAGE = folder
        model_degraded(at)

    check("web-1", empty, now)
    check("web-2", empty, now + minute)
    incident = Incident.objects.get()
    found_by = sorted(incident.facts["hosts"])
    check("web-2", complete, now + 2 * minute)
    check("worker", complete, now + 3 * minute)
    soon = Incident.objects.filter(resolved_at=None).count()
    check("web-1", complete, now + 4 * minute)

    assert found_by == ["web-1", "web-2"]
    assert soon == 1
    assert open_keys() == []
    assert Incident.objects.count() == 1


def test_a_machine_that_is_gone_keeps_no_incident_open(storage: Path, settings: Any) -> None:
    settings.MODEL_STORAGE = storage
    now = timezone.now()
    Incident.objects.create(
        key="model_degraded", kind="model_degraded", severity="critical", opened_at=now, seen_at=now,
        facts={"host": "another machine"},
    )  # fmt: skip

    model_degraded(now + HOUR / 2)
    soon = open_keys()
    model_degraded(now + HOUR)

    assert soon == ["model_degraded"]
    assert open_keys() == []
