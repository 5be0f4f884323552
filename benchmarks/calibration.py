"""Error rates of experiments, drift checks and cluster feedback, in simulations with planted effects.

The simulations call the code that decides in production.
"""

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
SHARE_WITH_LOST_LISTS: Final = 0.5  # of the lists in the experiment, instead of the planned .7
# Other traffic that an operator may have; without targets, hence with fewer simulations.
ENGAGED_PER_LIST: Final = (2.1, 1.7, 0.84, 0.52)
LISTENER_COUNTS: Final = (20, 60, 200)
TABLE_DIVISOR: Final = 5


@dataclass(frozen=True)
class Plan:
    """How many simulations per scenario."""

    runs: int = 500
    # Decide by single events, which is wrong: the targets must then be missed.
    event_level: bool = False
    tables: bool = True  # also print tables for other traffic


@dataclass(frozen=True)
class DecisionScenario:
    """A planted effect and the share of simulations that must end as `occurs` says."""

    name: str
    occurs: Callable[[int], bool]
    target: float
    at_most: bool = False


def measure(plan: Plan) -> Report:
    """All scenarios, and tables for other numbers of listeners."""
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
    """The scenarios with targets, at 2 engaged songs a list."""
    ended = partial(_ends_with, decide)
    few, many = ListenerGroup(), ListenerGroup(listeners=200)
    yield DecisionScenario(
        "A/A change promoted, 60 listeners",
        ended(SimulatedExperiment(), DecisionOutcome.PROMOTE),
        0.05,
        at_most=True,
    )
    yield DecisionScenario(
        "A/A change promoted, effects vary by 5 points between listeners",
        ended(SimulatedExperiment(group=replace(few, effect_deviation=0.05)), DecisionOutcome.PROMOTE),
        0.05,
        at_most=True,
    )
    yield DecisionScenario(
        "change +5 points promoted, 60 listeners, 60 days",
        ended(SimulatedExperiment(group=replace(few, effect=0.05)), DecisionOutcome.PROMOTE), 0.9,
    )  # fmt: skip
    yield DecisionScenario(
        "change -5 points promoted",
        ended(SimulatedExperiment(group=replace(few, effect=-0.05)), DecisionOutcome.PROMOTE),
        0.01,
        at_most=True,
    )
    for group in (replace(few, effect=-0.1), replace(many, effect=-0.05)):
        name = (
            f"refresh {group.effect * 100:+.0f} points rejected or rolled back, {group.listeners} listeners"
        )
        yield DecisionScenario(name, partial(_harm_is_stopped, decide, group), 0.95)
    yield DecisionScenario(
        "equal refresh promoted, 60 listeners",
        ended(SimulatedExperiment(ExperimentKind.REFRESH, few), DecisionOutcome.PROMOTE),
        0.75,
    )
    biased = SimulatedExperiment(group=few, first_pick_probability=0.6)
    yield DecisionScenario("biased allocation found invalid", ended(biased, DecisionOutcome.INVALID), 0.95)
    yield DecisionScenario(
        "biased allocation promoted", ended(biased, DecisionOutcome.PROMOTE), 0.0, at_most=True
    )
    lost = SimulatedExperiment(ExperimentKind.REFRESH, few, share=SHARE_WITH_LOST_LISTS)
    yield DecisionScenario("lists lost, refresh: found invalid", ended(lost, DecisionOutcome.INVALID), 0.95)
    yield DecisionScenario(
        "lists lost, refresh: promoted", ended(lost, DecisionOutcome.PROMOTE), 0.0, at_most=True
    )
    yield DecisionScenario(
        "drift of JS distance .2 found in 2 weeks, 60 listeners", partial(_drift_is_found, 0.2, 60), 0.9
    )
    yield DecisionScenario(
        "full retrain in a year without drift", partial(_has_false_alarm, 60), 0.05, at_most=True
    )
    yield DecisionScenario(
        "60 votes per song: accuracy >= .95 after feedback", partial(_feedback_refines, 60, 0.95), 0.95
    )
    for votes in (1, 5, 20, 60):
        yield DecisionScenario(
            f"{votes} votes per song: accuracy not a point lower", partial(_feedback_is_harmless, votes), 1.0
        )


def _ends_with(
    decide: DecisionRule, experiment: SimulatedExperiment, expected: DecisionOutcome
) -> Callable[[int], bool]:
    return partial(_has_outcome, decide, experiment, expected)


def _has_outcome(
    decide: DecisionRule, experiment: SimulatedExperiment, expected: DecisionOutcome, seed: int
) -> bool:
    return run_experiment(experiment, seed, decide).outcome == expected


def _harm_is_stopped(decide: DecisionRule, group: ListenerGroup, seed: int) -> bool:
    """A worse refresh is rejected, or promoted and rolled back within 28 days."""
    ended = run_experiment(SimulatedExperiment(ExperimentKind.REFRESH, group), seed, decide)
    return ended.outcome != DecisionOutcome.PROMOTE or is_rolled_back(group, seed + 1_000_000)


