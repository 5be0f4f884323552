"""How often the loop decides rightly: planted effects, lived through the code that decides in production."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

from benchmarks._clusters import accuracies
from benchmarks._listening import Crowd
from benchmarks._trial import TEST_SHARE, Decide, Trial, by_events, by_rounds, is_brought_back, live
from benchmarks._weeks import false_alarms, false_alarms_of_songs, is_found
from benchmarks.report import Finding, Report
from recommender.engine.experiments.decision_rules import Kind, Outcome

PROCESSES: Final = 2
LOST: Final = 0.5  # of the lists fall to the test, where .7 is planned
# What an operator may have; with fewer lives, for no target hangs on them.
ENGAGED: Final = (2.1, 1.7, 0.84, 0.52)
LISTENERS: Final = (20, 60, 200)
FEWER: Final = 5


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
    lost = Trial(Kind.REFRESH, few, share=LOST)
    yield Scenario("lists lost, refresh: found invalid", ended(lost, Outcome.INVALID), 0.95)
    yield Scenario("lists lost, refresh: promoted", ended(lost, Outcome.PROMOTE), 0.0, at_most=True)
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
    """Whether listening, or the week's new songs, would cause a full retrain in a year."""
    found = false_alarms(seed, listeners=listeners, hit=hit, season=season)
    return found + false_alarms_of_songs(seed) > 0


def _refines(votes: int, wanted: float, seed: int) -> bool:
    return accuracies(seed, votes)[1] >= wanted


def _harmless(votes: int, seed: int) -> bool:
    before, after = accuracies(seed, votes)
    return after >= before - 0.01


def _table(pool: ProcessPoolExecutor, runs: int, decide: Decide) -> str:
    """What holds at other traffic: no target, for an operator has the listeners there are."""
    runs = max(1, runs // FEWER)
    crowds = [Crowd(listeners=n, engaged=engaged) for engaged in ENGAGED for n in LISTENERS]
    lines = [f"The same at other traffic, {runs} lives each; engaged songs a list, and listeners:"]
    lines.append(f"{'':40}" + "".join(f"{crowd.engaged:>6}" for crowd in crowds))
    lines.append(f"{'':40}" + "".join(f"{crowd.listeners:>6}" for crowd in crowds))
    for name, happened in _at_other_traffic(decide):
        shares = [_share(pool, partial(happened, crowd), runs, f"{name}, {crowd}") for crowd in crowds]
        lines.append(f"{name:40}" + "".join(f"{share:>6.2f}" for share in shares))
    return "\n".join(lines)


def _at_other_traffic(decide: Decide) -> Iterator[tuple[str, Callable[[Crowd, int], bool]]]:
    """The scenarios again, of any crowd."""
    for effect in (0.0, 0.05, -0.05):
        yield (
            f"change of {100 * effect:+.0f} points promoted",
            partial(_promoted, decide, Kind.CHANGE, effect),
        )
    for effect in (0.0, -0.05, -0.1):
        name = f"refresh of {100 * effect:+.0f} points promoted"
        yield name, partial(_promoted, decide, Kind.REFRESH, effect)
    for effect in (-0.05, -0.1):
        name = f"refresh of {100 * effect:+.0f} rejected or rolled back"
        yield name, partial(_stopped, decide, effect)
    yield "crooked coin found invalid", partial(_invalid, decide, 0.6, TEST_SHARE)
    yield "half of the lists for .7: found invalid", partial(_invalid, decide, 0.5, LOST)
    yield ".6 of the lists for .7: found invalid", partial(_invalid, decide, 0.5, 0.6)


def _promoted(decide: Decide, kind: Kind, effect: float, crowd: Crowd, seed: int) -> bool:
    return _ends_so(decide, Trial(kind, replace(crowd, effect=effect)), Outcome.PROMOTE, seed)


def _stopped(decide: Decide, effect: float, crowd: Crowd, seed: int) -> bool:
    return _harm_ends(decide, replace(crowd, effect=effect), seed)


def _invalid(decide: Decide, first: float, share: float, crowd: Crowd, seed: int) -> bool:
    return _ends_so(decide, Trial(Kind.REFRESH, crowd, first, share), Outcome.INVALID, seed)


def _drift_table(pool: ProcessPoolExecutor, runs: int) -> str:
    lines = ["Drift found within 2 weeks, by JS distance:"]
    lines.append(f"{'listeners':12}" + "".join(f"{moved:>8}" for moved in (0.1, 0.15, 0.2)))
    for listeners in LISTENERS:
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
