"""How much an ingestion costs beyond fetching its pages, what it holds in memory, and how a peer fares."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from statistics import median
from typing import Final

from benchmarks.place import (
    Broken,
    Databases,
    Figures,
    Place,
    postgres_databases,
    sqlite_files,
    temporary_place,
)
from benchmarks.report import Finding, Report
from tests.support.servers import NoServer

ROUNDS: Final = 3
CONNECTIONS: Final = 8
MOST_FIRST: Final = 1.2  # of a bare fetch of the same pages
MOST_SECOND: Final = 1.1
MOST_CPU_NEW: Final = 30.0  # microseconds a row, over the bare fetch
MOST_CPU_UNCHANGED: Final = 15.0
MOST_MEMORY: Final = 300.0  # MB
LEAST_FIRST_SPEEDUP: Final = 5.0
LEAST_SECOND_SPEEDUP: Final = 50.0
# A peer that takes longer than this for both runs is measured once: its noise is no longer what counts.
PATIENCE: Final = 30.0  # seconds
# As it comes, and as somebody would set it up who knows that its tables have no index.
PEERS: Final = {"dlt as it comes": "", "dlt tuned": "tuned"}
NO_DLT: Final = (
    "Left out: dlt is not installed. To measure against it, in an environment of its own:\n"
    '  pip install --require-hashes -r requirements.lock && pip install "dlt[sqlalchemy]>=1.18"'
)
Rows = tuple[int, int, int]
Opener = Callable[[Place], AbstractContextManager[Databases]]


@dataclass(frozen=True)
class Plan:
    """What to measure, and on how much."""

    rows: int
    big: int
    latency: float
    rounds: int
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A part of the benchmark: what it is about, and how it is measured."""

    about: str
    run: Callable[[Place, Plan, Report], None]


class Samples:
    """Figures of several rounds, by what they are of."""

    def __init__(self) -> None:
        self._all: dict[str, list[Figures]] = {}

    def add(self, name: str, figures: Figures) -> None:
        self._all.setdefault(name, []).append(figures)

    def of(self, name: str, figure: str) -> list[float]:
        return [one[figure] for one in self._all[name]]

    def median(self, name: str, figure: str = "seconds") -> float:
        return median(self.of(name, figure))


def measure(plan: Plan) -> Report:
    """Measure the parts of the plan, one after the other."""
    report = Report(asdict(plan))
    with temporary_place() as place:
        for name in plan.parts:
            print(f"measuring {name} ...", flush=True)
            try:
                PARTS[name].run(place, plan, report)
            except Broken as error:
                report.is_broken = True
                report.notes.append(f"Broke: {name}: {error}")
    return report


