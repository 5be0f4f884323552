"""How often the loop decides rightly: planted effects, lived through the code that decides in production."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

from benchmarks._clusters import accuracies
from benchmarks._listening import Crowd
from benchmarks._trial import Decide, Trial, by_events, by_rounds, is_brought_back, live
from benchmarks._weeks import false_alarms, is_found
from benchmarks.report import Finding, Report
from recommender.engine.verdicts import Kind, Outcome

PROCESSES: Final = 2


@dataclass(frozen=True)
class Plan:
    """How many lives of each scenario.

    Attributes:
        event_level: decide by single events, as must not be done; the table must then miss its targets.
        tables: also print what holds for fewer listeners and less engagement, without targets.
    """

    runs: int = 500
    event_level: bool = False
    tables: bool = True


@dataclass(frozen=True)
class Scenario:
    """What is planted, which share of lives must end how; `happened` tells of one life, by its seed."""

    name: str
    happened: Callable[[int], bool]
    target: float
    at_most: bool = False


def measure(plan: Plan) -> Report:
    """Every scenario, and the table of what an operator with other traffic may expect."""
    report = Report(asdict(plan))
    decide = by_events if plan.event_level else by_rounds
    with ProcessPoolExecutor(PROCESSES) as pool:
        for scenario in scenarios(decide):
            share = _share(pool, scenario.happened, plan.runs, scenario.name)
            report.findings.append(_finding(scenario, share))
        if plan.tables:
            report.notes.append(_table(pool, plan.runs, decide))
            report.notes.append(_drift_table(pool, plan.runs))
    return report


def scenarios(decide: Decide = by_rounds) -> Iterator[Scenario]:
    """What must hold, at 2 engaged songs a list."""
    ended = partial(_ended, decide)
    few, many = Crowd(), Crowd(listeners=200)
    yield Scenario("A/A change promoted, 60 listeners", ended(Trial(), Outcome.PROMOTE), 0.05, at_most=True)
    yield Scenario(
        "A/A change promoted, listeners' own effects 5 points",
        ended(Trial(crowd=replace(few, spread=0.05)), Outcome.PROMOTE), 0.05, at_most=True,
    )  # fmt: skip
    yield Scenario(
        "change +5 points promoted, 60 listeners, 60 days",
        ended(Trial(crowd=replace(few, effect=0.05)), Outcome.PROMOTE), 0.9,
    )  # fmt: skip
    yield Scenario(
        "change -5 points promoted", ended(Trial(crowd=replace(few, effect=-0.05)), Outcome.PROMOTE), 0.01,
        at_most=True,
    )  # fmt: skip
    for crowd in (replace(few, effect=-0.1), replace(many, effect=-0.05)):
        name = (
            f"refresh {crowd.effect * 100:+.0f} points rejected or rolled back, {crowd.listeners} listeners"
        )
        yield Scenario(name, partial(_harm_ends, decide, crowd), 0.95)
    yield Scenario(
        "equal refresh promoted, 60 listeners", ended(Trial(Kind.REFRESH, few), Outcome.PROMOTE), 0.75
    )
    crooked = Trial(crowd=few, first=0.6)
    yield Scenario("crooked coin found invalid", ended(crooked, Outcome.INVALID), 0.95)
    yield Scenario("crooked coin promoted", ended(crooked, Outcome.PROMOTE), 0.0, at_most=True)
    yield Scenario("drift JS .2 found in 2 weeks, 60 listeners", partial(_drifts, 0.2, 60), 0.9)
    yield Scenario("false full retrain in a stationary year", partial(_cries, 60), 0.05, at_most=True)
    yield Scenario("60 votes a song: accuracy >= .95 after feedback", partial(_refines, 60, 0.95), 0.95)
    for votes in (1, 5, 20, 60):
        yield Scenario(f"{votes} votes a song: accuracy no point lower", partial(_harmless, votes), 1.0)


def _ended(decide: Decide, trial: Trial, wanted: Outcome) -> Callable[[int], bool]:
    return partial(_ends_so, decide, trial, wanted)


def _ends_so(decide: Decide, trial: Trial, wanted: Outcome, seed: int) -> bool:
    return live(trial, seed, decide).outcome == wanted


def _harm_ends(decide: Decide, crowd: Crowd, seed: int) -> bool:
    """A worse refresh is rejected, or promoted and rolled back to the anchor within 28 days."""
    ended = live(Trial(Kind.REFRESH, crowd), seed, decide)
    return ended.outcome != Outcome.PROMOTE or is_brought_back(crowd, seed + 1_000_000)


def _drifts(moved: float, listeners: int, seed: int) -> bool:
    return is_found(seed, listeners=listeners, moved=moved)


def _cries(listeners: int, seed: int, *, hit: float = 0.0, season: float = 0.0) -> bool:
    return false_alarms(seed, listeners=listeners, hit=hit, season=season) > 0


def _refines(votes: int, wanted: float, seed: int) -> bool:
    return accuracies(seed, votes)[1] >= wanted


def _harmless(votes: int, seed: int) -> bool:
    before, after = accuracies(seed, votes)
    return after >= before - 0.01


def _table(pool: ProcessPoolExecutor, runs: int, decide: Decide) -> str:
    """What holds at other traffic: no target, for an operator has the listeners there are."""
    lines = ["Change of +5 points promoted in 60 days / refresh of -5 promoted / equal refresh promoted:"]
    lines.append(f"{'engaged songs a list':22}" + "".join(f"{n:>5} listeners     " for n in (20, 60, 200)))
    for engaged in (2.1, 1.7, 0.84, 0.52):
        cells = []
        for listeners in (20, 60, 200):
            crowd = Crowd(listeners=listeners, engaged=engaged)
            trials = (
                Trial(Kind.CHANGE, replace(crowd, effect=0.05)),
                Trial(Kind.REFRESH, replace(crowd, effect=-0.05)),
                Trial(Kind.REFRESH, crowd),
            )
            shares = [
                _share(pool, _ended(decide, trial, Outcome.PROMOTE), runs, f"{engaged}, {listeners}")
                for trial in trials
            ]
            cells.append(" / ".join(f"{share:.2f}" for share in shares))
        lines.append(f"{engaged:<22}" + "  ".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def _drift_table(pool: ProcessPoolExecutor, runs: int) -> str:
    lines = ["Drift found within 2 weeks, by JS distance:"]
    lines.append(f"{'listeners':12}" + "".join(f"{moved:>8}" for moved in (0.1, 0.15, 0.2)))
    for listeners in (60, 200):
        shares = [
            _share(pool, partial(_drifts, moved, listeners), max(1, runs // 5), f"drift {moved}, {listeners}")
            for moved in (0.1, 0.15, 0.2)
        ]
        lines.append(f"{listeners:<12}" + "".join(f"{share:>8.2f}" for share in shares))
    years = max(1, runs // 10)
    hits = _share(pool, partial(_cries, 60, hit=0.3), years, "weekly hits")
    lines.append(f"Years with an alarm where 30 % of each week's plays are that week's hit: {hits:.2f}")
    seasons = _share(pool, partial(_cries, 60, season=0.3), years, "seasons")
    lines.append(f"Years with an alarm where a season has 30 % of the plays at its height: {seasons:.2f}")
    return "\n".join(lines)


def _share(pool: ProcessPoolExecutor, happened: Callable[[int], bool], runs: int, name: str) -> float:
    sys.stderr.write(f"calibration: {name} ...\n")
    return sum(pool.map(happened, range(runs), chunksize=max(1, runs // 20))) / runs


def _finding(scenario: Scenario, share: float) -> Finding:
    return Finding(scenario.name, f"{share:.3f}", "-", "-", share, scenario.target, at_most=scenario.at_most)


def plan_of(chosen: Any) -> Plan:
    """From the command line."""
    runs = 20 if chosen.quick else chosen.runs
    return Plan(runs=runs, event_level=chosen.event_level, tables=not (chosen.quick or chosen.event_level))
