"""Years of runs through the code that judges them in production: python -m benchmarks._bands YEARS 0|1.

Prints findings and notes as JSON; in a process of its own, since that code reads Django's models.
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

from benchmarks._days import (
    Machine,
    Shape,
    days_of_shape,
    days_of_twin,
    lived,
)
from benchmarks.report import Finding
from ingestion.monitoring.anomaly_detection import (
    K,
    judge_account,
)
from ingestion.monitoring.run_metrics import Account

PROCESSES: Final = 2
# The twin takes a minute a year: so many lives of the machine share its days.
SAME_DAYS: Final = 4
YEAR: Final = 365
HISTORY: Final = "listening_history"
# When a fault is planted: as soon as the bands judge, and when they know the weekdays.
EARLY, LATE = 12, 60
# Ten times nothing is nothing.
LEAST_NEWS: Final = 3
Plant = Callable[[Account, list[Account]], None]
MOST_FALSE: Final = 0.2  # a year: one in five years
LEAST_FOUND: Final = 0.95


@dataclass(frozen=True)
class Scenario:
    """Healthy days: of the twin itself, or by formula; a limit shows what cannot be told apart any more."""

    name: str
    machine: Machine = field(default_factory=Machine)
    shape: Shape | None = None
    is_limit: bool = False

    def runs(self, seed: int, days: int) -> list[Account]:
        made = days_of_shape(self.shape, seed, days) if self.shape else days_of_twin(seed // SAME_DAYS, days)
        return list(lived(made, self.machine, seed))


SCENARIOS: Final = (
    Scenario("the twin, 1 000 songs"),
    Scenario("by formula, 10 000 songs", shape=Shape()),
    Scenario("weekends x 1.5, Fridays x 5", shape=Shape(weekend=1.5, friday=5.0)),
    Scenario("listening swings by 25 %", shape=Shape(swing=0.25)),
    Scenario("100 songs, 30 listeners", shape=Shape(100, 30)),
    Scenario("1 000 000 songs", shape=Shape(1_000_000, 200_000)),
    Scenario("busy machine: noise 20 %", machine=Machine(noise=0.2, slow=0.05), shape=Shape(), is_limit=True),
    Scenario("flaky network, missed days", machine=Machine(missed=0.05, bad_nights=0.2), shape=Shape()),
)


def _half_the_songs(account: Account, _: list[Account]) -> None:
    songs = account.values["received", "songs"]
    account.values["received", "songs"] = songs / 2
    account.values["missing", "songs"] = songs / 2


def _slower(account: Account, _: list[Account]) -> None:
    account.values["duration", ""] *= 3.0


def _ten_times(resource: str, account: Account, past: list[Account]) -> None:
    """Of what is usual, also on a day that would have brought less."""
    usual = median(one.values["new", resource] for one in past)
    account.values["new", resource] = 10.0 * max(usual, account.values["new", resource])


def _nothing_new(account: Account, _: list[Account]) -> None:
    account.values["new", HISTORY] = 0.0


def _bad_rows(account: Account, _: list[Account]) -> None:
    account.values["rejected_share", "songs"] = 0.3


FAULTS: Final[dict[str, tuple[Plant, str]]] = {
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


def alarms(scenario: Scenario, k: float, seed: int) -> Counter[str]:
    """Sure departures in one healthy year, by measure; one that lasts is one, as its incident is."""
    runs = scenario.runs(seed, YEAR)
    found: Counter[str] = Counter()
    open_before: set[str] = set()
    for at in range(len(runs)):
        now = set(_sure(runs, at, k))
        found.update(now - open_before)
        open_before = now
    return found


def caught(scenario: Scenario, k: float, seed: int) -> dict[str, bool]:
    """Which planted faults the run itself shows, early and late in a history."""
    runs = scenario.runs(seed, LATE + 10)
    found = {}
    for name, (plant, resource) in FAULTS.items():
        for when, day in (("early", EARLY), ("late", LATE)):
            at = _next_daily(runs, day)
            ill = deepcopy(runs[at])
            if ill.values.get(("new", resource), LEAST_NEWS) < LEAST_NEWS and "new" in name:
                continue
            plant(ill, runs[at - 8 : at])
            keys = _sure([*runs[:at], ill], at, k)
            found[f"{name}, {when}"] = any(key.endswith(f":{resource}") for key in keys)
    return found


def _next_daily(runs: list[Account], at: int) -> int:
    """Not a run by hand, which has no news to lack."""
    return next(place for place in range(at, len(runs)) if (runs[place].gap or 0) > 80_000)


def _sure(runs: list[Account], at: int, k: float) -> Iterator[str]:
    # As many as the window holds, and some by hand: the rest is cut off anyway.
    past = runs[max(0, at - 60) : at]
    return (f"{one.measure}:{one.resource}" for one in judge_account(runs[at], past, {}, k=k) if one.is_sure)


def _findings(pool: ProcessPoolExecutor, scenario: Scenario, years: int) -> Iterator[Finding]:
    false, shares, kinds = _lives(pool, scenario, K, years)
    if kinds:
        sys.stderr.write(f"  {dict(kinds)}\n")
    yield Finding(f"{scenario.name}: false alarms a year", f"{false:.2f}", "-", "-", false, MOST_FALSE)
    worst = min(shares, key=lambda name: shares[name])
    yield Finding(
        f"{scenario.name}: found at once, worst: {worst}", f"{shares[worst]:.3f}", "-", "-", shares[worst],
        LEAST_FOUND, at_most=False,
    )  # fmt: skip


def _lives(
    pool: ProcessPoolExecutor, scenario: Scenario, k: float, years: int
) -> tuple[float, dict[str, float], Counter[str]]:
    sys.stderr.write(f"bands: {scenario.name}, k = {k:g} ...\n")
    kinds: Counter[str] = Counter()
    for one in pool.map(partial(alarms, scenario, k), range(years), chunksize=SAME_DAYS):
        kinds.update(one)
    hits: dict[str, list[bool]] = {}
    for found in pool.map(partial(caught, scenario, k), range(years), chunksize=SAME_DAYS):
        for name, hit in found.items():
            hits.setdefault(name, []).append(hit)
    return kinds.total() / years, {name: sum(all_) / len(all_) for name, all_ in hits.items()}, kinds


def _table(pool: ProcessPoolExecutor, years: int) -> str:
    """What other widths would do."""
    lines = ["False alarms a year / worst share of faults found at once, by k:"]
    for scenario in SCENARIOS[1:]:
        cells = []
        for k in (3.0, 4.0, 5.0, 6.0, 8.0):
            false, shares, _ = _lives(pool, scenario, k, years)
            cells.append(f"k={k:g}: {false:.2f} / {min(shares.values()):.2f}")
        lines.append(f"{scenario.name:30}" + "   ".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
