"""What listeners see: true reasons, telling cluster names, lists that change and that keep their limits.

The demo's world and any data sets of real listening (folders as for `quality`) are imported and trained on.
Lists are then served as to their listeners, and compared with the tables.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Finding, Report
from benchmarks.workspace import Figures, SQLiteFiles, temporary_workspace

TRUE_REASONS: Final = 1.0
MAX_NAME_LENGTH: Final = 40
# Mean share of a list's songs that the list of the day before also had, by discovery.
MAX_REPEATED: Final = {"0.3": 0.5, "0": 0.7}
# How far the median list's share of new artists may be from the requested discovery, or from the nearest
# share that the catalogue allows: one song of twenty.
MAX_DISCOVERY_ERROR: Final = 0.05
MAX_HEAVIEST_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Plan:
    """Which data sets to measure, and how many of their listeners."""

    data: tuple[Path, ...] = ()  # in addition to the demo's world
    listeners: int = 100  # who get lists
    max_listeners: int = 2_000  # of a data set, to train on


def measure(plan: Plan) -> Report:
    report = Report(asdict(plan) | {"data": [str(folder) for folder in plan.data]})
    with temporary_workspace() as workspace:
        databases = SQLiteFiles(workspace)
        sources = {"demo": "demo"} | {folder.name: str(folder.resolve()) for folder in plan.data}
        for name, path in sources.items():
            figures = workspace.measure_module(
                "benchmarks.recommendations.listener_lists", path,
                str(plan.listeners), str(plan.max_listeners),
                **databases.create_database(), MODEL_STORAGE=str(workspace.folder / f"models-{name}"),
            )  # fmt: skip
            report.findings += build_findings(name, figures)
            report.notes.append(describe(name, figures))
    return report


def build_findings(name: str, figures: Figures) -> list[Finding]:
    lists, items = figures["lists"], max(1, figures["items"])
    false = sum(figures["problems"].values())
    named = {kind: count for kind, count in figures["names"].items() if kind != "none"}
    n_clusters = max(1, sum(figures["names"].values()))
    found = [
        _finding(f"{name}: reasons that hold", 1 - false / items, TRUE_REASONS, at_most=False),
        _finding(f"{name}: clusters with a name", sum(named.values()) / n_clusters, 0.0, at_most=False),
        _finding(f"{name}: longest name, characters", figures["longest_name"], MAX_NAME_LENGTH, digits=0),
        _finding(f"{name}: songs beyond an artist's cap", figures["breaches"], 0, digits=0),
        _finding(f"{name}: copies of a recording", figures["copies"], 0, digits=0),
        _finding(f"{name}: lists shorter than asked, of {lists}", figures["short"], 0, digits=0),
    ]
    found += [
        _finding(f"{name}: songs also listed the day before, at {one}", figures["repeated"][one], most)
        for one, most in MAX_REPEATED.items()
    ]
    found += [
        Finding(
            f"{name}: new artists at discovery {asked}", f"{given:.2f}", asked, "-",
            figures["missed"][asked], MAX_DISCOVERY_ERROR,
        )
        for asked, given in figures["given"].items()
    ]  # fmt: skip
    heaviest = f"{name}: seconds of a list for the heaviest listener"
    return [*found, _finding(heaviest, figures["heaviest_seconds"], MAX_HEAVIEST_SECONDS, digits=3)]


def describe(name: str, figures: Figures) -> str:
    """What no target belongs to: kinds of reasons and names, and all names."""
    return "\n".join([
        f"{name}: {figures['listeners']} listeners, at most {figures['heaviest_sessions']} sessions each.",
        f"  reasons by kind: {_counts(figures['reasons'])}",
        f"  untrue reasons: {_counts(figures['problems'])}",
        f"  names by kind: {_counts(figures['names'])}",
        f"  style families: {'; '.join(figures['families'])}",
        f"  names: {'; '.join(figures['examples'])}",
    ])  # fmt: skip


def plan_from_arguments(chosen: Any) -> Plan:
    data = tuple(chosen.data or ())
    if chosen.quick:
        return Plan(data, listeners=4, max_listeners=200)
    return Plan(data, chosen.listeners, chosen.max_listeners)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def _finding(measure: str, value: float, target: float, *, at_most: bool = True, digits: int = 2) -> Finding:
    return Finding(measure, f"{value:.{digits}f}", "-", "-", value, target, at_most=at_most)
