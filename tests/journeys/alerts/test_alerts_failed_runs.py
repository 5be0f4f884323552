"""Alerts by e-mail and Slack about failed runs, and about their end.

The README's table "When something goes wrong" names these tests.
"""

import signal
import sys
from collections.abc import Sequence
from threading import Event

import pytest

from ingestion.demo.server import DemoServer
from ingestion.demo.source import TRACKS, Row, Snapshot
from ingestion.demo.world.world import World
from tests.journeys.conftest import Serve
from tests.support.project import ROOT, Project
from tests.support.servers.alert_receivers import AlertRecipients

FAILED = "The ingestion run failed"
REFUSED = "The ingestion run was refused: the source looks like a different catalogue"
ENDLESS = "The ingestion run is stuck or too slow"
NOBODY = "http://127.0.0.1:1"
INCIDENTS = (
    "from ingestion.models import Incident;"
    "print(*Incident.objects.order_by('pk').values_list('kind', 'severity', 'resolved_by_run'))"
)
FOUR_HOURS_PASS = """
from datetime import timedelta
from django.db.models import F
from ingestion.models import IngestionRun
IngestionRun.objects.update(started_at=F("started_at") - timedelta(hours=4))
"""
# A round of the watchdog a minute from now on, as its command, Beat and web processes make them.
LOOK = """
from datetime import timedelta
from django.utils import timezone
from ingestion.services import run_watchdog
run_watchdog(timezone.now() + timedelta(minutes={later}))
"""


