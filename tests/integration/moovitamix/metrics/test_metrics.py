"""`/metrics` shows the current rows, only to permitted callers, in few queries."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from ingestion.models import Listener, Rejection, Song
from recommender.api.authentication import issue_key, revoke_key
from tests.support.builders.busy_service import fill_service
from tests.support.builders.roles import find_role
from tests.support.project import Project

pytestmark = pytest.mark.django_db
# The library gives these no types.
parse: Callable[[str], Iterable[Metric]] = text_string_to_metric_families
parse_open: Callable[[str], Iterable[Metric]] = read_openmetrics
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def ask(**headers: str) -> Any:
    user = User.objects.get_or_create(username="prometheus")[0]
    secret = issue_key("prometheus", user, scopes=["metrics"])[1]
    return Client().get("/metrics", headers={"Authorization": f"Bearer {secret}", **headers})


def samples() -> Samples:
    families = parse(ask().content.decode())
    return {(one.name, frozenset(one.labels.items())): one.value for of in families for one in of.samples}


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"moovitamix_{name}", frozenset(labels.items())]


@pytest.mark.slow
def test_the_last_run_is_told_in_numbers() -> None:
    now = timezone.now()
    fill_service(now)

    found = samples()

    assert value(found, "runs", status="succeeded") == 2
    assert value(found, "runs", status="failed") == 0
    assert value(found, "last_run_status", status="partial") == 1
    assert value(found, "last_run_status", status="succeeded") == 0
    assert value(found, "last_run_duration_seconds") == 60
    assert value(found, "last_run_rows", resource="songs", kind="received") == 1000
    assert value(found, "last_run_rows", resource="songs", kind="unchanged") == 988
    assert value(found, "last_run_failed_requests", resource="songs") == 3
    assert value(found, "last_run_latency_seconds", resource="users", quantile="0.95") == 3600
    assert value(found, "last_run_cpu_seconds") == 20
    assert value(found, "last_run_peak_memory_bytes") == 150_000_000
    assert value(found, "run_in_progress_stage_rows_done") == 40
    assert value(found, "rejections_open", resource="songs", **{"class": "invalid"}) == 1
    assert value(found, "rejections_open", resource="songs", **{"class": "unknown_user"}) == 0
    ended = now - timedelta(hours=2) + timedelta(minutes=1)
    assert value(found, "data_read_timestamp_seconds", resource="songs") == pytest.approx(ended.timestamp())


def test_parts_incidents_and_models_are_told_in_numbers() -> None:
    now = timezone.now()
    fill_service(now)

    found = samples()

    seen = (now - timedelta(minutes=1)).timestamp()
    assert value(found, "incidents_open", severity="warning", kind="run_partial") == 1
    assert value(found, "incidents_open_by_severity", severity="critical") == 0
    assert value(found, "messages", channel="slack", state="waiting") == 1
    assert value(found, "part_seen_timestamp_seconds", part="beat") == pytest.approx(seen)
    assert value(found, "broker_up") == 1
    assert value(found, "queue_length") == 0
    assert value(found, "champion_info", version="2026w48.1", method="mix") == 1
    assert value(found, "champion_ndcg") == 0.18
    assert value(found, "trainings", status="succeeded") == 1
    assert value(found, "last_training_cpu_seconds") == 200
    assert value(found, "lists_last_hour", arm="champion") == 1
    assert value(found, "list_seconds_last_hour", arm="champion") == 0.004
    assert value(found, "feedback_last_hour", kind="like") == 1


def test_a_service_in_which_nothing_happened_yet_has_metrics() -> None:
    found = samples()

    assert value(found, "runs", status="succeeded") == 0
    assert value(found, "champion") == 0
    assert value(found, "run_in_progress") == 0
    assert ("moovitamix_last_run_duration_seconds", frozenset()) not in found


def test_prometheus_gets_openmetrics_where_it_asks_for_them() -> None:
    fill_service(timezone.now())

    answer = ask(Accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")

    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    names = {family.name for family in parse_open(answer.content.decode())}
    assert {family.name for family in parse(ask().content.decode())} == names


def test_a_scrape_asks_few_queries_and_grows_with_no_row() -> None:
    now = timezone.now()
    fill_service(now)
    ask()
    few = len(samples())
    Song.objects.bulk_create(
        Song(id=pk, name="n", artist="a", duration=timedelta(minutes=3), created_at=now, updated_at=now)
        for pk in range(1000, 2000)
    )
    Listener.objects.bulk_create(Listener(id=pk, created_at=now, updated_at=now) for pk in range(1000, 2000))
    first = Rejection.objects.get()
    Rejection.objects.bulk_create(
        Rejection(run=first.run, last_run=first.run, resource="songs", payload="{}", fingerprint=str(pk),
                  field=f"items.{pk}", reason=f"reason {pk}")
        for pk in range(300)
    )  # fmt: skip
    secret = issue_key("again", User.objects.get(), scopes=["metrics"])[1]

    with CaptureQueriesContext(connection) as asked:
        Client().get("/metrics", headers={"Authorization": f"Bearer {secret}"})

    assert len(asked) <= 16  # one of them notes that the key was used
    assert len(samples()) == few


def test_strangers_learn_nothing_and_are_told_how_to_ask() -> None:
    User.objects.create_user("somebody", password="pw")
    person = Client()
    person.login(username="somebody", password="pw")
    key, secret = issue_key("old", User.objects.get())
    revoke_key(key, at=datetime(2026, 11, 1, tzinfo=UTC))

    stranger = Client().get("/metrics")
    answers = [
        stranger,
        person.get("/metrics"),
        Client().get("/metrics", headers={"Authorization": f"Bearer {secret}"}),
        # From this machine, as everything behind a proxy is.
        Client(REMOTE_ADDR="127.0.0.1").get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}),
    ]

    assert [answer.status_code for answer in answers] == [401] * 4
    assert "Bearer" in stranger.headers["WWW-Authenticate"]
    assert "apikey prometheus" in stranger.content.decode()
    assert not any(b"moovitamix_" in answer.content for answer in answers)


def test_staff_may_look_and_nobody_may_write() -> None:
    ada = User.objects.create_user("ada", password="pw", is_staff=True)
    ada.groups.add(find_role("viewer"))
    staff = Client()
    staff.login(username="ada", password="pw")

    assert b"moovitamix_runs" in staff.get("/metrics").content
    assert staff.post("/metrics").status_code == 405


def test_without_redis_the_rest_is_told(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"

    found = samples()

    assert value(found, "broker_up") == 0
    assert ("moovitamix_queue_length", frozenset()) not in found


@pytest.mark.slow
def test_where_a_table_can_not_be_read_a_scrape_fails_whole(sqlite_project: Project) -> None:
    said = sqlite_project.shell(
        "from django.test import Client\n"
        "from django.contrib.auth.models import Group, User\n"
        "from django.db import connection\n"
        "from recommender.api.authentication import issue_key\n"
        "secret = issue_key('p', User.objects.create(username='p'), scopes=['metrics'])[1]\n"
        "connection.cursor().execute('DROP TABLE recommender_feedback')\n"
        "headers = {'Host': 'localhost', 'Authorization': f'Bearer {secret}'}\n"
        "answer = Client().get('/metrics', headers=headers)\n"
        "print(answer.status_code, answer.content.decode())"
    )

    assert said == "503 The database does not answer."
