"""How often the loop decides rightly: planted effects, lived through the code that decides in production."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

from benchmarks.report import Finding, Report
from benchmarks.simulation.cluster_feedback import clustering_accuracies
from benchmarks.simulation.drift_weeks import count_listening_alarms, count_new_song_alarms, is_drift_found
from benchmarks.simulation.experiment_run import (
    EXPERIMENT_SHARE,
    DecisionRule,
    SimulatedExperiment,
    decide_by_events,
    decide_by_rounds,
    is_rolled_back,
    run_experiment,
)
from benchmarks.simulation.listener_reactions import ListenerGroup
from recommender.engine.experiments.decision_rules import DecisionOutcome, ExperimentKind

PROCESSES: Final = 2
SHARE_WITH_LOST_LISTS: Final = 0.5  # of the lists fall to the test, where .7 is planned
# What an operator may have; with fewer lives, for no target hangs on them.
ENGAGED_PER_LIST: Final = (2.1, 1.7, 0.84, 0.52)
LISTENER_COUNTS: Final = (20, 60, 200)
TABLE_DIVISOR: Final = 5


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
class DecisionScenario:
    """What is planted, which share of lives must end how; `happened` tells of one life, by its seed."""

    name: str
    occurs: Callable[[int], bool]
    target: float
    at_most: bool = False


def measure(plan: Plan) -> Report:
    """Every scenario, and the table of what an operator with other traffic may expect."""
    report = Report(asdict(plan))
    decide = decide_by_events if plan.event_level else decide_by_rounds
    with ProcessPoolExecutor(PROCESSES) as pool:
        for scenario in list_scenarios(decide):
            share = _occurrence_share(pool, scenario.occurs, plan.runs, scenario.name)
            report.findings.append(_finding(scenario, share))
        if plan.tables:
            report.notes.append(_table(pool, plan.runs, decide))
            report.notes.append(_drift_table(pool, plan.runs))
    return report


def list_scenarios(decide: DecisionRule = decide_by_rounds) -> Iterator[DecisionScenario]:
    """What must hold, at 2 engaged songs a list."""
    ended = partial(_ends_with, decide)
    few, many = ListenerGroup(), ListenerGroup(listeners=200)
    yield DecisionScenario(
        "A/A change promoted, 60 listeners",
        ended(SimulatedExperiment(), DecisionOutcome.PROMOTE),
        0.05,
        at_most=True,
    )
    yield DecisionScenario(
        "A/A change promoted, listeners' own effects 5 points",
        ended(SimulatedExperiment(crowd=replace(few, effect_deviation=0.05)), DecisionOutcome.PROMOTE),
        0.05,
        at_most=True,
    )
    yield DecisionScenario(
        "change +5 points promoted, 60 listeners, 60 days",
        ended(SimulatedExperiment(crowd=replace(few, effect=0.05)), DecisionOutcome.PROMOTE), 0.9,
    )  # fmt: skip
    yield DecisionScenario(
        "change -5 points promoted",
        ended(SimulatedExperiment(crowd=replace(few, effect=-0.05)), DecisionOutcome.PROMOTE),
        0.01,
        at_most=True,
    )
    for crowd in (replace(few, effect=-0.1), replace(many, effect=-0.05)):
        name = (
            f"refresh {crowd.effect * 100:+.0f} points rejected or rolled back, {crowd.listeners} listeners"
        )
        yield DecisionScenario(name, partial(_harm_is_stopped, decide, crowd), 0.95)
    yield DecisionScenario(
        "equal refresh promoted, 60 listeners",
        ended(SimulatedExperiment(ExperimentKind.REFRESH, few), DecisionOutcome.PROMOTE),
        0.75,
    )
    crooked = SimulatedExperiment(crowd=few, first_pick_probability=0.6)
    yield DecisionScenario("crooked coin found invalid", ended(crooked, DecisionOutcome.INVALID), 0.95)
    yield DecisionScenario(
        "crooked coin promoted", ended(crooked, DecisionOutcome.PROMOTE), 0.0, at_most=True
    )
    lost = SimulatedExperiment(ExperimentKind.REFRESH, few, share=SHARE_WITH_LOST_LISTS)
    yield DecisionScenario("lists lost, refresh: found invalid", ended(lost, DecisionOutcome.INVALID), 0.95)
    yield DecisionScenario(
        "lists lost, refresh: promoted", ended(lost, DecisionOutcome.PROMOTE), 0.0, at_most=True
    )
    yield DecisionScenario(
        "drift JS .2 found in 2 weeks, 60 listeners", partial(_drift_is_found, 0.2, 60), 0.9
    )
    yield DecisionScenario(
        "false full retrain in a stationary year", partial(_has_false_alarm, 60), 0.05, at_most=True
    )
    yield DecisionScenario(
        "60 votes a song: accuracy >= .95 after feedback", partial(_feedback_refines, 60, 0.95), 0.95
    )
    for votes in (1, 5, 20, 60):
        yield DecisionScenario(
            f"{votes} votes a song: accuracy no point lower", partial(_feedback_is_harmless, votes), 1.0
        )


def _ends_with(
    decide: DecisionRule, trial: SimulatedExperiment, wanted: DecisionOutcome
) -> Callable[[int], bool]:
    return partial(_has_outcome, decide, trial, wanted)


def _has_outcome(
    decide: DecisionRule, trial: SimulatedExperiment, wanted: DecisionOutcome, seed: int
) -> bool:
    return run_experiment(trial, seed, decide).outcome == wanted


def _harm_is_stopped(decide: DecisionRule, crowd: ListenerGroup, seed: int) -> bool:
    """A worse refresh is rejected, or promoted and rolled back to the anchor within 28 days."""
    ended = run_experiment(SimulatedExperiment(ExperimentKind.REFRESH, crowd), seed, decide)
    return ended.outcome != DecisionOutcome.PROMOTE or is_rolled_back(crowd, seed + 1_000_000)


def _drift_is_found(moved: float, listeners: int, seed: int) -> bool:
    return is_drift_found(seed, listeners=listeners, drift_distance=moved)


def _has_false_alarm(listeners: int, seed: int, *, hit_share: float = 0.0, season_share: float = 0.0) -> bool:
    """Whether listening, or the week's new songs, would cause a full retrain in a year."""
    found = count_listening_alarms(seed, listeners=listeners, hit_share=hit_share, season_share=season_share)
    return found + count_new_song_alarms(seed) > 0


