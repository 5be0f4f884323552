"""The state of the whole service, for both the operations page and the readiness endpoint.

Readiness is degraded exactly if the page's headline shows a problem.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

import redis
from django.conf import settings
from django.core.cache import cache
from django.db import Error, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils.translation import get_language, gettext_noop, ngettext
from django.utils.translation import gettext as _

from ingestion.alerts.incidents import open_incidents
from ingestion.alerts.messages.render import render_subject
from ingestion.jobs.heartbeats import latest_heartbeats
from ingestion.models import Heartbeat, Incident, IngestionRun
from ingestion.monitoring.checks.freshness import last_import_times
from ingestion.monitoring.checks.infrastructure import report_missing_watchdog
from ingestion.monitoring.parts import MISSING, SILENT, PartState, part_states
from moovitamix.dashboard.formatting import capitalize_first, format_age
from recommender.services import current_model

logger = logging.getLogger(__name__)

OK: Final = "ok"
NO_ANSWER: Final = "does not answer"
CRITICAL: Final = "critical"
WARNING: Final = "warning"
# Load balancers wait a few seconds at most; a broker in the same network answers within milliseconds.
BROKER_TIMEOUT: Final = 2.0
# Probes come every few seconds from several machines; a full disk need not be noticed earlier.
WRITE_CHECK_INTERVAL: Final = 10.0
RUN_PHRASES: Final = {
    "running": gettext_noop("is in progress"),
    "succeeded": "succeeded",
    "partial": gettext_noop("imported only part of the data"),
    "failed": gettext_noop("failed; the catalogue is unchanged"),
    "refused": gettext_noop("was refused: the source looks like a different catalogue"),
    "abandoned": gettext_noop("stopped before it finished; the next run continues from there"),
    "stopped": gettext_noop("was stopped by a person or a shutdown"),
}
GOOD_RUNS: Final = {"succeeded"}
INCOMPLETE_RUNS: Final = {"partial", "stopped"}


@dataclass(frozen=True)
class Problem:
    """A problem of the service; `severity` is critical or warning, `title` is for staff."""

    severity: str
    title: str


@dataclass
class ServiceState:
    """The result of each check by name, and the problems, worst first.

    Attributes:
        checks: for the public, so without details; `ok` or what is wrong.
        unavailable: whether requests can't be answered at all.
        has_data: whether a run has ever finished.
        incidents: the open ones, critical first, and the notices, which are no problems, last.
    """

    checks: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unavailable: bool = False
    has_data: bool = True
    incidents: list[Incident] = field(default_factory=list)
    parts: dict[str, PartState] = field(default_factory=dict)
    heartbeats: dict[str, Heartbeat] = field(default_factory=dict)

    @property
    def status(self) -> str:
        if self.unavailable:
            return "unavailable"
        return "degraded" if self.problems else OK

    def add(self, name: str, result: str, title: str = "", severity: str = WARNING) -> None:
        self.checks[name] = result
        if result != OK:
            self.problems.append(Problem(severity, title or f"{capitalize_first(name)} {result}"))


def assess_service(now: datetime) -> ServiceState:
    """Check everything, the database first; the rest only if it answers."""
    state = ServiceState()
    state.add("database", _check_database(), _("The database does not answer"), CRITICAL)
    if state.problems:
        state.add("broker", _run_check(_check_broker), _("The task queue does not answer"))
        state.unavailable = True
        return state
    migrations = _run_check(_check_migrations)
    if migrations != OK:
        title = _("The database lacks migrations: python manage.py migrate")
        state.add("migrations", migrations, title, CRITICAL)
        state.unavailable = True
        return state
    state.checks["migrations"] = OK
    _add_incidents(state)
    _add_last_run(state)
    _add_parts(state, now)
    state.add("write", _check_write(), _("Nothing can be stored: lists are served but not saved"), CRITICAL)
    state.add("broker", _run_check(_check_broker), _("The task queue does not answer: no task starts"))
    # With Redis both are the same server, so one timeout is enough.
    is_redis_gone = settings.REDIS_URL and state.checks["broker"] != OK
    state.add(
        "cache",
        NO_ANSWER if is_redis_gone else _run_check(_check_cache),
        _("The cache does not answer: each process counts requests for itself"),
    )
    state.add("data_age", _data_age(now), _("The data is stale: no recent run has updated it"))
    state.add("artifact", _run_check(_check_artifact), _("The champion does not serve"))
    # The sort is stable, so of equal problems the first one found comes first.
    state.problems.sort(key=lambda problem: problem.severity != CRITICAL)
    return state


def _add_incidents(state: ServiceState) -> None:
    state.incidents = list(open_incidents())
    rows = [row for row in state.incidents if row.severity != Incident.Severity.NOTICE]
    counts = [
        f"{sum(row.severity == severity for row in rows)} {severity}"
        for severity in Incident.Severity.values
        if any(row.severity == severity for row in rows)
    ]
    state.checks["incidents"] = f"{', '.join(counts)} open" if counts else OK
    if rows:
        title = render_subject(rows[0], get_language() or "en")
        if len(rows) > 1:
            title = ngettext(
                "{title}, and {n} more incident", "{title}, and {n} more incidents", len(rows) - 1
            ).format(title=title, n=len(rows) - 1)
        state.problems.append(Problem(rows[0].severity, title))


def _add_last_run(state: ServiceState) -> None:
    finished = IngestionRun.objects.filter(dry_run=False).exclude(status=IngestionRun.Status.RUNNING)
    run = finished.only("pk", "status").order_by("-pk").first()
    state.has_data = run is not None
    if run is None or run.status in GOOD_RUNS:
        state.checks["last_run"] = OK
        return
    severity = WARNING if run.status in INCOMPLETE_RUNS else CRITICAL
    state.add(
        "last_run",
        run.status,
        _("Run {run} {result}").format(run=run.pk, result=_(RUN_PHRASES[run.status])),
        severity,
    )


def _add_parts(state: ServiceState, now: datetime) -> None:
    state.heartbeats = latest_heartbeats()
    states = state.parts = part_states(settings.EXPECTED_PARTS, state.heartbeats, now)
    watchdog = states.get(Heartbeat.Part.WATCHDOG)
    if watchdog is not None and watchdog.is_problem:
        # The watchdog can't report itself. A full disk must not turn this into an error.
        with suppress(Error):
            report_missing_watchdog(now)
    wrong = [part for part in states.values() if _is_wrong(part)]
    state.checks["parts"] = "; ".join(_part_text(part, now) for part in wrong) or OK
    state.problems += [Problem(WARNING, _part_title(part, now)) for part in wrong]


def _is_wrong(part: PartState) -> bool:
    # A worker whose processes are all busy is silent, too; the watchdog pings it before it opens an incident.
    return part.is_problem and (part.part, part.state) != (Heartbeat.Part.WORKER, SILENT)


def _part_text(part: PartState, now: datetime) -> str:
    if part.state == MISSING or part.heartbeat is None:
        return f"{part.part} has never started"
    return f"{part.part} is silent for {format_age((now - part.heartbeat.at).total_seconds())}"


def _part_title(part: PartState, now: datetime) -> str:
    name = (
        _("The watchdog") if part.part == Heartbeat.Part.WATCHDOG else _(str(Heartbeat.Part(part.part).label))
    )
    if part.state == MISSING or part.heartbeat is None:
        return _("{name} has never started").format(name=name)
    age = format_age((now - part.heartbeat.at).total_seconds())
    return _("{name} is not running: its last heartbeat was {age} ago").format(name=name, age=age)


def _run_check(check: Callable[[], str]) -> str:
    """The check's result; an error goes to the log and not into the public response."""
    try:
        return check()
    except Exception:
        # The drivers of caches, brokers and file systems raise many types.
        logger.exception("health_check_raised check=%s", check.__name__.lstrip("_"))
        return NO_ANSWER


