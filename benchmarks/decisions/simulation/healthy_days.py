"""Simulate the metrics of imports on healthy days."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import numpy as np

from ingestion.demo.source import LISTEN_HISTORY, TRACKS, USERS, row_key
from ingestion.demo.world.world import World
from ingestion.monitoring.run_metrics import RunMetrics

ResourceCounts = dict[str, float]
DayCounts = Mapping[str, ResourceCounts]
RESOURCE_NAMES: Final = {TRACKS: "songs", USERS: "users", LISTEN_HISTORY: "listening_history"}
START: Final = datetime(2026, 1, 5, 2, 0, tzinfo=UTC)
FRIDAY, SATURDAY = 4, 5


@dataclass(frozen=True)
class MachineNoise:
    """Random variation of simulated daily runs: durations, missed days, extra runs and failed requests."""

    noise: float = 0.1  # standard deviation of the logarithm of a day's duration
    # Share of days on which machine or source is busy and a run takes 1.2 to 1.8 times as long.
    slow: float = 0.02
    missed: float = 0.01  # share of days without a run; the next one gets two days' changes
    by_hand: float = 0.01  # share of days with another run, started by hand some hours later
    bad_nights: float = 0.03  # share of nights on which up to 4 % of the requests fail once


@dataclass(frozen=True)
class SourceShape:
    """The size and habits of a source."""

    songs: int = 10_000
    users: int = 2_000
    swing: float = 0.1  # standard deviation of the logarithm of a day's listening
    weekend: float = 1.0  # factor of the plays on Saturday and Sunday
    friday: float = 1.0  # factor of the new songs on a Friday
    growth: float = 0.003


@lru_cache(maxsize=1)
def demo_source_days(seed: int, days: int, *, songs: int = 1_000, listeners: int = 200) -> list[DayCounts]:
    """Counts of an import of the demo source on each day."""
    world = World(seed=seed, songs=songs, listeners=listeners, days=30, start=date(2025, 12, 6))
    known: dict[str, dict[Any, Any]] = {}
    gone: dict[str, set[Any]] = {name: set() for name in RESOURCE_NAMES}
    found: list[DayCounts] = []
    for _ in range(days):
        tables = world.snapshot().tables
        found.append(
            {RESOURCE_NAMES[name]: _count_changes(name, tables[name], known, gone) for name in RESOURCE_NAMES}
        )
        world.advance()
    return found


def _count_changes(
    name: str, rows: Sequence[Any], known: dict[str, dict[Any, Any]], gone: dict[str, Any]
) -> ResourceCounts:
    now = {row_key(name, row): row for row in rows}
    before = known.get(name, {})
    missing = before.keys() - now.keys()
    numbers = {
        "received": float(len(now)),
        "new": float(len(now.keys() - before.keys())),
        "changed": float(sum(row is not before.get(key, row) for key, row in now.items())),
        # Reported missing by this run or the one before: rows are removed only after two.
        "missing": float(len(missing | gone[name])),
    }
    known[name], gone[name] = now, missing
    return numbers


def formula_days(shape: SourceShape, seed: int, days: int) -> list[DayCounts]:
    """The same counts from formulas, for sources of any size."""
    rng = np.random.default_rng((seed, 11))
    songs, users, sessions = float(shape.songs), float(shape.users), 20.0 * shape.users
    found: list[DayCounts] = []
    for at in range(days):
        weekday = (START + timedelta(days=at - 1)).weekday()
        listening = rng.lognormal(0, shape.swing) * (shape.weekend if weekday >= SATURDAY else 1.0)
        releases = rng.lognormal(0, 0.3) * (shape.friday if weekday == FRIDAY else 1.0)
        new = [rng.poisson(0.001 * songs * releases), rng.poisson((shape.growth + 0.001) * users),
               rng.poisson(0.6 * users * listening)]  # fmt: skip
        gone = [rng.poisson(0.0003 * songs), rng.poisson(0.001 * users), rng.poisson(0.001 * sessions)]
        songs, users, sessions = (
            max(1.0, count + came - went)
            for count, came, went in zip((songs, users, sessions), new, gone, strict=True)
        )
        changed = rng.poisson([0.002 * songs, 0.003 * users, 1.0])
        found.append(
            {
                name: {"received": count, "new": float(came), "changed": float(other), "missing": 2.0 * went}
                for name, count, came, other, went in zip(
                    RESOURCE_NAMES.values(), (songs, users, sessions), new, changed, gone, strict=True
                )
            }
        )
    return found


def simulate_runs(days: Sequence[DayCounts], machine: MachineNoise, seed: int) -> Iterator[RunMetrics]:
    """One run a day; adds the effects of machine and network."""
    rng = np.random.default_rng((seed, 12))
    waiting: list[DayCounts] = []
    before: datetime | None = None
    taken = 0.0  # share of the next day's changes that a run by hand has already imported
    run = 0
    for at, day in enumerate(days):
        waiting.append(_partial_day(day, 1 - taken))
        taken = 0.0
        if at and rng.random() < machine.missed:
            continue
        started = START + timedelta(days=at, seconds=float(rng.uniform(0, 60)))
        run += 1
        yield _make_metrics(run, started, _merge_days(waiting), machine, before, rng)
        waiting, before = [], started
        if rng.random() < machine.by_hand and at + 1 < len(days):
            run += 1
            taken = float(rng.uniform(0.01, 0.4))
            later = started + timedelta(days=taken)
            yield _make_metrics(run, later, _partial_day(days[at + 1], taken), machine, before, rng)
            before = later


def _make_metrics(
    run: int,
    started: datetime,
    day: DayCounts,
    machine: MachineNoise,
    before: datetime | None,
    rng: np.random.Generator,
) -> RunMetrics:
    metrics = RunMetrics(run, "succeeded", started, dry_run=False, accept_reset=False, trigger="schedule")
    metrics.gap_seconds = (started - before).total_seconds() if before else None
    values = {(name, resource): value for resource, one in day.items() for name, value in one.items()}
    for resource, one in day.items():
        values["rejected_share", resource] = rng.poisson(0.001 * one["received"]) / one["received"]
        # Changes happen at any time since the last run.
        values["latency_p95", resource] = 0.95 * (metrics.gap_seconds or 86_400.0) * rng.lognormal(0, 0.05)
    rows = sum(one["received"] for one in day.values())
    requests = rows / 100 + 3
    rate = rng.uniform(0, 0.04) if rng.random() < machine.bad_nights else 0.0005
    slow = rng.uniform(1.2, 1.8) if rng.random() < machine.slow else 1.0
    took = (5 + rows / 2_000) * slow * rng.lognormal(0, machine.noise)
    cpu = (1 + rows * 30e-6) * rng.lognormal(0, machine.noise / 2)
    values |= {
        ("requests", ""): requests, ("error_share", ""): rng.binomial(int(requests), rate) / requests,
        ("duration", ""): took, ("cpu_seconds", ""): cpu,
        ("peak_memory", ""): 90e6 * rng.lognormal(0, 0.05),
    }  # fmt: skip
    metrics.values = values
    return metrics


def _merge_days(days: Sequence[DayCounts]) -> DayCounts:
    """Add up the changes of several days that one run imports."""
    summed = ("new", "changed", "missing")
    return {
        name: {**numbers, **{one: sum(day[name][one] for day in days) for one in summed}}
        for name, numbers in days[-1].items()
    }


def _partial_day(day: DayCounts, share: float) -> DayCounts:
    changes = ("new", "changed")
    return {
        name: {**numbers, **{one: float(round(share * numbers[one])) for one in changes}}
        for name, numbers in day.items()
    }
