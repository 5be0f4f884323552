"""Fill the database, request every staff page and print what each took as JSON.

Usage: python -m benchmarks.service.page_timing SONGS LISTENERS RUNS ROUNDS (0 songs: do not fill).
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final

import django
import orjson

django.setup()

from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_beat.models import ClockedSchedule

from benchmarks.populate.catalogue import fill_world
from benchmarks.populate.model_history import fill_model_history
from benchmarks.populate.run_history import fill_run_history
from ingestion.models import IngestionRun
from recommender.models import Experiment

SESSIONS_PER_LISTENER: Final = 5
PLAYS_PER_SESSION: Final = 10
DAYS_PER_WEEK: Final = 7
# The list of an empty table: the time of Django, Unfold and the sidebar alone.
EMPTY_LIST: Final = "admin:django_celery_beat_clockedschedule_changelist"


@dataclass
class PageTiming:
    """One page and what it took."""

    name: str
    url: str
    queries: int = 0
    seconds: list[float] = field(default_factory=list)
    empty_seconds: list[float] = field(default_factory=list)  # of the empty page, just before each
    asked: list[tuple[float, str]] = field(default_factory=list)  # seconds and SQL of each query


def fill_service(songs: int, listeners: int, runs: int) -> None:
    """Fill all tables as after so many days of operation."""
    fill_world(songs, listeners, listeners * SESSIONS_PER_LISTENER * PLAYS_PER_SESSION)
    fill_run_history(runs)
    fill_model_history(songs, listeners, max(6, runs // DAYS_PER_WEEK))


def list_pages() -> Iterator[PageTiming]:
    """Our pages, each list of the admin and one row of each list."""
    last = IngestionRun.objects.values_list("pk", flat=True)[0]
    yield PageTiming("operations", "/")
    yield PageTiming("operations, 90 days", "/?days=90")
    yield PageTiming("a run", reverse("run", args=[last]))
    yield PageTiming("models", reverse("models"))
    experiment = Experiment.objects.filter(status="running", kind="change").values_list("pk", flat=True)[0]
    yield PageTiming(
        "a running experiment", reverse("admin:recommender_experiment_change", args=[experiment])
    )
    yield PageTiming("admin", reverse("admin:index"))
    # No row has this text, so every table is read to its end.
    yield PageTiming("a search", f"{reverse('search')}?s=nothing+like+this")
    for model in apps.get_models():
        if admin.site.is_registered(model) and model is not ClockedSchedule:
            yield from _admin_pages(model)


def _admin_pages(model: Any) -> Iterator[PageTiming]:
    name = f"{model._meta.app_label}_{model._meta.model_name}"
    title = str(model._meta.verbose_name_plural)
    yield PageTiming(title, reverse(f"admin:{name}_changelist"))
    rows = model._default_manager.order_by("-pk")
    newest = rows.values_list("pk", flat=True).first()
    if newest is not None:
        yield PageTiming(f"{title}: one", reverse(f"admin:{name}_change", args=[newest]))


def measure_pages(rounds: int) -> Iterator[PageTiming]:
    """Queries of each page, counted once, and its times, each paired with the empty page's."""
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(User.objects.get_or_create(username="staff", is_superuser=True, is_staff=True)[0])
    empty = reverse(EMPTY_LIST)
    _time_request(client, empty)
    for page in list_pages():
        page.asked = min((_ask_queries(client, page.url) for _ in range(2)), key=len)
        page.queries = len(page.asked)
        for _ in range(rounds):
            page.empty_seconds.append(_time_request(client, empty))
            page.seconds.append(_time_request(client, page.url))
        yield page


def _ask_queries(client: Client, url: str) -> list[tuple[float, str]]:
    """Seconds and SQL of each query of the page. Of two counts the lower one holds: caches fill, expire."""
    with CaptureQueriesContext(connection) as asked:
        _time_request(client, url)
    return [(float(one["time"]), one["sql"]) for one in asked.captured_queries]


def _time_request(client: Client, url: str) -> float:
    before = time.perf_counter()
    answer = client.get(url)
    took = time.perf_counter() - before
    if answer.status_code != 200:
        raise RuntimeError(f"{url} returned status {answer.status_code}")
    return took


def main(songs: int, listeners: int, runs: int, rounds: int) -> None:
    if songs:
        fill_service(songs, listeners, runs)
    found = []
    for page in measure_pages(rounds):
        sys.stderr.write(
            f"pages: {page.name}: {1000 * median(page.seconds):.0f} ms, {page.queries} queries\n"
        )
        found.append(asdict(page))
    sys.stdout.buffer.write(orjson.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