def _check_database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        logger.exception("health_database_unavailable")
        return NO_ANSWER
    return OK


def _check_migrations() -> str:
    missing = _count_missing_migrations()
    if not missing:
        return OK
    # Not cached: the next request may come after `migrate`.
    _count_missing_migrations.cache_clear()
    return f"{missing} are missing: python manage.py migrate"


@lru_cache(maxsize=1)
def _count_missing_migrations() -> int:
    # Reads a hundred files, so a complete result is cached: the code of a process does not change.
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _check_write() -> str:
    """Whether a row can be stored; at most one request of this process checks this every ten seconds."""
    if time.monotonic() >= _WRITE_RESULT.valid_until:
        _WRITE_RESULT.text = _run_check(_write_row)
        _WRITE_RESULT.valid_until = time.monotonic() + WRITE_CHECK_INTERVAL
    return _WRITE_RESULT.text


@dataclass
class _CachedResult:
    text: str = OK
    valid_until: float = 0.0


_WRITE_RESULT: Final = _CachedResult()


def _write_row() -> str:
    """Insert and delete a row in one transaction, invisible to others."""
    try:
        with transaction.atomic():
            now = datetime.now().astimezone()
            row = Heartbeat.objects.create(
                part=f"probe {os.getpid()}", at=now, since=now, host="", pid=os.getpid()
            )
            row.delete()
    except Error as error:
        logger.warning("health_write_failed reason=%s", type(error).__name__)
        return "fails"
    return OK


def _check_cache() -> str:
    cache.set("health", OK, 60)
    return OK if cache.get("health") else "does not store values"


def _check_broker() -> str:
    if not settings.REDIS_URL:
        folder = Path(settings.BROKER_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return OK
    timeouts = {"socket_timeout": BROKER_TIMEOUT, "socket_connect_timeout": BROKER_TIMEOUT}
    with redis.Redis.from_url(settings.REDIS_URL, **timeouts) as client:
        client.ping()
    return OK


def _check_artifact() -> str:
    # Public, so without details; the log and `status/` have them.
    return OK if current_model().degraded is None else "another model, or none, serves instead"


def _data_age(now: datetime) -> str:
    """The age of tables that were ever imported; without any data there is no model, and `artifact` fails."""
    limit = timedelta(hours=settings.MAX_DATA_AGE_HOURS)
    old: Sequence[str] = sorted(name for name, at in last_import_times().items() if now - at > limit)
    return f"older than {settings.MAX_DATA_AGE_HOURS:g} hours: {', '.join(old)}" if old else OK