class Changed:
    """A source that serves only a share of the songs of a world, and can be held up."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.share = 1.0
        self.free = Event()
        self.free.set()
        self.asked = Event()

    def snapshot(self) -> Snapshot:
        self.asked.set()
        self.free.wait(60)
        tables = dict(self.world.snapshot().tables)
        return Snapshot(self.share, {**tables, TRACKS: self._songs(tables[TRACKS])})

    def new_catalogue(self) -> None:
        self.world.new_catalogue()

    def _songs(self, songs: Sequence[Row]) -> Sequence[Row]:
        return songs[: int(len(songs) * self.share)]


@pytest.fixture
def telling(sqlite_project: Project, people: AlertRecipients) -> Project:
    """An installation with both channels; failures of channels are tested on PostgreSQL."""
    sqlite_project.environment.update(people.settings())
    return sqlite_project


def ingest(project: Project, url: str, *arguments: str) -> int:
    done = project.manage("runingest", *arguments, check=False, BASE_URL=url, SOURCE_ATTEMPTS="1")
    return done.returncode


def test_a_source_that_is_down(telling: Project, people: AlertRecipients, world: World) -> None:
    down = [ingest(telling, NOBODY), ingest(telling, NOBODY)]
    told, why = people.new_subjects(), people.last_mail_text()
    with DemoServer(world) as server:
        back = ingest(telling, server.url)

    assert (down, back) == ([1, 1], 0)
    assert told == [f"Critical: {FAILED}"]
    assert "If the source could not be reached, check that it is up and that BASE_URL is correct." in why
    assert people.new_subjects() == [f"Resolved: {FAILED}"]
    assert "Run 3 resolved it." in people.last_mail_text()
    assert "It lasted " in people.last_mail_text()
    assert telling.shell(INCIDENTS) == "('run_failed', 'critical', 3)"


def test_a_source_so_slow_that_the_run_does_not_end(
    telling: Project, people: AlertRecipients, world: World
) -> None:
    source = Changed(world)
    source.free.clear()
    with DemoServer(source) as server:
        run = telling.start(
            sys.executable,
            str(ROOT / "manage.py"),
            "runingest",
            BASE_URL=server.url,
            SOURCE_READ_TIMEOUT="60",
        )
        assert source.asked.wait(60)
        telling.shell(FOUR_HOURS_PASS)
        telling.shell(LOOK.format(later=0))
        told, why = people.new_subjects(), people.last_mail_text()
        source.free.set()
        said, _ = run.communicate(timeout=600)
    telling.shell(LOOK.format(later=2))

    assert run.returncode == 0, said
    assert told == [f"Critical: {ENDLESS}"]
    assert "If the row counts still grow, the source is slow: wait." in why
    assert people.new_subjects() == [f"Resolved: {ENDLESS}"]
    assert "Run 1 resolved it." in people.last_mail_text()
    assert telling.shell(INCIDENTS) == "('run_not_finished', 'critical', 1)"


def test_thirty_percent_bad_rows(telling: Project, people: AlertRecipients, serve: Serve) -> None:
    partial = ingest(telling, serve("badrow:0.3").url)
    told, why = people.new_subjects(), people.last_mail_text()
    well = ingest(telling, serve("").url)

    assert (partial, well) == (2, 0)
    assert told == ["Warning: The ingestion run was partial: some data was not imported"]
    assert "Review the rejections on the run's page." in why
    assert people.new_subjects() == ["Resolved: The ingestion run was partial: some data was not imported"]
    assert "Run 2 resolved it." in people.last_mail_text()
    assert telling.shell(INCIDENTS) == "('run_partial', 'warning', 2)"


@pytest.mark.parametrize(
    ("share", "ends_with", "told", "incident"),
    [
        (0.49, 4, f"Critical: {REFUSED}", "('run_refused', 'critical', 3)"),
        (
            0.51,
            0,
            "Warning: Unusual run: missing rows, songs: 226, expected 0 to 115",
            "('unusual', 'warning', 3)",
        ),
    ],
    ids=["a little more than half", "a little less than half"],
)
def test_half_the_songs_missing(
    telling: Project,
    people: AlertRecipients,
    world: World,
    share: float,
    ends_with: int,
    told: str,
    incident: str,
) -> None:
    source = Changed(world)
    with DemoServer(source) as server:
        first = ingest(telling, server.url)
        source.share = share
        halved = ingest(telling, server.url)
        heard = people.new_subjects()
        source.share = 1.0
        back = ingest(telling, server.url)

    assert (first, halved, back) == (0, ends_with, 0)
    assert heard == [told]
    assert people.new_subjects() == [told.replace("Critical", "Resolved").replace("Warning", "Resolved")]
    assert "Run 3 resolved it." in people.last_mail_text()
    assert telling.shell(INCIDENTS) == incident


def test_a_source_that_was_reset(telling: Project, people: AlertRecipients, serve: Serve) -> None:
    ingest(telling, serve("").url)
    with DemoServer(World(seed=8, songs=450, listeners=60, days=12)) as another:
        refused = ingest(telling, another.url)
        told, why = people.new_subjects(), people.last_mail_text()
        accepted = ingest(telling, another.url, "--accept-reset")

    assert (refused, accepted) == (4, 0)
    assert told == [f"Critical: {REFUSED}"]
    assert "python manage.py runingest --accept-reset" in why
    assert people.new_subjects() == [f"Resolved: {REFUSED}"]
    assert "Run 3 resolved it." in people.last_mail_text()
    assert telling.shell(INCIDENTS) == "('run_refused', 'critical', 3)"


def test_a_run_that_is_killed(telling: Project, people: AlertRecipients, world: World) -> None:
    with DemoServer(world) as server:
        killed = telling.start(
            sys.executable, "-m", "tests.support.processes.killed_run", "4", BASE_URL=server.url
        )
        assert killed.wait(600) == -signal.SIGKILL
        before = people.new_subjects()
        telling.manage("watchdog", check=False)
        told, why = people.new_subjects(), people.last_mail_text()
        again = ingest(telling, server.url)

    assert (before, again) == ([], 0)
    assert told == ["Critical: The ingestion run stopped before it finished"]
    assert "The rows it wrote are intact; the next run continues from there." in why
    assert people.new_subjects() == ["Resolved: The ingestion run stopped before it finished"]
    assert "Run 2 resolved it." in people.last_mail_text()
    assert telling.shell(INCIDENTS) == "('run_abandoned', 'critical', 2)"
