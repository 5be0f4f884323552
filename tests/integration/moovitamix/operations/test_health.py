"""Each check of `/health/ready/` has a name; what only makes answers worse is degraded, not dead."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from ingestion.alerts.incidents import Condition, open_incidents, open_or_update
from ingestion.jobs.heartbeats import record_heartbeat
from ingestion.models import Heartbeat, Incident, IngestionRun
from ingestion.monitoring.checks import infrastructure
from ingestion.monitoring.checks.infrastructure import beat_alive, watchdog_alive
from moovitamix.operations import health, service_state
from tests.support.builders.daily_runs import make_daily_runs
from tests.support.project import Project

ASK = (
    "from django.test import Client\n"
    "answer = Client().get('/health/ready/', headers={'Host': 'localhost'})\n"
    "print(answer.status_code, answer.content.decode())"
)


def ready() -> tuple[int, dict[str, Any]]:
    answer = Client().get("/health/ready/")
    return answer.status_code, answer.json()


@pytest.mark.django_db
def test_a_fresh_service_is_degraded_for_want_of_a_model_alone() -> None:
    status, body = ready()

    assert (status, body["status"]) == (200, "degraded")
    assert body["checks"] == {
        "database": "ok", "migrations": "ok", "incidents": "ok", "last_run": "ok", "parts": "ok",
        "write": "ok", "broker": "ok", "cache": "ok",
        "artifact": "another model, or none, serves instead", "data_age": "ok",
    }  # fmt: skip


@pytest.mark.django_db
def test_the_badge_has_the_status_and_checks_the_service_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(health._STATUS, "valid_until", 0.0)
    first = Client().get("/health/badge.svg")

    with django_assert_num_queries(0):
        second = Client().get("/health/badge.svg")

    assert b'aria-label="MoovitaMix: degraded"' in first.content
    assert first["Content-Type"] == "image/svg+xml"
    assert second.content == first.content


def test_caches_keep_the_badge_for_the_rest_of_its_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health._STATUS, "valid_until", time.monotonic() + 20)

    header = Client().get("/health/badge.svg")["Cache-Control"]

    assert 0 < int(header.removeprefix("public, max-age=")) < 20


def test_one_of_several_threads_checks_the_service_for_the_badge(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(4)
    checks: list[Any] = []
    second = threading.Event()

    def assess(now: Any) -> Any:
        checks.append(now)
        # A second check would begin in this time.
        if len(checks) > 1 or second.wait(0.2):
            second.set()
        return SimpleNamespace(status="degraded")

    def fetch(_: int) -> bytes:
        together.wait(timeout=10)
        return Client().get("/health/badge.svg").content

    monkeypatch.setattr(health, "assess_service", assess)
    monkeypatch.setattr(health._STATUS, "valid_until", 0.0)
    with ThreadPoolExecutor(4) as pool:
        images = set(pool.map(fetch, range(4)))

    assert (len(checks), len(images)) == (1, 1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("age", "says"), [(25, "ok"), (27, "older than 26 hours: listening_history, songs, users")]
)
def test_old_data_is_degraded_and_not_dead(age: int, says: str) -> None:
    make_daily_runs(1, until=timezone.now() - timedelta(hours=age))

    status, body = ready()

    assert status == 200
    assert body["checks"]["data_age"] == says


@pytest.mark.django_db
def test_without_redis_the_service_is_degraded_and_says_so_at_once(settings: Any) -> None:
    settings.REDIS_URL = "redis://:secret@127.0.0.1:9/0"

    status, body = ready()

    assert (status, body["status"]) == (200, "degraded")
    assert (body["checks"]["cache"], body["checks"]["broker"]) == ("does not answer", "does not answer")
    assert "secret" not in json.dumps(body)


@pytest.mark.django_db
def test_parts_that_never_started_are_missing_on_the_page_in_health_and_as_incidents(
    settings: Any, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EXPECTED_PARTS = ["beat", "worker", "watchdog"]
    now = timezone.now()
    make_daily_runs(1, until=now - timedelta(minutes=4))
    soon = ready()[1]["checks"]["parts"]
    IngestionRun.objects.update(started_at=now - timedelta(minutes=26))
    monkeypatch.setattr(infrastructure, "PROCESS_STARTED", time.monotonic())
    parts = ready()[1]["checks"]["parts"]
    by_new_process = set(open_incidents().values_list("key", flat=True))
    monkeypatch.setattr(infrastructure, "PROCESS_STARTED", time.monotonic() - 301)

    ready()
    by_probe = set(open_incidents().values_list("key", flat=True))
    page = admin_client.get("/").content.decode()
    record_heartbeat(Heartbeat.Part.WATCHDOG, now)
    watchdog_alive(now)
    beat_alive(now)

    assert soon == "ok"
    assert parts == "beat has never started; worker has never started; watchdog has never started"
    assert by_new_process == set()
    assert by_probe == {"watchdog_dead"}
    assert "The watchdog is not running: nothing is checked and no alert is sent" in page
    assert "All is well" not in page
    # The watchdog itself runs now, and has found that Beat does not.
    assert set(open_incidents().values_list("key", flat=True)) == {"beat_dead"}


@pytest.mark.django_db
def test_the_page_says_all_is_well_exactly_if_readiness_is_ok(
    settings: Any, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_state, "_check_artifact", lambda: "ok")
    now = timezone.now()
    make_daily_runs(2, until=now - timedelta(minutes=5))
    found = []
    for prepare in (
        lambda: None,
        lambda: open_or_update(Condition("unusual", "unusual", "warning", {}), now),
        lambda: Incident.objects.all().delete(),
        lambda: IngestionRun.objects.update(status="partial"),
        lambda: IngestionRun.objects.update(status="succeeded"),
        lambda: setattr(settings, "MAX_DATA_AGE_HOURS", 0.01),
    ):
        prepare()
        page = admin_client.get("/").content.decode()
        found.append((ready()[1]["status"], "All is well" in page))

    assert found == [
        ("ok", True), ("degraded", False), ("ok", True), ("degraded", False), ("ok", True),
        ("degraded", False),
    ]  # fmt: skip


@pytest.mark.django_db
def test_a_broker_folder_that_can_not_be_written_is_degraded(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings.REDIS_URL, settings.BROKER_DIR = "", tmp_path / "file" / "broker"

    status, body = ready()

    assert (status, body["status"]) == (200, "degraded")
    assert body["checks"]["broker"] == "does not answer"


@pytest.mark.django_db
def test_a_process_that_has_seen_all_tables_asks_little(django_assert_max_num_queries: Any) -> None:
    ready()

    # Database, incidents, last run, heartbeats, first run, champion, data: one each.
    with django_assert_max_num_queries(8):
        ready()


@pytest.mark.slow
def test_the_migrations_are_counted_again_until_none_is_missing(sqlite_project: Project) -> None:
    asked = sqlite_project.shell(
        "from django.core.management import call_command as call\n"
        "call('migrate', 'recommender', 'zero', verbosity=0)\n"
        f"{ASK}\n"
        "call('migrate', verbosity=0)\n"
        f"{ASK}"
    ).splitlines()

    before, after = (json.loads(line.split(" ", 1)[1]) for line in asked)
    assert asked[0].startswith("503")
    assert before["checks"]["migrations"].endswith("are missing: python manage.py migrate")
    assert after["checks"]["migrations"] == "ok"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/health/live/", "/health/ready/"])
def test_health_is_told_to_who_asks_by_address_and_pages_are_not(path: str) -> None:
    client = Client(headers={"Host": "10.1.2.3"})

    assert client.get(path).status_code == 200
    assert client.get("/admin/login/").status_code == 400
