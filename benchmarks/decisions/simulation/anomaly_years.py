"""Simulate years of imports and judge them with the anomaly checks of production.

Usage: python -m benchmarks.decisions.simulation.anomaly_years YEARS 0|1 (1: with tables). Prints JSON.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import median
from typing import Final

import django
import orjson

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "moovitamix.settings")
django.setup()

from benchmarks.decisions.simulation.healthy_days import (
    MachineNoise,
    SourceShape,
    demo_source_days,
    formula_days,
    simulate_runs,
)
from benchmarks.report import Finding
from ingestion.monitoring.anomaly_detection import K, detect_anomalies
from ingestion.monitoring.run_metrics import RunMetrics

PROCESSES: Final = 2
# A year of the demo source takes a minute to simulate: several machines share it.
SEEDS_PER_WORLD: Final = 4
YEAR: Final = 365
HISTORY: Final = "listening_history"
# Days on which a fault is planted: when the checks start, and when they know the weekdays.
EARLY, LATE = 12, 60
# Ten times fewer rows would not be a fault.
MIN_NEW_ROWS: Final = 3
FaultInjector = Callable[[RunMetrics, list[RunMetrics]], None]
MAX_FALSE_ALARMS: Final = 0.2  # a year
MIN_DETECTED_SHARE: Final = 0.95


@dataclass(frozen=True)
class AnomalyScenario:
    """A healthy source; `is_limit` marks one that the checks cannot handle any more."""

    name: str
    machine: MachineNoise = field(default_factory=MachineNoise)
    shape: SourceShape | None = None
    is_limit: bool = False

    def simulate_history(self, seed: int, days: int) -> list[RunMetrics]:
        days_of_source = (
            formula_days(self.shape, seed, days)
            if self.shape
            else demo_source_days(seed // SEEDS_PER_WORLD, days)
        )
        return list(simulate_runs(days_of_source, self.machine, seed))


SCENARIOS: Final = (
    AnomalyScenario("demo source, 1 000 songs"),
    AnomalyScenario("10 000 songs", shape=SourceShape()),
    AnomalyScenario("weekends x 1.5, Fridays x 5", shape=SourceShape(weekend=1.5, friday=5.0)),
    AnomalyScenario("listening varies by 25 %", shape=SourceShape(swing=0.25)),
    AnomalyScenario("100 songs, 30 listeners", shape=SourceShape(100, 30)),
    AnomalyScenario("1 000 000 songs", shape=SourceShape(1_000_000, 200_000)),
    AnomalyScenario(
        "busy machine: noise 20 %",
        machine=MachineNoise(noise=0.2, slow=0.05),
        shape=SourceShape(),
        is_limit=True,
    ),
    AnomalyScenario(
        "flaky network, missed days", machine=MachineNoise(missed=0.05, bad_nights=0.2), shape=SourceShape()
    ),
)


def _half_the_songs(metrics: RunMetrics, _: list[RunMetrics]) -> None:
    songs = metrics.values["received", "songs"]
    metrics.values["received", "songs"] = songs / 2
    metrics.values["missing", "songs"] = songs / 2


def _slower(metrics: RunMetrics, _: list[RunMetrics]) -> None:
    metrics.values["duration", ""] *= 3.0


def _ten_times(resource: str, metrics: RunMetrics, past: list[RunMetrics]) -> None:
    """Plant ten times the usual number of new rows: of the median or, if it is larger, of that day."""
    typical = median(one.values["new", resource] for one in past)
    metrics.values["new", resource] = 10.0 * max(typical, metrics.values["new", resource])


def _nothing_new(metrics: RunMetrics, _: list[RunMetrics]) -> None:
    metrics.values["new", HISTORY] = 0.0


def _bad_rows(metrics: RunMetrics, _: list[RunMetrics]) -> None:
    metrics.values["rejected_share", "songs"] = 0.3


FAULTS: Final[dict[str, tuple[FaultInjector, str]]] = {
    "half the songs missing": (_half_the_songs, "songs"),
    "3x slower": (_slower, ""),
    "10x new listening": (partial(_ten_times, HISTORY), HISTORY),
    "10x new songs": (partial(_ten_times, "songs"), "songs"),
    "no new listening": (_nothing_new, HISTORY),
    "30 % bad rows": (_bad_rows, "songs"),
}


def main(years: int, tables: int) -> None:
    findings: list[Finding] = []
    notes: list[str] = []
    with ProcessPoolExecutor(PROCESSES) as pool:
        for scenario in (one for one in SCENARIOS if not one.is_limit):
            findings += _findings(pool, scenario, years)
        if tables:
            notes.append(_table(pool, max(4, years // 3)))
    sys.stdout.buffer.write(
        orjson.dumps({"k": K, "findings": [asdict(one) for one in findings], "notes": notes})
    )


def count_false_alarms(scenario: AnomalyScenario, k: float, seed: int) -> Counter[str]:
    """Alarms in one healthy year by measure; one that lasts counts once, like its incident."""
    runs = scenario.simulate_history(seed, YEAR)
    found: Counter[str] = Counter()
    open_before: set[str] = set()
    for at in range(len(runs)):
        now = set(_certain_departures(runs, at, k))
        found.update(now - open_before)
        open_before = now
    return found


def find_detected_faults(scenario: AnomalyScenario, k: float, seed: int) -> dict[str, bool]:
    """Whether the run with a planted fault detects it, early and late in a history."""
    runs = scenario.simulate_history(seed, LATE + 10)
    found = {}
    for name, (plant, resource) in FAULTS.items():
        for when, day in (("early", EARLY), ("late", LATE)):
            at = _next_daily(runs, day)
            faulty = deepcopy(runs[at])
            if faulty.values.get(("new", resource), MIN_NEW_ROWS) < MIN_NEW_ROWS and "new" in name:
                continue
            plant(faulty, runs[at - 8 : at])
            keys = _certain_departures([*runs[:at], faulty], at, k)
            found[f"{name}, {when}"] = any(key.endswith(f":{resource}") for key in keys)
    return found


def _next_daily(runs: list[RunMetrics], at: int) -> int:
    """The place of the next daily run from `at` on; runs started by hand are skipped."""
    return next(place for place in range(at, len(runs)) if (runs[place].gap_seconds or 0) > 80_000)


def _certain_departures(runs: list[RunMetrics], at: int, k: float) -> Iterator[str]:
    # Enough for the window and some runs by hand; older runs are not used.
    past = runs[max(0, at - 60) : at]
    return (
        f"{one.measure}:{one.resource}" for one in detect_anomalies(runs[at], past, {}, k=k) if one.is_anomaly
    )


def _findings(pool: ProcessPoolExecutor, scenario: AnomalyScenario, years: int) -> Iterator[Finding]:
    false, shares, kinds = _repeat(pool, scenario, K, years)
    if kinds:
        sys.stderr.write(f"  {dict(kinds)}\n")
    yield Finding(f"{scenario.name}: false alarms a year", f"{false:.2f}", "-", "-", false, MAX_FALSE_ALARMS)
    worst = min(shares, key=lambda name: shares[name])
    yield Finding(
        f"{scenario.name}: found by the run itself, worst: {worst}",
        f"{shares[worst]:.3f}",
        "-",
        "-",
        shares[worst],
        MIN_DETECTED_SHARE,
        at_most=False,
    )


def _repeat(
    pool: ProcessPoolExecutor, scenario: AnomalyScenario, k: float, years: int
) -> tuple[float, dict[str, float], Counter[str]]:
    sys.stderr.write(f"bands: {scenario.name}, k = {k:g} ...\n")
    kinds: Counter[str] = Counter()
    for one in pool.map(partial(count_false_alarms, scenario, k), range(years), chunksize=SEEDS_PER_WORLD):
        kinds.update(one)
    hits: dict[str, list[bool]] = {}
    for found in pool.map(
        partial(find_detected_faults, scenario, k), range(years), chunksize=SEEDS_PER_WORLD
    ):
        for name, hit in found.items():
            hits.setdefault(name, []).append(hit)
    return kinds.total() / years, {name: sum(all_) / len(all_) for name, all_ in hits.items()}, kinds


def _table(pool: ProcessPoolExecutor, years: int) -> str:
    lines = ["False alarms a year / worst share of faults found by the run itself, by factor k:"]
    for scenario in SCENARIOS[1:]:
        cells = []
        for k in (3.0, 4.0, 5.0, 6.0, 8.0):
            false, shares, _ = _repeat(pool, scenario, k, years)
            cells.append(f"k={k:g}: {false:.2f} / {min(shares.values()):.2f}")
        lines.append(f"{scenario.name:30}" + "   ".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
