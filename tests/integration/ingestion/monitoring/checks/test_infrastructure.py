"""Beat, workers, the queue and the disks are reported when unhealthy and ignored if never set up."""

import shutil
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings

from ingestion.jobs.heartbeats import claim_turn, record_heartbeat
from ingestion.jobs.lock import lock_owner
from ingestion.models import Heartbeat, Incident, IngestionRun
from ingestion.monitoring.checks import infrastructure
from ingestion.monitoring.checks.infrastructure import (
    beat_alive,
    disk_room,
    queue_growing,
    watchdog_alive,
    workers_alive,
)

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infrastructure, "is_worker_responding", lambda: False)


def check_queue(monkeypatch: pytest.MonkeyPatch, now: datetime, length: int) -> None:
    monkeypatch.setattr(infrastructure, "queue_length", lambda: length)
    queue_growing(now)


def check_disks(monkeypatch: pytest.MonkeyPatch, now: datetime, folders: dict[str, Path], *, limit: float,
                enough: int = 10**18) -> None:  # fmt: skip
    monkeypatch.setattr(infrastructure, "data_folders", lambda: folders)
    monkeypatch.setattr(infrastructure, "ENOUGH_BYTES", enough)
    monkeypatch.setattr(settings, "LEAST_FREE_DISK_SHARE", limit)
    disk_room(now)


def alive(part: str, minutes_ago: float, since_minutes: float = 600) -> None:
    """Record a component that has run for long, and sent its last heartbeat so many minutes ago."""
    record_heartbeat(part, NOW - since_minutes * MINUTE)
    Heartbeat.objects.filter(part=part).update(at=NOW - minutes_ago * MINUTE)


def open_keys() -> list[str]:
    return sorted(Incident.objects.filter(resolved_at=None).values_list("key", flat=True))


@pytest.mark.usefixtures("no_worker")
def test_where_neither_beat_nor_a_worker_ever_was_nothing_is_missed() -> None:
    beat_alive(NOW)
    workers_alive(NOW)

    assert not Incident.objects.exists()


def test_a_part_that_must_run_and_never_started_is_critical_until_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "EXPECTED_PARTS", ["beat", "worker", "watchdog"])
    alive("watchdog", minutes_ago=0.5, since_minutes=4)
    beat_alive(NOW)
    early = open_keys()
    alive("watchdog", minutes_ago=0.5, since_minutes=26)
    Heartbeat.objects.filter(part="watchdog").update(since=NOW - 26 * MINUTE)

    beat_alive(NOW)
    late = open_keys()
    record_heartbeat("beat", NOW)
    beat_alive(NOW)

    assert (early, late, open_keys()) == ([], ["beat_dead"], [])


def test_a_watchdog_that_fell_silent_is_found_by_others_and_resolved_by_itself() -> None:
    alive("watchdog", minutes_ago=20)
    watchdog_alive(NOW)
    found = open_keys()
    record_heartbeat("watchdog", NOW)

    watchdog_alive(NOW)

    assert (found, open_keys()) == (["watchdog_dead"], [])


def test_beat_that_fell_silent_is_critical_until_it_is_back() -> None:
    alive("beat", minutes_ago=6)
    beat_alive(NOW)
    incident = Incident.objects.get()
    record_heartbeat("beat", NOW + MINUTE)

    beat_alive(NOW + MINUTE)

    assert (incident.key, incident.severity) == ("beat_dead", "critical")
    assert incident.facts["age_seconds"] == 360
    assert incident.facts["last_seen_at"] == "2026-11-23T11:54:00+00:00"
    assert open_keys() == []


def test_beat_may_take_some_minutes_to_be_started_anew() -> None:
    alive("beat", minutes_ago=4)

    beat_alive(NOW)

    assert open_keys() == []


def test_beat_is_not_missed_where_a_foreground_scheduler_took_its_place() -> None:
    alive("beat", minutes_ago=6000)
    alive("scheduler", minutes_ago=0.5)

    beat_alive(NOW)

    assert open_keys() == []


def test_a_foreground_scheduler_that_runs_an_ingestion_is_there() -> None:
    alive("beat", minutes_ago=6000)
    alive("scheduler", minutes_ago=50)
    IngestionRun.objects.create(
        trigger="schedule", started_at=NOW - 50 * MINUTE, heartbeat_at=NOW, **lock_owner()
    )

    beat_alive(NOW)

    assert open_keys() == []


@pytest.mark.usefixtures("no_worker")
def test_a_worker_that_is_gone_is_critical_until_one_is_back() -> None:
    alive("beat", minutes_ago=0.5)
    alive("worker", minutes_ago=6)
    workers_alive(NOW)
    missed = open_keys()
    record_heartbeat("worker", NOW)

    workers_alive(NOW + MINUTE)

    assert missed == ["worker_gone"]
    assert open_keys() == []


def test_a_worker_that_answers_while_a_training_keeps_it_from_other_tasks_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(infrastructure, "is_worker_responding", lambda: True)
    alive("beat", minutes_ago=0.5)
    alive("worker", minutes_ago=25)

    workers_alive(NOW)

    assert open_keys() == []


def test_a_worker_that_is_missed_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    alive("beat", minutes_ago=0.5)
    alive("worker", minutes_ago=6)
    asked: list[bool] = []

    def ask() -> bool:
        asked.append(True)
        return False

    monkeypatch.setattr(infrastructure, "is_worker_responding", ask)
    for _ in range(3):
        workers_alive(NOW)

    assert len(asked) == 1
    assert open_keys() == ["worker_gone"]


