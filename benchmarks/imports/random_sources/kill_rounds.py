"""Kills runs with SIGKILL while the source changes, and checks what the next run makes of it."""

import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from benchmarks.imports.random_sources.answers import DaySource, Paging, draw_events
from benchmarks.imports.random_sources.content import LISTS, SESSIONS, SONGS, Content, World
from benchmarks.imports.random_sources.forms import ListForm
from benchmarks.imports.random_sources.reference import (
    DayRecord,
    ListFacts,
    RunFacts,
    StoredRow,
    StoredRows,
    find_problems,
    freeze,
)
from tests.support.project import ROOT, Project
from tests.support.servers.scripted_server import ScriptedServer

PAGE_ROWS: Final = 20
# Heartbeats and pages of a whole run; a run that is killed later has survived.
STEPS: Final = 60
# A kill that is timed by the clock comes after at most this multiple of a whole run.
LONGEST_DELAY: Final = 1.05

# Runs the slot, or a run by hand, and prints what it reported and all that is stored.
RUN: Final = """
import json, sys
from ingestion.models import Incident, IngestionRun, Listener, ListeningHistory, Rejection, Song
from ingestion.pipeline.run_lifecycle import SlotTaken
from ingestion.services import ingest_now
slot = {slot!r}
try:
    run = ingest_now(slot=slot, trigger="schedule" if slot else "command")
except SlotTaken as taken:
    run = taken.run
MODELS = {{"songs": (Song, "id name artist songwriters duration genres album created_at updated_at "
                     "audio_features release_year"),
          "users": (Listener, "id first_name last_name email gender favorite_genres created_at updated_at"),
          "listening_history": (ListeningHistory, "user_id created_at updated_at items")}}
STATES = ("missing_since_id", "unavailable_at", "expired_at")
def plain(value):
    if hasattr(value, "total_seconds"):
        return round(value.total_seconds() * 1e6)
    return value.replace(tzinfo=None).isoformat() if hasattr(value, "tzinfo") else value
rows = {{}}
for name, (model, columns) in MODELS.items():
    states = STATES if name == "listening_history" else STATES[:2]
    rows[name] = [[plain(value) for value in row] for row in
                  model.objects.order_by("pk").values_list(*columns.split(), *states)]
reports = {{one.resource: dict(received=one.received, total=one.total, rejected=one.rejected,
                             missing=one.missing, expired=one.expired, duplicates=one.duplicates,
                             corrections=sum(one.corrections.values()), resumed=one.resumed,
                             open_rejections=Rejection.objects.filter(
                                 resource=one.resource, last_run=run).count()) for one in run.reports.all()}}
print(json.dumps(dict(status=run.status, error=run.error, error_kind=run.error_kind, summary=run.summary,
                      reports=reports, rows=rows,
                      columns={{name: one[1].split() for name, one in MODELS.items()}},
                      incidents=[one.kind for one in Incident.objects.filter(resolved_at=None)])))
"""


