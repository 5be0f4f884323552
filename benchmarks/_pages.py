"""Fill the database of the environment, then ask every page for staff, and print what each took as JSON.

Usage: python -m benchmarks._pages SONGS LISTENERS RUNS ROUNDS; 0 songs: it is filled already.
In a process of its own, since it reads models.
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

from benchmarks._past_loop import fill_loop
from benchmarks._past_runs import fill_runs
from benchmarks._world import main as fill_world
from ingestion.models import IngestionRun
from recommender.models import Experiment

SESSIONS_A_LISTENER: Final = 5
PLAYS_A_SESSION: Final = 10
DAYS_A_WEEK: Final = 7
# The list of a table in which nothing is: what Django, Unfold and the sidebar take alone.
EMPTY: Final = "admin:django_celery_beat_clockedschedule_changelist"


@dataclass
class Page:
    """One page and what it took.

    Attributes:
        seconds: each time.
        empty_seconds: those of the empty page, asked just before it each time.
        queries: the database was asked so often.
    """

    name: str
    url: str
    queries: int = 0
    seconds: list[float] = field(default_factory=list)
    empty_seconds: list[float] = field(default_factory=list)
    asked: list[tuple[float, str]] = field(default_factory=list)


def fill(songs: int, listeners: int, runs: int) -> None:
    """The catalogue, the runs and the loop of a service that has been at work for so many days."""
    fill_world(songs, listeners, listeners * SESSIONS_A_LISTENER * PLAYS_A_SESSION)
    fill_runs(runs)
    fill_loop(songs, listeners, max(6, runs // DAYS_A_WEEK))


def pages() -> Iterator[Page]:
    """Every page that people look at: ours, each list of the admin, and a row of each."""
    last = IngestionRun.objects.values_list("pk", flat=True)[0]
    yield Page("operations", "/")
    yield Page("operations, 90 days", "/?days=90")
    yield Page("a run", reverse("run", args=[last]))
    yield Page("models", reverse("models"))
    test = Experiment.objects.filter(status="running", kind="change").values_list("pk", flat=True)[0]
    yield Page("a running test", reverse("admin:recommender_experiment_change", args=[test]))
    yield Page("admin", reverse("admin:index"))
    for model in apps.get_models():
        if admin.site.is_registered(model) and model is not ClockedSchedule:
            yield from _of_admin(model)


def _of_admin(model: Any) -> Iterator[Page]:
    name = f"{model._meta.app_label}_{model._meta.model_name}"
    title = str(model._meta.verbose_name_plural)
    yield Page(title, reverse(f"admin:{name}_changelist"))
    rows = model._default_manager.order_by("-pk")
    newest = rows.values_list("pk", flat=True).first()
    if newest is not None:
        yield Page(f"{title}: one", reverse(f"admin:{name}_change", args=[newest]))


def measured(rounds: int) -> Iterator[Page]:
    """Each page with its queries, counted once, and its times, each beside the empty page's."""
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(User.objects.get_or_create(username="who looks", is_superuser=True, is_staff=True)[0])
    empty = reverse(EMPTY)
    _ask(client, empty)
    for page in pages():
        _ask(client, page.url)
        with CaptureQueriesContext(connection) as asked:
            _ask(client, page.url)
        page.queries = len(asked)
        page.asked = [(float(one["time"]), one["sql"]) for one in asked.captured_queries]
        for _ in range(rounds):
            page.empty_seconds.append(_ask(client, empty))
            page.seconds.append(_ask(client, page.url))
        yield page


def _ask(client: Client, url: str) -> float:
    before = time.perf_counter()
    answer = client.get(url)
    took = time.perf_counter() - before
    if answer.status_code != 200:
        raise RuntimeError(f"{url} answered {answer.status_code}")
    return took


def main(songs: int, listeners: int, runs: int, rounds: int) -> None:
    if songs:
        fill(songs, listeners, runs)
    found = []
    for page in measured(rounds):
        sys.stderr.write(
            f"pages: {page.name}: {1000 * median(page.seconds):.0f} ms, {page.queries} queries\n"
        )
        found.append(asdict(page))
    sys.stdout.buffer.write(orjson.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
