"""Time and queries of every staff page on a large database, compared with an empty admin list."""

import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from operator import truediv
from statistics import median
from typing import Any, Final

import orjson

from benchmarks.report import Finding, Report
from benchmarks.workspace import Figures, Workspace, open_postgres, open_sqlite, temporary_workspace

MAX_TIME_RATIO: Final = 3.0  # times the empty list's
# The operations page checks the whole service too, as /health/ready/ does, and reads muted channels and
# maintenance windows; all other pages need at most twelve.
MAX_QUERIES: Final = 14


@dataclass(frozen=True)
class Plan:
    """How many rows the tables have, and how often each page is requested."""

    songs: int = 1_000_000
    listeners: int = 200_000
    runs: int = 1_000  # one a day; a version of the model for each week of them
    rounds: int = 15
    postgresql: bool = False


def measure(plan: Plan) -> Report:
    """Each page's queries and the ratio of its time to the empty list's."""
    with ExitStack() as stack:
        workspace = stack.enter_context(temporary_workspace())
        databases = open_postgres if plan.postgresql else open_sqlite
        workspace.environment |= stack.enter_context(databases(workspace)).create_database()
        pages = _measure_pages(workspace, plan)
    report = Report(asdict(plan), [_time_finding(page) for page in pages])
    most = max(pages, key=lambda page: page["queries"])
    report.findings.append(
        Finding(f"most queries: {most['name']}", f"{most['queries']}", "-", "-", most["queries"], MAX_QUERIES)
    )
    report.notes += [_query_finding(page) for page in pages if page["queries"] > MAX_QUERIES]
    return report


def plan_from_arguments(chosen: Any) -> Plan:
    if chosen.quick:
        return Plan(songs=400, listeners=80, runs=60, rounds=1, postgresql=chosen.postgresql)
    return Plan(chosen.songs, chosen.listeners, chosen.runs, postgresql=chosen.postgresql)


def _measure_pages(workspace: Workspace, plan: Plan) -> list[Figures]:
    """Fill the database and time the pages in a child process, which prints its progress."""
    sizes = (plan.songs, plan.listeners, plan.runs, plan.rounds)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.service.page_timing", *map(str, sizes)],
        env={**workspace.environment, "WATCHDOG_IN_WEB": "0", "LOG_LEVEL": "ERROR"},
        cwd=workspace.folder, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    found: list[Figures] = orjson.loads(done.stdout)
    return found


def _time_finding(page: Figures) -> Finding:
    ours, empty = median(page["seconds"]), median(page["empty_seconds"])
    # The median of paired ratios: the speed of a shared machine can halve within seconds.
    ratio = median(map(truediv, page["seconds"], page["empty_seconds"]))
    return Finding(
        f"{page['name']}, {page['queries']} queries", f"{1000 * ours:.0f} ms", f"{1000 * empty:.0f} ms",
        f"{ratio:.1f}", ratio, MAX_TIME_RATIO,
        samples={"ours": page["seconds"], "empty": page["empty_seconds"]},
    )  # fmt: skip


def _query_finding(page: Figures) -> str:
    lines = [f"  {1000 * seconds:6.1f} ms  {' '.join(sql.split())[:150]}" for seconds, sql in page["asked"]]
    return "\n".join([f"Queries of {page['name']}:", *lines])