def _feedback_refines(votes: int, wanted: float, seed: int) -> bool:
    return clustering_accuracies(seed, votes)[1] >= wanted


def _feedback_is_harmless(votes: int, seed: int) -> bool:
    before, after = clustering_accuracies(seed, votes)
    return after >= before - 0.01


def _table(pool: ProcessPoolExecutor, runs: int, decide: DecisionRule) -> str:
    """What holds at other traffic: no target, for an operator has the listeners there are."""
    runs = max(1, runs // TABLE_DIVISOR)
    crowds = [
        ListenerGroup(listeners=n, engaged=engaged) for engaged in ENGAGED_PER_LIST for n in LISTENER_COUNTS
    ]
    lines = [f"The same at other traffic, {runs} lives each; engaged songs a list, and listeners:"]
    lines.append(f"{'':40}" + "".join(f"{crowd.engaged:>6}" for crowd in crowds))
    lines.append(f"{'':40}" + "".join(f"{crowd.listeners:>6}" for crowd in crowds))
    for name, happened in _traffic_scenarios(decide):
        shares = [
            _occurrence_share(pool, partial(happened, crowd), runs, f"{name}, {crowd}") for crowd in crowds
        ]
        lines.append(f"{name:40}" + "".join(f"{share:>6.2f}" for share in shares))
    return "\n".join(lines)


def _traffic_scenarios(decide: DecisionRule) -> Iterator[tuple[str, Callable[[ListenerGroup, int], bool]]]:
    """The scenarios again, of any crowd."""
    for effect in (0.0, 0.05, -0.05):
        yield (
            f"change of {100 * effect:+.0f} points promoted",
            partial(_is_promoted, decide, ExperimentKind.CHANGE, effect),
        )
    for effect in (0.0, -0.05, -0.1):
        name = f"refresh of {100 * effect:+.0f} points promoted"
        yield name, partial(_is_promoted, decide, ExperimentKind.REFRESH, effect)
    for effect in (-0.05, -0.1):
        name = f"refresh of {100 * effect:+.0f} rejected or rolled back"
        yield name, partial(_is_stopped, decide, effect)
    yield "crooked coin found invalid", partial(_is_invalid, decide, 0.6, EXPERIMENT_SHARE)
    yield "half of the lists for .7: found invalid", partial(_is_invalid, decide, 0.5, SHARE_WITH_LOST_LISTS)
    yield ".6 of the lists for .7: found invalid", partial(_is_invalid, decide, 0.5, 0.6)


def _is_promoted(
    decide: DecisionRule, kind: ExperimentKind, effect: float, crowd: ListenerGroup, seed: int
) -> bool:
    return _has_outcome(
        decide, SimulatedExperiment(kind, replace(crowd, effect=effect)), DecisionOutcome.PROMOTE, seed
    )


def _is_stopped(decide: DecisionRule, effect: float, crowd: ListenerGroup, seed: int) -> bool:
    return _harm_is_stopped(decide, replace(crowd, effect=effect), seed)


def _is_invalid(decide: DecisionRule, first: float, share: float, crowd: ListenerGroup, seed: int) -> bool:
    return _has_outcome(
        decide,
        SimulatedExperiment(ExperimentKind.REFRESH, crowd, first, share),
        DecisionOutcome.INVALID,
        seed,
    )


def _drift_table(pool: ProcessPoolExecutor, runs: int) -> str:
    lines = ["Drift found within 2 weeks, by JS distance:"]
    lines.append(f"{'listeners':12}" + "".join(f"{moved:>8}" for moved in (0.1, 0.15, 0.2)))
    for listeners in LISTENER_COUNTS:
        shares = [
            _occurrence_share(
                pool,
                partial(_drift_is_found, moved, listeners),
                max(1, runs // 5),
                f"drift {moved}, {listeners}",
            )
            for moved in (0.1, 0.15, 0.2)
        ]
        lines.append(f"{listeners:<12}" + "".join(f"{share:>8.2f}" for share in shares))
    years = max(1, runs // 10)
    hits = _occurrence_share(pool, partial(_has_false_alarm, 60, hit_share=0.3), years, "weekly hits")
    lines.append(f"Years with an alarm where 30 % of each week's plays are that week's hit: {hits:.2f}")
    seasons = _occurrence_share(pool, partial(_has_false_alarm, 60, season_share=0.3), years, "seasons")
    lines.append(f"Years with an alarm where a season has 30 % of the plays at its height: {seasons:.2f}")
    return "\n".join(lines)


def _occurrence_share(
    pool: ProcessPoolExecutor, happened: Callable[[int], bool], runs: int, name: str
) -> float:
    sys.stderr.write(f"calibration: {name} ...\n")
    return sum(pool.map(happened, range(runs), chunksize=max(1, runs // 20))) / runs


def _finding(scenario: DecisionScenario, share: float) -> Finding:
    return Finding(scenario.name, f"{share:.3f}", "-", "-", share, scenario.target, at_most=scenario.at_most)


def plan_from_arguments(chosen: Any) -> Plan:
    """From the command line."""
    runs = 20 if chosen.quick else chosen.runs
    return Plan(runs=runs, event_level=chosen.event_level, tables=not (chosen.quick or chosen.event_level))
