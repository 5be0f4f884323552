"""How CPU time and memory grow with plays, songs, listeners, votes, rows, lists and histories.

Each part is measured at three sizes, each twice the one before (histories: ten times). The exponent is the
slope of the logarithm of the CPU seconds: 1 if they grow with the size, 0 if they do not grow. For workers
it is that of the busiest one: -1 if each of two takes half as long as one. A part above its bound is exit
code 1. Python's start is not measured; the databases are SQLite.
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.report import Finding, Report
from benchmarks.workspace import (
    Figures,
    MeasurementFailed,
    SQLiteFiles,
    Workspace,
    temporary_workspace,
)

# Fixed costs are part of every size, so an exponent is a little below that of large sizes.
MAX_IN_ROWS: Final = 1.05
MAX_IN_SONGS: Final = 0.7
MAX_IN_LISTENERS: Final = 0.7  # of the same plays
MAX_IN_HISTORY: Final = 0.1
MAX_IN_WORKERS: Final = -0.7  # two workers take at most .62 of the time of one
EASE_SONGS: Final = 10_000  # below so many, EASE grows with their cube; above, it does not grow
QUICK_SHARE: Final = 0.05


@dataclass(frozen=True)
class World:
    songs: int = 3_000
    listeners: int = 2_000
    plays: int = 40_000
    votes: int = 0


@dataclass(frozen=True)
class Plan:
    parts: tuple[str, ...] = ()
    plays: tuple[int, ...] = (40_000, 80_000, 160_000)
    songs: tuple[int, ...] = (EASE_SONGS, 2 * EASE_SONGS, 4 * EASE_SONGS)
    listeners: tuple[int, ...] = (2_000, 4_000, 8_000)
    votes: tuple[int, ...] = (10_000, 20_000, 40_000)
    rows: tuple[int, ...] = (15_000, 30_000, 60_000)
    lists: tuple[int, ...] = (5_000, 10_000, 20_000)
    preparation: tuple[int, ...] = (400, 800, 1_600)
    history: tuple[int, ...] = (10, 100, 1_000)
    workers: tuple[int, ...] = (1, 2)
    world: World = field(default_factory=World)


class Measured(NamedTuple):
    cpu_seconds: float
    peak_memory: float  # bytes


def plan_from_arguments(chosen: Namespace) -> Plan:
    plan = Plan(parts=tuple(chosen.only or PARTS))
    factor = chosen.factor * (QUICK_SHARE if chosen.quick else 1)
    changes: dict[str, Any] = {
        name: tuple(max(60, round(size * factor)) for size in getattr(plan, name))
        for name in PARTS if name not in {"history", "workers"}
    }  # fmt: skip
    if chosen.quick:
        changes["world"] = World(600, 300, 6_000)
    return replace(plan, **changes)


def measure(plan: Plan) -> Report:
    report = Report(asdict(plan))
    with temporary_workspace() as workspace:
        try:
            databases = SQLiteFiles(workspace)
            for name in plan.parts:
                part = PARTS[name]
                sizes = getattr(plan, name)
                report.findings.append(_finding(part, sizes, part.measure(workspace, databases, plan, sizes)))
        except MeasurementFailed as error:
            report.is_broken = True
            report.notes.append(f"Failed: {error}")
    return report


def fit_exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Slope of the line through the logarithms of sizes and costs, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(costs, 1e-9)), 1)[0])


def _finding(part: "Part", sizes: Sequence[int], measured: Sequence[Measured]) -> Finding:
    seconds = [one.cpu_seconds for one in measured]
    exponent = fit_exponent(sizes, seconds)
    peak = max(one.peak_memory for one in measured) / 1e6
    return Finding(
        f"{part.about}: {' / '.join(f'{size:,}'.replace(',', ' ') for size in sizes)}",
        f"{' / '.join(f'{one:.3g}' for one in seconds)} CPU s, {peak:.0f} MB", "-", f"{exponent:.2f}",
        exponent, part.bound,
        samples={"sizes": list(map(float, sizes)), "cpu_seconds": seconds,
                 "peak_memory": [one.peak_memory for one in measured]},
    )  # fmt: skip


def _fill(workspace: Workspace, databases: SQLiteFiles, world: World) -> dict[str, str]:
    """A new database with this world; returns its environment variables."""
    variables = databases.create_database()
    workspace.run_python(
        "-m", "benchmarks.populate.catalogue", str(world.songs), str(world.listeners), str(world.plays),
        **variables,
    )  # fmt: skip
    if world.votes:
        workspace.run_python("-m", "benchmarks.populate.votes", str(world.votes), **variables)
    return variables


def _train(workspace: Workspace, databases: SQLiteFiles, world: World) -> Measured:
    _print_progress(f"retrain, {world}")
    variables = _fill(workspace, databases, world)
    return _measured(workspace.measure_module("benchmarks.recommendations.retrain_run", **variables))


def _measured(figures: Figures) -> Measured:
    return Measured(figures["cpu_seconds"], figures["peak_memory"])


def _retrain_by(name: str) -> "MeasurePart":
    def measure_part(
        workspace: Workspace, databases: SQLiteFiles, plan: Plan, sizes: Sequence[int]
    ) -> list[Measured]:
        return [_train(workspace, databases, replace(plan.world, **{name: size})) for size in sizes]

    return measure_part


def _import_rows(
    workspace: Workspace, databases: SQLiteFiles, plan: Plan, sizes: Sequence[int]
) -> list[Measured]:
    found = []
    for size in sizes:
        _print_progress(f"import of {size} rows")
        rows = (size // 3, size // 3, size - 2 * (size // 3))
        with workspace.serve_source(rows) as url:
            figures = workspace.measure_module(
                "benchmarks.imports.ingest_run", **databases.create_database(), BASE_URL=url
            )
        found.append(Measured(figures["cpu"], figures["peak_memory"]))
    return found


def _review_lists(
    workspace: Workspace, databases: SQLiteFiles, plan: Plan, sizes: Sequence[int]
) -> list[Measured]:
    found = []
    for size in sizes:
        _print_progress(f"daily review of {size} lists")
        variables = _fill(workspace, databases, plan.world)
        found.append(
            _measured(workspace.measure_module("benchmarks.growth.review_run", str(size), **variables))
        )
    return found


def _serve(kind: str) -> "MeasurePart":
    def measure_part(
        workspace: Workspace, databases: SQLiteFiles, plan: Plan, sizes: Sequence[int]
    ) -> list[Measured]:
        world = replace(plan.world, listeners=max(plan.world.listeners, *plan.preparation))
        _train(workspace, databases, replace(world, plays=max(world.plays, 10 * world.listeners)))
        _print_progress(f"{kind}: {sizes}")
        # The database of the training, which is the newest one.
        figures = workspace.measure_module(
            "benchmarks.growth.serving_run", kind, *map(str, sizes), **databases.newest()
        )
        return [_measured(one) for one in figures["sizes"]]

    return measure_part


MeasurePart = Callable[[Workspace, SQLiteFiles, Plan, Sequence[int]], list[Measured]]


class Part(NamedTuple):
    about: str
    bound: float
    measure: MeasurePart


PARTS: Final = {
    "plays": Part("retrain by plays", MAX_IN_ROWS, _retrain_by("plays")),
    "songs": Part("retrain by songs", MAX_IN_SONGS, _retrain_by("songs")),
    "listeners": Part("retrain by listeners, the same plays", MAX_IN_LISTENERS, _retrain_by("listeners")),
    "votes": Part("retrain by feedback events", MAX_IN_ROWS, _retrain_by("votes")),
    "rows": Part("import by rows", MAX_IN_ROWS, _import_rows),
    "lists": Part("daily review by lists", MAX_IN_ROWS, _review_lists),
    "preparation": Part("candidate lists by listeners", MAX_IN_ROWS, _serve("preparation")),
    "workers": Part("candidate lists by workers, the busiest", MAX_IN_WORKERS, _serve("workers")),
    "history": Part("a request by sessions of its listener", MAX_IN_HISTORY, _serve("history")),
}


def _print_progress(text: str) -> None:
    sys.stderr.write(f"growth: {text} ...\n")
