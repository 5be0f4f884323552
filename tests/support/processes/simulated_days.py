"""Simulates days of the demo source with real runs, and a clock that is moved to the next night.

Alerts go to the configured channels after each run.

Usage: python -m tests.support.processes.simulated_days DAYS. Prints one JSON object for each day: the status
of its run, and the open incidents.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
django.setup()

from django.utils import timezone

from ingestion.demo.faults.spec import parse_faults
from ingestion.demo.server import DemoServer
from ingestion.demo.source import LISTEN_HISTORY, TRACKS, Row, Snapshot
from ingestion.demo.world.world import World
from ingestion.models import Incident
from ingestion.monitoring.run_review import follow_up_all
from ingestion.pipeline.ingest import ingest
from ingestion.services import ingestion_options, send_alerts, source_client

FIRST_DAY = date(2026, 3, 1)
REAL_NOW = timezone.now


SourceFault = Callable[[str, Sequence[Row]], Sequence[Row]]


def unchanged_rows(_: str, rows: Sequence[Row]) -> Sequence[Row]:
    return rows


class FaultableSource:
    """Serves the world's rows with the fault of the day."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.fault: SourceFault = unchanged_rows
        self.version = 0

    def snapshot(self) -> Snapshot:
        tables = self.world.snapshot().tables
        return Snapshot(self.version, {name: self.fault(name, rows) for name, rows in tables.items()})

    def new_catalogue(self) -> None:
        self.world.new_catalogue()


def half_the_songs(name: str, rows: Sequence[Row]) -> Sequence[Row]:
    return rows[::2] if name == TRACKS else rows


def two_fifths_less(name: str, rows: Sequence[Row]) -> Sequence[Row]:
    return [row for at, row in enumerate(rows) if at % 5 not in {1, 3}] if name == TRACKS else rows


def no_listening_since(day: date) -> SourceFault:
    def no_new_listening(name: str, rows: Sequence[Row]) -> Sequence[Row]:
        return (
            [row for row in rows if row["created_at"] < day.isoformat()] if name == LISTEN_HISTORY else rows
        )

    return no_new_listening


def tenfold_listening_on(day: date) -> SourceFault:
    def tenfold(name: str, rows: Sequence[Row]) -> Sequence[Row]:
        if name != LISTEN_HISTORY:
            return rows
        todays = [row for row in rows if row["created_at"] >= day.isoformat()]
        return [*rows, *(_shifted_copy(row, copy) for row in todays for copy in range(1, 10))]

    return tenfold


def main(days: int) -> None:
    source = FaultableSource(World.ending_on(FIRST_DAY, seed=3, songs=400, listeners=80, days=10))
    # Thrice as long as usual, and five seconds more, is slow.
    slow = replace(parse_faults("slow:1"), slow_seconds=1.5)
    with (
        DemoServer(source) as healthy,
        DemoServer(source, faults=parse_faults("badrow:0.3")) as broken,
        DemoServer(source, faults=slow) as tired,
    ):
        for _ in range(days):
            simulate_day(source, healthy.url)
        simulate_day(source, broken.url, "30 % bad rows")
        simulate_day(source, healthy.url, "well again")
        simulate_day(source, tired.url, "a slow source")
        simulate_day(source, healthy.url, "well again")
        simulate_day(source, healthy.url, "half the songs missing", half_the_songs)
        simulate_day(source, healthy.url, "well again")
        simulate_day(source, healthy.url, "two fifths of the songs missing", two_fifths_less)
        simulate_day(source, healthy.url, "well again")
        silent = source.world.today + timedelta(days=1)
        simulate_day(source, healthy.url, "no new listening", no_listening_since(silent))
        simulate_day(source, healthy.url, "it came a day late")
        simulate_day(source, healthy.url, "well again")
        simulate_day(
            source,
            healthy.url,
            "tenfold listening",
            tenfold_listening_on(source.world.today + timedelta(days=1)),
        )


def simulate_day(
    source: FaultableSource, url: str, what: str = "a day", fault: SourceFault = unchanged_rows
) -> None:
    """Advance the world by a day, and import it at 02:00 of the next morning."""
    source.fault = fault
    source.world.advance()
    source.version += 1
    night = datetime.combine(source.world.today + timedelta(days=1), datetime.min.time(), UTC)
    ahead = night + timedelta(hours=2) - REAL_NOW()
    timezone.now = lambda: REAL_NOW() + ahead
    run = ingest(source_client(url), ingestion_options(trigger="schedule"))
    follow_up_all(timezone.now())
    send_alerts(timezone.now())
    told: dict[str, Any] = {
        "what": what,
        "status": run.status,
        "error": run.error,
        "open": sorted(Incident.objects.filter(resolved_at=None).values_list("key", flat=True)),
        "resolved": sorted(Incident.objects.filter(resolved_by_run=run).values_list("key", flat=True)),
        "ever": Incident.objects.count(),
        "verdicts": {f"{one.measure} {one.resource}": one.verdict for one in run.anomaly_checks.all()},
    }  # fmt: skip
    sys.stdout.write(json.dumps(told) + "\n")


def _shifted_copy(row: Row, copy: int) -> Row:
    later = datetime.fromisoformat(row["created_at"]) + timedelta(microseconds=copy)
    return {**row, "created_at": later.isoformat(timespec="microseconds")}


main(int(sys.argv[1]))