@pytest.mark.usefixtures("no_worker")
def test_no_worker_is_missed_while_beat_is_silent_for_nobody_can_tell() -> None:
    alive("beat", minutes_ago=6)
    alive("worker", minutes_ago=6)

    workers_alive(NOW)

    assert open_keys() == []


@pytest.mark.parametrize(("since", "missed"), [(4, []), (6, ["worker_gone"])])
@pytest.mark.usefixtures("no_worker")
def test_a_worker_that_never_came_is_missed_when_beat_has_been_there_for_five_minutes(
    since: float, missed: list[str]
) -> None:
    alive("beat", minutes_ago=0.5, since_minutes=since)

    workers_alive(NOW)

    assert open_keys() == missed


def test_a_queue_that_is_too_long_is_told_of_until_it_is_short_again(monkeypatch: pytest.MonkeyPatch) -> None:
    check_queue(monkeypatch, NOW, 101)
    incident = Incident.objects.get()

    check_queue(monkeypatch, NOW + MINUTE, 100)

    assert (incident.key, incident.severity, incident.facts) == (
        "queue_growing", "warning", {"length": 101, "limit": 100},
    )  # fmt: skip
    assert open_keys() == []


@pytest.mark.parametrize(
    ("lengths", "told"),
    [
        ([5 * n for n in range(12)], True),  # 0 to 55, never shorter
        ([5 * n for n in range(10)], False),  # nine minutes are not ten
        ([2 * n for n in range(12)], False),  # 22 more is less than a quarter of 100
        ([0, 10, 20, 30, 29, 40, 50, 60, 70, 80, 90, 95], False),  # the workers got ahead once
    ],
)
def test_a_queue_that_only_grows_for_ten_minutes_is_told_of(
    monkeypatch: pytest.MonkeyPatch, lengths: list[int], told: bool
) -> None:
    for minute, length in enumerate(lengths):
        claim_turn("watchdog", NOW + minute * MINUTE, MINUTE)
        check_queue(monkeypatch, NOW + minute * MINUTE, length)

    assert (open_keys() == ["queue_growing"]) is told


@pytest.mark.usefixtures("no_worker")
def test_where_no_worker_is_there_the_queue_says_nothing_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    alive("beat", minutes_ago=0.5)
    alive("worker", minutes_ago=6)
    workers_alive(NOW)

    check_queue(monkeypatch, NOW, 1000)

    assert open_keys() == ["worker_gone"]


def test_the_queue_in_redis_is_counted() -> None:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.rpush("ingestion", "one", "two")
        client.rpush("default", "three")

    assert infrastructure.queue_length() == 3


def test_the_queue_in_files_is_counted_without_what_others_wait_for(tmp_path: Path, settings: Any) -> None:
    settings.REDIS_URL = ""
    options = {"data_folder_in": str(tmp_path / "messages")}
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = options
    before = infrastructure.queue_length()
    (tmp_path / "messages").mkdir()
    for name in ("1_a.default.msg", "2_b.training.msg", "3_c.celery@here.celery.pidbox.msg"):
        (tmp_path / "messages" / name).touch()

    assert (before, infrastructure.queue_length()) == (0, 2)


@pytest.mark.slow
def test_where_no_worker_is_started_none_answers() -> None:
    assert infrastructure.is_worker_responding() is False


def test_a_disk_with_little_room_is_told_of_with_its_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    room = shutil.disk_usage(tmp_path)
    share = room.free / room.total

    check_disks(monkeypatch, NOW, {"models": tmp_path / "not" / "there yet"}, limit=share + 0.05)

    incident = Incident.objects.get()
    assert (incident.key, incident.kind) == ("disk_nearly_full:models", "disk_nearly_full")
    assert incident.severity == ("warning" if share >= 0.03 else "critical")
    assert incident.facts["free_share"] == pytest.approx(share, abs=0.01)
    assert incident.facts["free_bytes"] == pytest.approx(room.free, rel=0.05)
    assert incident.facts["path"] == str(tmp_path)


def test_folders_on_one_disk_are_one_incident_and_room_ends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders = {"database": tmp_path / "music.db", "staging": tmp_path, "models": tmp_path}
    check_disks(monkeypatch, NOW, folders, limit=1.0)
    keys = open_keys()

    check_disks(monkeypatch, NOW + MINUTE, folders, limit=0.0)

    assert keys == ["disk_nearly_full:database"]
    assert open_keys() == []


def test_a_machine_with_room_does_not_end_the_incident_of_another_full_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def check(host: str, minute: int, limit: float) -> None:
        monkeypatch.setattr(socket, "gethostname", lambda: host)
        check_disks(monkeypatch, NOW + minute * MINUTE, {"models": tmp_path}, limit=limit)

    check("web-1", 0, limit=1.0)
    check("web-2", 1, limit=0.0)
    check("web-1", 2, limit=1.0)
    check("web-2", 3, limit=0.0)
    [incident] = Incident.objects.all()
    still_open = incident.resolved_at is None
    check("web-1", 4, limit=0.0)

    assert still_open
    assert list(incident.facts["hosts"]) == ["web-1"]
    assert open_keys() == []


def test_a_large_disk_with_gigabytes_to_spare_has_room_whatever_its_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check_disks(monkeypatch, NOW, {"models": tmp_path}, limit=1.0, enough=1)

    assert open_keys() == []
