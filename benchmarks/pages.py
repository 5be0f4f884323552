"""What each page for staff costs with years of data behind it, against an admin list of an empty table."""

import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from operator import truediv
from statistics import median
from typing import Any, Final

import orjson

from benchmarks.place import Figures, Workspace, open_postgres, open_sqlite, temporary_workspace
from benchmarks.report import Finding, Report

MAX_TIME_RATIO: Final = 3.0  # of the empty list's
MAX_QUERIES: Final = 10


@dataclass(frozen=True)
class Plan:
    """How much is in the tables, and how often each page is asked.

    Attributes:
        runs: one a day; a version of the model for each week of them.
    """

    songs: int = 1_000_000
    listeners: int = 200_000
    runs: int = 1_000
    rounds: int = 15
    postgresql: bool = False


def measure(plan: Plan) -> Report:
    """The time of each page as a ratio to the empty list's, asked in turns, and its queries."""
    with ExitStack() as stack:
        place = stack.enter_context(temporary_workspace())
        databases = open_postgres if plan.postgresql else open_sqlite
        place.environment |= stack.enter_context(databases(place)).create_database()
        pages = _measure_pages(place, plan)
    report = Report(asdict(plan), [_time_finding(page) for page in pages])
    most = max(pages, key=lambda page: page["queries"])
    report.findings.append(
        Finding(f"most queries: {most['name']}", f"{most['queries']}", "-", "-", most["queries"], MAX_QUERIES)
    )
    report.notes += [_query_finding(page) for page in pages if page["queries"] > MAX_QUERIES]
    return report


def plan_from_arguments(chosen: Any) -> Plan:
    """From the command line."""
    if chosen.quick:
        return Plan(songs=3_000, listeners=600, runs=60, rounds=3, postgresql=chosen.postgresql)
    return Plan(chosen.songs, chosen.listeners, chosen.runs, postgresql=chosen.postgresql)


def _measure_pages(place: Workspace, plan: Plan) -> list[Figures]:
    """Filled and asked in a process of its own, which tells meanwhile how far it is."""
    sizes = (plan.songs, plan.listeners, plan.runs, plan.rounds)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.processes.page_timing", *map(str, sizes)],
        env={**place.environment, "WATCHDOG_IN_WEB": "0", "LOG_LEVEL": "ERROR"},
        cwd=place.folder, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    found: list[Figures] = orjson.loads(done.stdout)
    return found


def _time_finding(page: Figures) -> Finding:
    ours, empty = median(page["seconds"]), median(page["empty_seconds"])
    # Of each pair, asked one after the other: a machine that others use is half as fast some seconds later.
    ratio = median(map(truediv, page["seconds"], page["empty_seconds"]))
    return Finding(
        f"{page['name']}, {page['queries']} queries", f"{1000 * ours:.0f} ms", f"{1000 * empty:.0f} ms",
        f"{ratio:.1f}", ratio, MAX_TIME_RATIO,
        samples={"ours": page["seconds"], "empty": page["empty_seconds"]},
    )  # fmt: skip


def _query_finding(page: Figures) -> str:
    lines = [f"  {1000 * seconds:6.1f} ms  {' '.join(sql.split())[:150]}" for seconds, sql in page["asked"]]
    return "\n".join([f"{page['name']} asks:", *lines])
