"""Cost of an import beyond fetching its pages: time, CPU and memory, and a comparison with dlt."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from statistics import median
from typing import Final

from benchmarks.report import Finding, Report
from benchmarks.workspace import (
    Figures,
    FreshDatabases,
    MeasurementFailed,
    Workspace,
    open_postgres,
    open_sqlite,
    temporary_workspace,
)
from tests.support.servers.postgres_and_valkey import ServerUnavailable

ROUNDS: Final = 3
CONNECTIONS: Final = 8
MAX_FIRST_RATIO: Final = 1.2  # times a bare fetch of the same pages
MAX_SECOND_RATIO: Final = 1.1
MAX_CPU_NEW: Final = 20.0  # microseconds per row above the bare fetch
MAX_CPU_UNCHANGED: Final = 10.0
MAX_MEMORY: Final = 300.0  # MB
MIN_FIRST_SPEEDUP: Final = 5.0
MIN_SECOND_SPEEDUP: Final = 50.0
# dlt is measured once if both runs take longer: noise no longer matters then.
SINGLE_ROUND_SECONDS: Final = 30.0  # seconds
# With its defaults, and with the primary keys that its tables lack.
PEERS: Final = {"dlt with its defaults": "", "dlt tuned": "tuned"}
DLT_MISSING: Final = (
    "Skipped: dlt is not installed. To compare with it, install in a separate environment:\n"
    '  pip install --require-hashes -r requirements.lock && pip install "dlt[sqlalchemy]>=1.18"'
)
RowCounts = tuple[int, int, int]
DatabaseOpener = Callable[[Workspace], AbstractContextManager[FreshDatabases]]


@dataclass(frozen=True)
class Plan:
    """What to measure and on how many rows."""

    rows: int
    big: int
    latency: float
    rounds: int
    parts: tuple[str, ...]


@dataclass(frozen=True)
class BenchmarkPart:
    """One part of the benchmark, chosen by `--only`."""

    about: str
    run: Callable[[Workspace, Plan, Report], None]


class Samples:
    """The figures of all rounds, by name."""

    def __init__(self) -> None:
        self._all: dict[str, list[Figures]] = {}

    def add(self, name: str, figures: Figures) -> None:
        self._all.setdefault(name, []).append(figures)

    def values(self, name: str, figure: str) -> list[float]:
        return [one[figure] for one in self._all[name]]

    def median(self, name: str, figure: str = "seconds") -> float:
        return median(self.values(name, figure))


def measure(plan: Plan) -> Report:
    """Run the chosen parts one after the other."""
    report = Report(asdict(plan))
    with temporary_workspace() as workspace:
        for name in plan.parts:
            print(f"measuring {name} ...", flush=True)
            try:
                PARTS[name].run(workspace, plan, report)
            except MeasurementFailed as error:
                report.is_broken = True
                report.notes.append(f"Failed: {name}: {error}")
    return report


def split_in_thirds(rows: int) -> RowCounts:
    """Numbers of songs, users and sessions."""
    return rows - 2 * (rows // 3), rows // 3, rows // 3


def _distant_on_sqlite(workspace: Workspace, plan: Plan, report: Report) -> None:
    _measure_distant(workspace, plan, report, open_sqlite)


def _distant_on_postgres(workspace: Workspace, plan: Plan, report: Report) -> None:
    try:
        _measure_distant(workspace, plan, report, open_postgres)
    except ServerUnavailable as error:
        report.notes.append(f"Skipped: {error}")


def _measure_distant(workspace: Workspace, plan: Plan, report: Report, opener: DatabaseOpener) -> None:
    with (
        opener(workspace) as databases,
        workspace.serve_source(split_in_thirds(plan.rows), plan.latency) as url,
    ):
        samples = _run_rounds(workspace, url, databases, plan.rounds)
        name = databases.name
    head = f"{plan.rows} rows at +{plan.latency * 1000:g} ms, {name}"
    report.findings += [
        _time_finding(f"{head}: first run / bare fetch", samples, "first", MAX_FIRST_RATIO),
        _time_finding(f"{head}: second run / bare fetch", samples, "second", MAX_SECOND_RATIO),
    ]
    written = max(samples.values("second", "written"))
    report.findings.append(
        Finding(f"{head}: rows written by the second run", f"{written:g}", "-", "-", judged=written, target=0)
    )


def _run_rounds(workspace: Workspace, url: str, databases: FreshDatabases, rounds: int) -> Samples:
    """Bare fetch, first and second run in turn, so that a noisy minute affects all three."""
    samples = Samples()
    _fetch_bare(workspace, url)  # the source makes its pages when they are first asked for
    for _ in range(rounds):
        samples.add("bare", _fetch_bare(workspace, url))
        _ingest_twice(workspace, url, databases, samples)
    return samples


def _fetch_bare(workspace: Workspace, url: str) -> Figures:
    return workspace.measure_module("benchmarks.imports.bare_fetch", url, str(CONNECTIONS))


def _ingest_twice(workspace: Workspace, url: str, databases: FreshDatabases, samples: Samples) -> None:
    where = {**databases.create_database(), "BASE_URL": url, "SOURCE_CONNECTIONS": str(CONNECTIONS)}
    for name in ("first", "second"):
        samples.add(name, workspace.measure_module("benchmarks.imports.ingest_run", **where))


def _time_finding(measure: str, samples: Samples, name: str, target: float) -> Finding:
    ours, floor = samples.median(name), samples.median("bare")
    return Finding(
        measure, f"{ours:.2f} s", f"{floor:.2f} s", f"{ours / floor:.3f}", judged=ours / floor, target=target,
        samples={one: samples.values(one, "seconds") for one in (name, "bare")},
    )  # fmt: skip


def _measure_cpu(workspace: Workspace, plan: Plan, report: Report) -> None:
    with open_sqlite(workspace) as databases, workspace.serve_source(split_in_thirds(plan.rows)) as url:
        samples = _run_rounds(workspace, url, databases, plan.rounds)
    report.findings += [
        _cpu_finding("new", samples, "first", plan.rows, MAX_CPU_NEW),
        _cpu_finding("unchanged", samples, "second", plan.rows, MAX_CPU_UNCHANGED),
    ]


def _cpu_finding(kind: str, samples: Samples, name: str, rows: int, target: float) -> Finding:
    ours, floor = (samples.median(one, "cpu") / rows * 1e6 for one in (name, "bare"))
    return Finding(
        f"CPU per row above the bare fetch, {kind} rows, SQLite: {ours - floor:.1f} us",
        f"{ours:.1f} us", f"{floor:.1f} us", f"{ours / floor:.2f}", judged=ours - floor, target=target,
        unit=" us", samples={one: samples.values(one, "cpu") for one in (name, "bare")},
    )  # fmt: skip


def _measure_memory(workspace: Workspace, plan: Plan, report: Report) -> None:
    rows = (plan.big * 2 // 5, plan.big // 5, plan.big - plan.big * 2 // 5 - plan.big // 5)
    with open_sqlite(workspace) as databases, workspace.serve_source(rows) as url:
        figures = workspace.measure_module(
            "benchmarks.imports.ingest_run", **databases.create_database(), BASE_URL=url
        )
    peak = figures["peak_memory"] / 1e6
    report.findings.append(
        Finding(
            f"{plan.big} rows, SQLite, {figures['seconds']:.0f} s: peak memory",
            f"{peak:.0f} MB",
            "-",
            "-",
            judged=peak,
            target=MAX_MEMORY,
            unit=" MB",
            samples={name: [figures[name]] for name in ("peak_memory", "seconds", "cpu")},
        )
    )


def _measure_dlt(workspace: Workspace, plan: Plan, report: Report) -> None:
    if find_spec("dlt") is None:
        report.notes.append(DLT_MISSING)
        return
    samples = Samples()
    with open_sqlite(workspace) as databases, workspace.serve_source(split_in_thirds(plan.rows)) as url:
        _fetch_bare(workspace, url)
        for turn in range(plan.rounds):
            _ingest_twice(workspace, url, databases, samples)
            for peer in PEERS:
                if (
                    not turn
                    or samples.median(f"{peer} first") + samples.median(f"{peer} second")
                    < SINGLE_ROUND_SECONDS
                ):
                    _dlt_twice(workspace, url, f"{peer} {turn}", samples, plan.rows)
    for peer in PEERS:
        report.findings += [
            _speedup_finding("first", peer, samples, plan.rows, MIN_FIRST_SPEEDUP),
            _speedup_finding("second", peer, samples, plan.rows, MIN_SECOND_SPEEDUP),
        ]


def _dlt_twice(workspace: Workspace, url: str, turn: str, samples: Samples, rows: int) -> None:
    peer = turn.rpartition(" ")[0]
    folder = workspace.folder / turn.replace(" ", "-")
    folder.mkdir()
    variables = {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DLT_DATA_DIR": str(folder / "data"),
        # With the default of 20 threads SQLite fails with "database is locked".
        "LOAD__WORKERS": "1",
    }
    arguments = (url, str(folder / "music.db"), str(folder / "pipelines"), PEERS[peer])
    for name in ("first", "second"):
        figures = workspace.measure_module("benchmarks.imports.dlt_run", *arguments, **variables)
        if figures["rows"] != rows:
            raise MeasurementFailed(f"{peer} stored {figures['rows']} of {rows} rows")
        samples.add(f"{peer} {name}", figures)


def _speedup_finding(name: str, peer: str, samples: Samples, rows: int, target: float) -> Finding:
    ours, theirs = samples.median(name), samples.median(f"{peer} {name}")
    return Finding(
        f"{rows} rows, no latency, SQLite: {name} run, times faster than {peer}",
        f"{ours:.2f} s", f"{theirs:.2f} s", f"{theirs / ours:.1f}", judged=theirs / ours, target=target,
        at_most=False, unit="x",
        samples={one: samples.values(one, "seconds") for one in (name, f"{peer} {name}")},
    )  # fmt: skip


PARTS: Final[dict[str, BenchmarkPart]] = {
    "latency-sqlite": BenchmarkPart(
        "a distant source, SQLite: time compared with a bare fetch", _distant_on_sqlite
    ),
    "latency-postgres": BenchmarkPart("the same on PostgreSQL", _distant_on_postgres),
    "cpu": BenchmarkPart("CPU per row above a bare fetch, SQLite", _measure_cpu),
    "memory": BenchmarkPart("peak memory of a large first run, SQLite", _measure_memory),
    "dlt": BenchmarkPart("time compared with dlt, SQLite", _measure_dlt),
}