def thirds(rows: int) -> Rows:
    """As many songs as users as sessions."""
    return rows - 2 * (rows // 3), rows // 3, rows // 3


def _distant_on_sqlite(place: Place, plan: Plan, report: Report) -> None:
    _distant(place, plan, report, sqlite_files)


def _distant_on_postgres(place: Place, plan: Plan, report: Report) -> None:
    try:
        _distant(place, plan, report, postgres_databases)
    except NoServer as error:
        report.notes.append(f"Left out: {error}")


def _distant(place: Place, plan: Plan, report: Report, opener: Opener) -> None:
    with opener(place) as databases, place.source(thirds(plan.rows), plan.latency) as url:
        samples = _rounds(place, url, databases, plan.rounds)
        name = databases.name
    head = f"{plan.rows} rows at +{plan.latency * 1000:g} ms, {name}"
    report.findings += [
        _wall(f"{head}: first run / bare fetch", samples, "first", MOST_FIRST),
        _wall(f"{head}: second run / bare fetch", samples, "second", MOST_SECOND),
    ]
    written = max(samples.of("second", "written"))
    report.findings.append(
        Finding(f"{head}: rows the second run wrote", f"{written:g}", "-", "-", judged=written, target=0)
    )


def _rounds(place: Place, url: str, databases: Databases, rounds: int) -> Samples:
    """Bare fetch, first and second run, in turn: a noisy minute then hits all three."""
    samples = Samples()
    _bare(place, url)  # the source makes its pages when they are first asked for
    for _ in range(rounds):
        samples.add("bare", _bare(place, url))
        _ours_twice(place, url, databases, samples)
    return samples


def _bare(place: Place, url: str) -> Figures:
    return place.figures("_bare", url, str(CONNECTIONS))


def _ours_twice(place: Place, url: str, databases: Databases, samples: Samples) -> None:
    where = {**databases.fresh(), "BASE_URL": url, "SOURCE_CONNECTIONS": str(CONNECTIONS)}
    for name in ("first", "second"):
        samples.add(name, place.figures("_ours", **where))


def _wall(measure: str, samples: Samples, name: str, target: float) -> Finding:
    ours, floor = samples.median(name), samples.median("bare")
    return Finding(
        measure, f"{ours:.2f} s", f"{floor:.2f} s", f"{ours / floor:.3f}", judged=ours / floor, target=target,
        samples={one: samples.of(one, "seconds") for one in (name, "bare")},
    )  # fmt: skip


def _cpu(place: Place, plan: Plan, report: Report) -> None:
    with sqlite_files(place) as databases, place.source(thirds(plan.rows)) as url:
        samples = _rounds(place, url, databases, plan.rounds)
    report.findings += [
        _cpu_finding("new", samples, "first", plan.rows, MOST_CPU_NEW),
        _cpu_finding("unchanged", samples, "second", plan.rows, MOST_CPU_UNCHANGED),
    ]


def _cpu_finding(kind: str, samples: Samples, name: str, rows: int, target: float) -> Finding:
    ours, floor = (samples.median(one, "cpu") / rows * 1e6 for one in (name, "bare"))
    return Finding(
        f"CPU a row over the bare fetch, {kind} rows, SQLite: {ours - floor:.1f} us",
        f"{ours:.1f} us", f"{floor:.1f} us", f"{ours / floor:.2f}", judged=ours - floor, target=target,
        unit=" us", samples={one: samples.of(one, "cpu") for one in (name, "bare")},
    )  # fmt: skip


def _memory(place: Place, plan: Plan, report: Report) -> None:
    rows = (plan.big * 2 // 5, plan.big // 5, plan.big - plan.big * 2 // 5 - plan.big // 5)
    with sqlite_files(place) as databases, place.source(rows) as url:
        figures = place.figures("_ours", **databases.fresh(), BASE_URL=url)
    peak = figures["peak_memory"] / 1e6
    report.findings.append(
        Finding(
            f"{plan.big} rows, SQLite, {figures['seconds']:.0f} s: peak memory",
            f"{peak:.0f} MB",
            "-",
            "-",
            judged=peak,
            target=MOST_MEMORY,
            unit=" MB",
            samples={name: [figures[name]] for name in ("peak_memory", "seconds", "cpu")},
        )
    )


def _dlt(place: Place, plan: Plan, report: Report) -> None:
    if find_spec("dlt") is None:
        report.notes.append(NO_DLT)
        return
    samples = Samples()
    with sqlite_files(place) as databases, place.source(thirds(plan.rows)) as url:
        _bare(place, url)
        for turn in range(plan.rounds):
            _ours_twice(place, url, databases, samples)
            for peer in PEERS:
                if not turn or samples.median(f"{peer} first") + samples.median(f"{peer} second") < PATIENCE:
                    _dlt_twice(place, url, f"{peer} {turn}", samples, plan.rows)
    for peer in PEERS:
        report.findings += [
            _speedup("first", peer, samples, plan.rows, LEAST_FIRST_SPEEDUP),
            _speedup("second", peer, samples, plan.rows, LEAST_SECOND_SPEEDUP),
        ]


def _dlt_twice(place: Place, url: str, turn: str, samples: Samples, rows: int) -> None:
    peer = turn.rpartition(" ")[0]
    folder = place.folder / turn.replace(" ", "-")
    folder.mkdir()
    variables = {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DLT_DATA_DIR": str(folder / "data"),
        # With its 20 threads SQLite answers "database is locked", and the run fails.
        "LOAD__WORKERS": "1",
    }
    arguments = (url, str(folder / "music.db"), str(folder / "pipelines"), PEERS[peer])
    for name in ("first", "second"):
        figures = place.figures("_dlt", *arguments, **variables)
        if figures["rows"] != rows:
            raise Broken(f"{peer} holds {figures['rows']} of {rows} rows")
        samples.add(f"{peer} {name}", figures)


def _speedup(name: str, peer: str, samples: Samples, rows: int, target: float) -> Finding:
    ours, theirs = samples.median(name), samples.median(f"{peer} {name}")
    return Finding(
        f"{rows} rows, no latency, SQLite: {name} run, times faster than {peer}",
        f"{ours:.2f} s", f"{theirs:.2f} s", f"{theirs / ours:.1f}", judged=theirs / ours, target=target,
        at_most=False, unit="x",
        samples={one: samples.of(one, "seconds") for one in (name, f"{peer} {name}")},
    )  # fmt: skip


PARTS: Final[dict[str, Part]] = {
    "latency-sqlite": Part("a distant source, SQLite: wall time over a bare fetch", _distant_on_sqlite),
    "latency-postgres": Part("the same on PostgreSQL", _distant_on_postgres),
    "cpu": Part("CPU a row over a bare fetch, SQLite", _cpu),
    "memory": Part("peak memory of a long first run, SQLite", _memory),
    "dlt": Part("the same pages into SQLite with dlt", _dlt),
}
