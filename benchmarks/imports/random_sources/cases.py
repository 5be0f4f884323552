"""Random cases: one to three days of a source, imported by the real pipeline over HTTP.

Needs a configured Django and a migrated database, whose tables it empties.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.db import connection
from django.utils import timezone

from benchmarks.imports.random_sources.answers import DaySource, Paging, draw_events, draw_paging
from benchmarks.imports.random_sources.content import LISTS, SESSIONS, SONGS, USERS, World
from benchmarks.imports.random_sources.forms import draw_form
from benchmarks.imports.random_sources.reference import (
    DayRecord,
    ListFacts,
    RunFacts,
    StoredRow,
    StoredRows,
    find_problems,
    freeze,
)
from ingestion.models import (
    AnomalyCheck,
    Incident,
    IngestionRun,
    Listener,
    ListeningHistory,
    Rejection,
    ResourceReport,
    RunLogLine,
    Song,
)
from ingestion.monitoring.run_review import follow_up_all
from ingestion.pipeline.ingest import IngestionOptions, ingest
from ingestion.source.client import SourceClient
from tests.support.servers.scripted_server import Reply, Request, ScriptedServer

# Every second case is of each kind; with a wildness of 0 every run must succeed.
WILDNESS: Final = (0.0, 0.3, 0.3, 0.6, 0.6, 1.0)
HABIT_SHARE: Final = 0.08
# Three days teach that a list is short.
DAYS_OF_HABIT: Final = 5
FALSE_ALARM: Final = "false alarm"
MODELS: Final = {SONGS: Song, USERS: Listener, SESSIONS: ListeningHistory}
COLUMNS: Final = {
    SONGS: ("id", "name", "artist", "songwriters", "duration", "genres", "album", "created_at",
            "updated_at", "audio_features", "release_year"),
    USERS: ("id", "first_name", "last_name", "email", "gender", "favorite_genres", "created_at",
            "updated_at"),
    SESSIONS: ("user_id", "created_at", "updated_at", "items"),
}  # fmt: skip
EMPTIED: Final = (
    RunLogLine, AnomalyCheck, Rejection, ResourceReport, ListeningHistory, Song, Listener, Incident,
    IngestionRun,
)  # fmt: skip


@dataclass
class DayResult:
    status: str
    error_kind: str
    labels: list[str]
    problems: list[str]


@dataclass
class CaseResult:
    seed: int
    days: list[DayResult] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        return [f"day {number}: {one}" for number, day in enumerate(self.days, 1) for one in day.problems]

    @property
    def has_only_false_alarms(self) -> bool:
        return all(one.startswith(FALSE_ALARM) for day in self.days for one in day.problems)

    def describe(self) -> str:
        lines = [f"case {self.seed}"]
        for number, day in enumerate(self.days, 1):
            lines.append(f"  day {number}: {day.status} {day.error_kind} [{'; '.join(day.labels)}]")
            lines += [f"    WRONG: {problem}" for problem in day.problems]
        return "\n".join(lines)


class CaseRunner:
    """Args:
    review_every: the incidents of one case in so many are checked, too.
    """

    def __init__(self, staging: Path, review_every: int = 1) -> None:
        self._staging = staging
        self._review_every = review_every
        self._is_reviewed = True
        self._source: Callable[[Request], Reply] | None = None
        self._server = ScriptedServer(self._answer)

    @contextmanager
    def serving(self) -> Iterator[None]:
        with self._server:
            yield

    def run_case(self, seed: int) -> CaseResult:
        """Empty the database, and import each day of one source."""
        empty_database()
        self._is_reviewed = seed % self._review_every == 0
        result, history = CaseResult(seed), {name: set[Any]() for name in LISTS}
        must_succeed = True
        for source, labels in draw_days(seed):
            must_succeed = must_succeed and _is_harmless(source)
            result.days.append(self._run_day(source, history, labels, must_succeed=must_succeed))
        return result

    def _run_day(
        self, source: DaySource, history: dict[str, set[Any]], labels: list[str], *, must_succeed: bool
    ) -> DayResult:
        before = {name: read_stored(name) for name in LISTS}
        self._source = source
        client = SourceClient(
            self._server.url, connections=2, attempts=4, read_timeout=5.0, sleep=lambda _: None
        )
        raised = ""
        try:
            run = ingest(client, IngestionOptions(staging=self._staging))
        except Exception as error:
            raised = f"raised {type(error).__name__}: {error}"
            run = IngestionRun.objects.latest("pk")
        if self._is_reviewed:
            follow_up_all(timezone.now())
        for version in source.versions:
            for name in LISTS:
                expected = (source.forms[name].expect(row) for row in version.rows[name])
                history[name].update(freeze(name, row)[1] for row in expected if row is not None)
        facts = read_facts(run, is_reviewed=self._is_reviewed)
        record = DayRecord(
            source.versions, source.forms, before, {name: read_stored(name) for name in LISTS}, facts, history
        )
        problems = [raised] if raised else find_problems(record)
        if must_succeed and run.status != "succeeded":
            problems.append(f"{FALSE_ALARM}: {run.status}, {run.error}")
        return DayResult(run.status, run.error_kind, labels, problems)

    def _answer(self, request: Request) -> Reply:
        return self._source(request) if self._source else Reply(status=503)


def draw_days(seed: int) -> Iterator[tuple[DaySource, list[str]]]:
    """The days of one source, one after the other, each with what is unusual about it."""
    rng = random.Random(seed)
    wildness = rng.choice(WILDNESS)
    world = World(rng, songs=rng.randint(0, 60), users=rng.randint(1, 25), sessions=rng.randint(0, 70))
    # A source with a habit pages its lists in the same wrong way every day, so that it can be learnt.
    habit = random.Random(f"habit {seed}")
    habits = None
    if habit.random() < HABIT_SHARE:
        habits = {name: draw_paging(habit, len(world.content.rows[name]), 0.6) for name in LISTS}
        wildness *= habit.choice((0, 1))
    for number in range(DAYS_OF_HABIT if habits else rng.choice((1, 2, 2, 3, 3))):
        labels = []
        if number:
            world.next_day(rng.choice((0.0, 0.03, 0.1)))
        if number and rng.random() < wildness / 8:
            labels.append(_upheaval(rng, world))
        source = _draw_day(rng, world, wildness, habits)
        source.is_upheaval = bool(labels)
        if habit.random() < HABIT_SHARE:
            # It ignores the requested size and reports it all the same.
            source.pagings[habit.choice(LISTS)].echoed_size = 100
        labels += [
            f"{name}: {one}"
            for name in LISTS
            for one in (*source.forms[name].labels, *source.pagings[name].labels)
        ]
        labels += [f"{event.list}: change after {event.after} requests" for event in source.events]
        yield source, labels


def _draw_day(
    rng: random.Random, world: World, wildness: float, habits: dict[str, Paging] | None
) -> DaySource:
    rows = world.content.rows
    forms = {name: draw_form(rng, name, rows[name], world.habits.resolution, wildness) for name in LISTS}
    pagings = habits or {name: draw_paging(rng, len(rows[name]), wildness) for name in LISTS}
    return DaySource(world, forms, pagings, draw_events(rng, world, pagings, wildness))


def empty_database() -> None:
    with connection.cursor() as cursor:
        for model in EMPTIED:
            cursor.execute(f"DELETE FROM {model._meta.db_table}")  # noqa: S608


def _upheaval(rng: random.Random, world: World) -> str:
    kind = rng.choice(("catalogue", "history", "half of a list"))
    if kind == "catalogue":
        world.replace_catalogue()
    elif kind == "history":
        world.content.rows[SESSIONS].clear()
    else:
        rows = world.content.rows[rng.choice(LISTS)]
        del rows[len(rows) // 3 :]
    return f"{kind} gone"


def _is_harmless(source: DaySource) -> bool:
    """Whether the run must succeed in spite of all that the source does."""
    sessions = [freeze(SESSIONS, row)[0] for row in source.world.content.rows[SESSIONS]]
    return (
        not source.is_upheaval
        and all(form.is_harmless for form in source.forms.values())
        and all(paging.is_harmless for paging in source.pagings.values())
        # Copies that a source really holds look like pages that were sent twice.
        and len(sessions) == len(set(sessions))
        # Sessions of a listener who comes or leaves meanwhile are refused.
        and len(source.events) <= 1
        and not any(event.list == USERS for event in source.events)
    )


def read_stored(name: str) -> StoredRows:
    model: Any = MODELS[name]
    states = ["unavailable_at", "missing_since_id", *(["expired_at"] if name == SESSIONS else [])]
    stored: StoredRows = {}
    for row in model.objects.order_by("pk").values(*COLUMNS[name], *states):
        marks = {state: row.pop(state) for state in states}
        key, content = freeze(name, {column: _plain(value) for column, value in row.items()})
        state = next((STATES[mark] for mark in states[::-1] if marks[mark] is not None), "current")
        if marks["unavailable_at"] is not None:
            state = "unavailable"
        if key in stored and stored[key].state == "current":
            # Copies under two numbers: the one in use counts.
            continue
        stored[key] = StoredRow(content, state)
    return stored


STATES: Final = {"unavailable_at": "unavailable", "missing_since_id": "missing", "expired_at": "expired"}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    return value // timedelta(microseconds=1) if isinstance(value, timedelta) else value


def read_facts(run: IngestionRun, *, is_reviewed: bool) -> RunFacts:
    lists = {}
    for report in run.reports.all():
        lists[report.resource] = ListFacts(
            report.received, report.total, report.rejected, report.missing, report.expired, report.duplicates,
            sum(report.corrections.values()), sum(report.unknown_fields.values()),
            Rejection.objects.filter(resource=report.resource, last_run=run).count(),
        )  # fmt: skip
    incidents = Incident.objects.filter(resolved_at=None).values_list("kind", flat=True)
    return RunFacts(
        run.status, run.error, run.error_kind, run.summary, lists,
        frozenset(incidents) if is_reviewed else None,
    )  # fmt: skip
