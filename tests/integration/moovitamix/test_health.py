"""Each check of `/health/ready/` has a name; what only makes answers worse is degraded, not dead."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

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
        "database": "ok", "migrations": "ok", "cache": "ok", "broker": "ok",
        "artifact": "another model, or none, serves instead", "data_age": "ok",
    }  # fmt: skip


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
def test_without_redis_the_service_is_unavailable_and_says_so_at_once(settings: Any) -> None:
    # Every request with a key is counted there.
    settings.REDIS_URL = "redis://:secret@127.0.0.1:9/0"

    status, body = ready()

    assert (status, body["status"]) == (503, "unavailable")
    assert body["checks"] == {
        "database": "ok", "migrations": "ok", "cache": "does not answer", "broker": "does not answer",
    }  # fmt: skip
    assert "secret" not in json.dumps(body)


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

    with django_assert_max_num_queries(6):
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