def _drift_is_found(distance: float, listeners: int, seed: int) -> bool:
    return is_drift_found(seed, listeners=listeners, drift_distance=distance)


def _has_false_alarm(listeners: int, seed: int, *, hit_share: float = 0.0, season_share: float = 0.0) -> bool:
    """Whether listening or new songs would start a full retrain within a year without drift."""
    found = count_listening_alarms(seed, listeners=listeners, hit_share=hit_share, season_share=season_share)
    return found + count_new_song_alarms(seed) > 0


def _feedback_refines(votes: int, expected: float, seed: int) -> bool:
    return clustering_accuracies(seed, votes)[1] >= expected


def _feedback_is_harmless(votes: int, seed: int) -> bool:
    before, after = clustering_accuracies(seed, votes)
    return after >= before - 0.01


def _table(pool: ProcessPoolExecutor, runs: int, decide: DecisionRule) -> str:
    """Without targets: an operator cannot choose the number of listeners."""
    runs = max(1, runs // TABLE_DIVISOR)
    groups = [
        ListenerGroup(listeners=n, engaged=engaged) for engaged in ENGAGED_PER_LIST for n in LISTENER_COUNTS
    ]
    lines = [f"Shares at other traffic, {runs} simulations each; columns: engaged songs per list, listeners"]
    lines.append(f"{'':40}" + "".join(f"{group.engaged:>6}" for group in groups))
    lines.append(f"{'':40}" + "".join(f"{group.listeners:>6}" for group in groups))
    for name, happened in _traffic_scenarios(decide):
        shares = [
            _occurrence_share(pool, partial(happened, group), runs, f"{name}, {group}") for group in groups
        ]
        lines.append(f"{name:40}" + "".join(f"{share:>6.2f}" for share in shares))
    return "\n".join(lines)


def _traffic_scenarios(decide: DecisionRule) -> Iterator[tuple[str, Callable[[ListenerGroup, int], bool]]]:
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
    yield "biased allocation found invalid", partial(_is_invalid, decide, 0.6, EXPERIMENT_SHARE)
    yield (
        "half of the lists instead of .7: found invalid",
        partial(_is_invalid, decide, 0.5, SHARE_WITH_LOST_LISTS),
    )
    yield ".6 of the lists instead of .7: found invalid", partial(_is_invalid, decide, 0.5, 0.6)


def _is_promoted(
    decide: DecisionRule, kind: ExperimentKind, effect: float, group: ListenerGroup, seed: int
) -> bool:
    return _has_outcome(
        decide, SimulatedExperiment(kind, replace(group, effect=effect)), DecisionOutcome.PROMOTE, seed
    )


def _is_stopped(decide: DecisionRule, effect: float, group: ListenerGroup, seed: int) -> bool:
    return _harm_is_stopped(decide, replace(group, effect=effect), seed)


def _is_invalid(decide: DecisionRule, first: float, share: float, group: ListenerGroup, seed: int) -> bool:
    return _has_outcome(
        decide,
        SimulatedExperiment(ExperimentKind.REFRESH, group, first, share),
        DecisionOutcome.INVALID,
        seed,
    )


def _drift_table(pool: ProcessPoolExecutor, runs: int) -> str:
    lines = ["Share of drifts found within 2 weeks; columns: JS distance"]
    lines.append(f"{'listeners':12}" + "".join(f"{distance:>8}" for distance in (0.1, 0.15, 0.2)))
    for listeners in LISTENER_COUNTS:
        shares = [
            _occurrence_share(
                pool,
                partial(_drift_is_found, distance, listeners),
                max(1, runs // 5),
                f"drift {distance}, {listeners}",
            )
            for distance in (0.1, 0.15, 0.2)
        ]
        lines.append(f"{listeners:<12}" + "".join(f"{share:>8.2f}" for share in shares))
    years = max(1, runs // 10)
    hits = _occurrence_share(pool, partial(_has_false_alarm, 60, hit_share=0.3), years, "weekly hits")
    lines.append(
        f"Share of years with a false alarm if 30 % of each week's plays are of that week's hits: {hits:.2f}"
    )
    seasons = _occurrence_share(pool, partial(_has_false_alarm, 60, season_share=0.3), years, "seasons")
    lines.append(f"Share of years with a false alarm if a season peaks at 30 % of the plays: {seasons:.2f}")
    return "\n".join(lines)


def _occurrence_share(
    pool: ProcessPoolExecutor, happened: Callable[[int], bool], runs: int, name: str
) -> float:
    sys.stderr.write(f"calibration: {name} ...\n")
    return sum(pool.map(happened, range(runs), chunksize=max(1, runs // 20))) / runs


def _finding(scenario: DecisionScenario, share: float) -> Finding:
    return Finding(scenario.name, f"{share:.3f}", "-", "-", share, scenario.target, at_most=scenario.at_most)


def plan_from_arguments(chosen: Any) -> Plan:
    runs = 20 if chosen.quick else chosen.runs
    return Plan(runs=runs, event_level=chosen.event_level, tables=not (chosen.quick or chosen.event_level))