@dataclass
class KillSummary:
    rounds: int = 0
    kills: int = 0
    survived: int = 0
    resumed: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class KillRounds:
    """Rounds on one database. In each, a run is killed, and the next one must set everything right.

    Args:
        by_clock: also kill at any time, not only at heartbeats and pages.
    """

    def __init__(self, project: Project, rng: random.Random, *, by_clock: bool = True) -> None:
        self._project, self._rng, self._by_clock = project, rng, by_clock
        self._world = World(rng, songs=300, users=120, sessions=400)
        self._world.habits.window = 0
        self._world.habits.resolution = "micro"
        self._stored: dict[str, StoredRows] = {name: {} for name in LISTS}
        self._sent: dict[str, set[Any]] = {name: set() for name in LISTS}
        self._seconds = 1.5
        self._source: DaySource | None = None
        self.summary = KillSummary()

    def run(self, rounds: int, progress: Callable[[str], None] = lambda text: None) -> KillSummary:
        with ScriptedServer(self._current) as server:
            for number in range(1, rounds + 1):
                self._run_round(number, server.url)
                summary = self.summary
                progress(f"round {number}: {summary.kills} kills, {len(summary.problems)} problems")
        return self.summary

    def _current(self, request: Any) -> Any:
        assert self._source is not None  # noqa: S101
        return self._source(request)

    def _run_round(self, number: int, url: str) -> None:
        slot = f"2030-01-01 {number // 60:02}:{number % 60:02} UTC" if self._rng.random() < 0.5 else ""
        self._world.next_day(0.04)
        self._begin_day(LISTS)
        for _ in range(self._rng.choice((1, 1, 2))):
            self._kill(url, slot)
            if self._rng.random() < 0.5:
                self._change_content()
        earlier = self._versions()
        # Sessions of listeners who come or leave meanwhile would be refused.
        self._begin_day((SONGS, SESSIONS))
        began = time.monotonic()
        done = self._project.manage("shell", "--no-imports", "-c", RUN.format(slot=slot), BASE_URL=url)
        self._seconds = time.monotonic() - began
        self._check(number, json.loads(done.stdout.splitlines()[-1]), earlier)

    def _begin_day(self, changing: tuple[str, ...]) -> None:
        pagings = {name: Paging(size=PAGE_ROWS) for name in LISTS}
        forms = {name: ListForm(name) for name in LISTS}
        events = draw_events(self._rng, self._world, pagings, 1.0)
        events = [event for event in events if event.list in changing]
        self._source = DaySource(self._world, forms, pagings, events)

    def _versions(self) -> list[Content]:
        assert self._source is not None  # noqa: S101
        return list(self._source.versions)

    def _change_content(self) -> None:
        """Change some rows of the source, between two runs of a round."""
        assert self._source is not None  # noqa: S101
        self._world.next_day(0.02)
        self._source.versions.append(self._world.content.copy())

    def _kill(self, url: str, slot: str) -> None:
        if self._by_clock and self._rng.random() < 0.7:
            code = RUN.format(slot=slot)
            process = self._project.start(
                sys.executable, str(ROOT / "manage.py"), "shell", "--no-imports", "-c", code, BASE_URL=url
            )
            time.sleep(self._rng.uniform(0.1, LONGEST_DELAY) * self._seconds)
            process.kill()
        else:
            step = str(self._rng.randint(1, STEPS))
            process = self._project.start(
                sys.executable, "-m", "tests.support.processes.killed_run", step, slot, BASE_URL=url
            )
        process.communicate(timeout=600)
        killed = process.returncode == -signal.SIGKILL
        self.summary.kills += killed
        self.summary.survived += not killed

    def _check(self, number: int, told: dict[str, Any], earlier: list[Content]) -> None:
        after = {name: _read_rows(name, told) for name in LISTS}
        lists = {
            name: ListFacts(**{key: value for key, value in one.items() if key != "resumed"})
            for name, one in told["reports"].items()
        }
        resumed = any(one["resumed"] for one in told["reports"].values())
        versions = self._versions()
        for version in (*earlier, *versions):
            for name in LISTS:
                self._sent[name].update(freeze(name, row)[1] for row in version.rows[name])
        run = RunFacts(
            told["status"], told["error"], told["error_kind"], told["summary"], lists,
            frozenset(told["incidents"]),
        )  # fmt: skip
        assert self._source is not None  # noqa: S101
        # A slot that crashed may use the pages that it had read, and the slot may have ended before the kill.
        allowed = [*earlier, *versions] if resumed or not self._source.was_read else versions
        record = DayRecord(
            allowed, self._source.forms, self._stored, after, run, self._sent, is_only_run=False
        )
        problems = find_problems(record)
        doubled = [name for name in LISTS if len(after[name]) != len(told["rows"][name])]
        problems += [f"rows of {name} are stored twice" for name in doubled]
        summary = self.summary
        summary.problems += [f"round {number} ({run.status}): {problem}" for problem in problems]
        summary.rounds += 1
        summary.resumed += resumed
        summary.statuses[run.status] += 1
        self._stored = after


def _read_rows(name: str, told: dict[str, Any]) -> StoredRows:
    stored: StoredRows = {}
    columns = told["columns"][name]
    for values in told["rows"][name]:
        row = dict(zip(columns, values, strict=False))
        for column in ("created_at", "updated_at"):
            row[column] = datetime.fromisoformat(row[column])
        missing, unavailable, *expired = values[len(columns) :]
        state = (
            "unavailable"
            if unavailable
            else "expired"
            if any(expired)
            else "missing"
            if missing
            else "current"
        )
        key, content = freeze(name, row)
        stored[key] = StoredRow(content, state)
    return stored
