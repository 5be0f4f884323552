"""Error rates of experiments, drift checks and cluster feedback, in simulations with planted effects.

The simulations call the code that decides in production.
"""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import orjson

from benchmarks.decisions.simulation.cluster_feedback import clustering_accuracies
from benchmarks.decisions.simulation.drift_weeks import (
    count_listening_alarms,
    count_new_song_alarms,
    is_drift_found,
    is_slow_drift_found,
)
from benchmarks.decisions.simulation.engagement_years import count_false_incidents, is_fall_found
from benchmarks.decisions.simulation.experiment_run import (
    EXPERIMENT_SHARE,
    DecisionRule,
    SimulatedExperiment,
    decide_by_events,
    decide_by_rounds,
    is_rolled_back,
    run_experiment,
)
from benchmarks.decisions.simulation.failing_challenger import day_of_stop
from benchmarks.decisions.simulation.listener_reactions import ListenerGroup
from benchmarks.decisions.simulation.ratchet import simulate_ratchet
from benchmarks.decisions.simulation.yardstick_years import is_fall_reported
from benchmarks.report import Finding, Report
from benchmarks.workspace import SQLiteFiles, temporary_workspace
from recommender.engine.experiments.evidence import DecisionOutcome, ExperimentKind

PROCESSES: Final = 2
SHARE_WITH_LOST_LISTS: Final = 0.5  # of the lists in the experiment, instead of the planned .7
# Other traffic that an operator may have; without targets, hence with fewer simulations.
ENGAGED_PER_LIST: Final = (2.1, 1.7, 0.84, 0.52)
LISTENER_COUNTS: Final = (20, 60, 200)
TABLE_DIVISOR: Final = 5
WEEKS_TO_INCIDENT: Final = 12
WEEKENDS: Final = (0.6, 1.0, 1.4, 2.0)  # engagement at weekends, relative to other days


@dataclass(frozen=True)
class Plan:
    """How many simulations per scenario."""

    runs: int = 500
    # Decide by single events, which is wrong: the targets must then be missed.
    event_level: bool = False
    tables: bool = True  # also print tables for other traffic
    database_experiments: int = 100  # that also run through the database


@dataclass(frozen=True)
class DecisionScenario:
    """A planted effect and the share of simulations that must end as `occurs` says, or its mean."""

    name: str
    occurs: Callable[[int], int]
    target: float
    at_most: bool = False
    runs: float = 1.0  # simulations, relative to the plan: large groups take longer


def measure(plan: Plan) -> Report:
    """Simulate all scenarios and other numbers of listeners; results are printed as they come."""
    report = Report(asdict(plan))
    decide = decide_by_events if plan.event_level else decide_by_rounds
    scenarios = [*list_scenarios(decide)]
    with ProcessPoolExecutor(PROCESSES) as pool:
        began = time.monotonic()
        for place, scenario in enumerate(scenarios, 1):
            runs = max(1, round(plan.runs * scenario.runs))
            share = _occurrence_share(pool, scenario.occurs, runs, scenario.name)
            finding = _finding(scenario, share)
            report.findings.append(finding)
            left = (time.monotonic() - began) / place * (len(scenarios) - place)
            ends = datetime.now(UTC) + timedelta(seconds=left)
            sys.stderr.write(
                f"{place:>3} of {len(scenarios)}  {' | '.join(finding.cells())}  "
                f"({runs} simulations; ends about {ends:%H:%M} UTC)\n"
            )
        if plan.tables:
            for table in (_loop_table, _table, _drift_table):
                report.notes.append(table(pool, plan.runs, decide))
                sys.stderr.write(f"{report.notes[-1]}\n")
    if plan.database_experiments:
        report.findings.append(_compare_with_tables(plan.database_experiments))
    return report


def list_scenarios(decide: DecisionRule = decide_by_rounds) -> Iterator[DecisionScenario]:
    """The scenarios with targets, at 2 engaged songs a list."""
    yield from _change_scenarios(decide)
    yield from _refresh_scenarios(decide)
    yield from _fault_scenarios(decide)
    yield from _engagement_scenarios()
    yield from _yardstick_scenarios()
    yield DecisionScenario(
        "drift of JS distance .2 found in 2 weeks, 60 listeners", partial(_drift_is_found, 0.2, 60), 0.9
    )
    yield DecisionScenario(
        "F12 drift of half of the plays over 20 weeks found, 60 listeners",
        partial(is_slow_drift_found, listeners=60), 0.75, runs=0.2,
    )  # fmt: skip
    yield DecisionScenario(
        "full retrain in a year without drift", partial(_has_false_alarm, 60), 0.05, at_most=True, runs=0.2
    )
    yield DecisionScenario(
        "60 votes per song: accuracy >= .95 after feedback", partial(_feedback_refines, 60, 0.95), 0.95
    )
    for votes in (1, 5, 20, 60):
        yield DecisionScenario(
            f"{votes} votes per song: accuracy not a point lower", partial(_feedback_is_harmless, votes), 1.0
        )


def _change_scenarios(decide: DecisionRule) -> Iterator[DecisionScenario]:
    promoted = partial(_promoted, decide, ExperimentKind.CHANGE)
    few = ListenerGroup()
    many = replace(few, listeners=200)
    yield _at_most("A/A change promoted, 60 listeners", promoted(few), 0.05)
    yield _at_most(
        "A/A change promoted, effects vary by 5 points between listeners",
        promoted(replace(few, effect_deviation=0.05)), 0.05,
    )  # fmt: skip
    yield DecisionScenario(
        "change +5 points promoted, 60 listeners, 60 days", promoted(replace(few, effect=0.05)), 0.9
    )
    yield DecisionScenario(
        "change +5 points promoted, 240 listeners who come every fourth day",
        promoted(ListenerGroup(listeners=240, effect=0.05, visit_probability=0.25)), 0.9, runs=0.5,
    )  # fmt: skip
    yield _at_most("change -5 points promoted", promoted(replace(few, effect=-0.05)), 0.01)
    for group in (few, many):
        fad = replace(group, effect=-0.05, novelty=0.15)
        yield _at_most(
            f"F4 fad of 14 days (+10, then -5) as a change promoted, {group.listeners} listeners",
            promoted(fad), 0.1,
        )  # fmt: skip
    yield _at_most(
        "F5 3 fans of 60, the others at -5: promoted", promoted(replace(few, fans=3, effect=-0.05)), 0.15
    )
    for group in (few, many):
        long_fad = replace(group, effect=-0.05, novelty=0.15, novelty_days=20)
        yield _at_most(
            f"F4 fad of 20 days as a change promoted, {group.listeners} listeners", promoted(long_fad), 0.15
        )
    for group in (few, many):
        bots = group.listeners // 10
        yield _at_most(
            f"F5 {bots} bots of {group.listeners}, the others at 0: promoted",
            promoted(replace(group, fans=bots)), 0.15,
        )  # fmt: skip
    rare = replace(many, fans=20, visit_probability=0.05)
    yield _at_most(
        "F5 20 bots of 200, who all come every twentieth day, the others at 0: promoted", promoted(rare), 0.15
    )
    heavy = ListenerGroup(listeners=500, effect_deviation=0.1, activity_deviation=1.2, visit_probability=0.4)
    yield DecisionScenario(
        "F5 500 listeners with heavy tails, mean effect 0: promoted", promoted(heavy), 0.1, True, runs=0.2
    )


def _refresh_scenarios(decide: DecisionRule) -> Iterator[DecisionScenario]:
    promoted = partial(_promoted, decide, ExperimentKind.REFRESH)
    few = ListenerGroup()
    many = replace(few, listeners=200)
    yield DecisionScenario("F1 equal refresh promoted, 60 listeners", promoted(few), 0.78)
    yield DecisionScenario("F1 equal refresh promoted, 200 listeners", promoted(many), 0.9, runs=0.5)
    yield DecisionScenario(
        "equal refresh promoted, weekends x 1.4", promoted(replace(few, weekend=1.4)), 0.75
    )
    yield _at_most(
        "F1 fad of 3 days (+10, then -5) as a refresh promoted, 60 listeners",
        promoted(replace(few, effect=-0.05, novelty=0.15, novelty_days=3)), 0.2,
    )  # fmt: skip
    yield _at_most(
        "F1 slow burn (equal for 4 days, then -10) promoted, 60 listeners",
        promoted(replace(few, effect=-0.1, novelty=0.1, novelty_days=4)), 0.05,
    )  # fmt: skip
    for group in (few, many):
        bots = group.listeners // 10
        yield _at_most(
            f"F5 refresh of -10 points with {bots} bots of {group.listeners} promoted",
            promoted(replace(group, effect=-0.1, fans=bots)), 0.2,
        )  # fmt: skip
    for group in (replace(few, effect=-0.1), replace(many, effect=-0.05)):
        name = (
            f"refresh {group.effect * 100:+.0f} points rejected or rolled back, {group.listeners} listeners"
        )
        yield DecisionScenario(name, partial(_harm_is_stopped, decide, group), 0.95, runs=0.5)
    for listeners, target in ((60, -3.0), (200, -2.0)):
        yield DecisionScenario(
            f"F3 refreshes .5 points worse each: {target:g} or better after 26 weeks, {listeners} listeners",
            partial(_ratchet_ends_above, listeners, target), 0.5, runs=0.2,
        )  # fmt: skip
        yield DecisionScenario(
            f"F3 refreshes .5 points worse each: incident by week 12, {listeners} listeners",
            partial(_ratchet_opens_incident, listeners), 0.9, runs=0.2,
        )  # fmt: skip
        yield DecisionScenario(
            f"F3 equal refreshes: frozen within a year, {listeners} listeners",
            partial(_is_frozen_wrongly, listeners), 0.05, at_most=True, runs=0.2,
        )  # fmt: skip


def _yardstick_scenarios() -> Iterator[DecisionScenario]:
    for listeners in (60, 2_000):
        yield DecisionScenario(
            f"F3 steady lead over RP3beta: fall reported within a year, {listeners} listeners",
            partial(is_fall_reported, listeners=listeners), 0.05, True, runs=0.4,
        )  # fmt: skip
    yield DecisionScenario(
        "F3 lead over RP3beta that falls by .001 a week: reported within 39 weeks, 2000 listeners",
        partial(is_fall_reported, listeners=2_000, fall_per_week=0.001), 0.9, runs=0.2,
    )  # fmt: skip


def _fault_scenarios(decide: DecisionRule) -> Iterator[DecisionScenario]:
    few = ListenerGroup()
    ended = partial(_ends_with, decide)
    biased = SimulatedExperiment(group=few, first_pick_probability=0.6)
    yield DecisionScenario("biased allocation found invalid", ended(biased, DecisionOutcome.INVALID), 0.95)
    yield _at_most("biased allocation promoted", ended(biased, DecisionOutcome.PROMOTE), 0.0)
    lost = SimulatedExperiment(ExperimentKind.REFRESH, few, share=SHARE_WITH_LOST_LISTS)
    yield DecisionScenario("lists lost, refresh: found invalid", ended(lost, DecisionOutcome.INVALID), 0.95)
    yield _at_most("lists lost, refresh: promoted", ended(lost, DecisionOutcome.PROMOTE), 0.0)
    for share, name in ((0.1, "one listener in ten"), (0.3, "three listeners in ten")):
        yield DecisionScenario(
            f"F8 challenger that breaks for {name} stopped on its first day, 60 listeners",
            partial(_broken_is_stopped, 60, share, days=1), 0.95,
        )  # fmt: skip
        yield DecisionScenario(
            f"F8 the same, by serving alone: stopped on its first whole day at 70 % ({name})",
            partial(_broken_is_stopped, 60, share, in_trials=False), 0.85,
        )  # fmt: skip
    yield _at_most(
        "F8 challenger that breaks for one request in a hundred stopped in 60 days",
        partial(_broken_is_stopped, 60, 0.01, days=60, by_listener=False), 0.05,
    )  # fmt: skip


def _engagement_scenarios() -> Iterator[DecisionScenario]:
    for weekend in WEEKENDS:
        for listeners in (60, 5_000):
            yield DecisionScenario(
                f"F9 false engagement incidents a year, weekends x {weekend:g}, {listeners} listeners",
                partial(count_false_incidents, listeners=listeners, weekend=weekend), 0.5, True, runs=0.1,
            )  # fmt: skip
        yield DecisionScenario(
            f"F9 fall of engagement by 20 % found in 14 days, weekends x {weekend:g}, 5000 listeners",
            partial(is_fall_found, listeners=5_000, weekend=weekend), 0.9, runs=0.1,
        )  # fmt: skip


def _promoted(decide: DecisionRule, kind: ExperimentKind, group: ListenerGroup) -> Callable[[int], bool]:
    return _ends_with(decide, SimulatedExperiment(kind, group), DecisionOutcome.PROMOTE)


def _at_most(name: str, occurs: Callable[[int], bool], target: float) -> DecisionScenario:
    return DecisionScenario(name, occurs, target, at_most=True)


def _ratchet_ends_above(listeners: int, points: float, seed: int) -> bool:
    return simulate_ratchet(listeners, seed).points >= points


def _ratchet_opens_incident(listeners: int, seed: int, *, step: float = -0.005) -> bool:
    return simulate_ratchet(listeners, seed, step=step, weeks=WEEKS_TO_INCIDENT).incident_on is not None


def _is_frozen_wrongly(listeners: int, seed: int) -> bool:
    return simulate_ratchet(listeners, seed, step=0.0, weeks=52).frozen_on is not None


def _broken_is_stopped(
    listeners: int,
    share: float,
    seed: int,
    *,
    days: int = 3,
    by_listener: bool = True,
    in_trials: bool = True,
) -> bool:
    stopped = day_of_stop(listeners, share, seed, by_listener=by_listener, in_trials=in_trials)
    return stopped is not None and stopped <= days


def _ends_with(
    decide: DecisionRule, experiment: SimulatedExperiment, expected: DecisionOutcome
) -> Callable[[int], bool]:
    return partial(_has_outcome, decide, experiment, expected)


def _has_outcome(
    decide: DecisionRule, experiment: SimulatedExperiment, expected: DecisionOutcome, seed: int
) -> bool:
    return run_experiment(experiment, seed, decide).outcome == expected


def _harm_is_stopped(decide: DecisionRule, group: ListenerGroup, seed: int) -> bool:
    """Whether a worse refresh is rejected, or promoted and rolled back within 28 days."""
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
    """Results for other numbers of listeners, without targets, because nobody can choose the number."""
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


LOOP_LISTENERS: Final = (20, 60, 200, 2_000)


def _loop_table(pool: ProcessPoolExecutor, runs: int, decide: DecisionRule) -> str:
    """Error rates of the retraining loop by daily listeners; large groups get fewer simulations."""
    lines = ["Share of simulations; columns: daily listeners"]
    lines.append(f"{'':58}" + "".join(f"{listeners:>8}" for listeners in LOOP_LISTENERS))
    for name, occurs in _loop_rows(decide):
        shares = []
        for listeners in LOOP_LISTENERS:
            number = max(1, runs // (5 if listeners < 200 else 10 if listeners < 2_000 else 50))
            shares.append(_occurrence_share(pool, partial(occurs, listeners), number, name))
        lines.append(f"{name:58}" + "".join(f"{share:>8.2f}" for share in shares))
    for step, name in ((-0.005, "-.5 points"), (0.0, "0 points")):
        lives = [
            [simulate_ratchet(listeners, seed, step=step) for seed in range(max(5, runs))]
            for listeners in LOOP_LISTENERS
        ]
        for what, value in (("points", "points"), ("promoted", "promoted"), ("rollbacks", "rollbacks")):
            means = [sum(getattr(one, value) for one in each) / len(each) for each in lives]
            name_of_row = f"F3 {what} after 26 weeks of refreshes of {name} each"
            lines.append(f"{name_of_row:58}" + "".join(f"{mean:>8.2f}" for mean in means))
    return "\n".join(lines)


def _loop_rows(decide: DecisionRule) -> Iterator[tuple[str, Callable[[int, int], bool]]]:
    def planted(kind: ExperimentKind, **group: Any) -> Callable[[int, int], bool]:
        return partial(_is_planted_promoted, decide, kind, group)

    refresh, change = ExperimentKind.REFRESH, ExperimentKind.CHANGE
    yield "F1 equal refresh promoted", planted(refresh)
    yield "F1 fad of 3 days promoted", planted(refresh, effect=-0.05, novelty=0.15, novelty_days=3)
    yield "F1 slow burn promoted", planted(refresh, effect=-0.1, novelty=0.1, novelty_days=4)
    yield "F4 fad of 14 days promoted as a change", planted(change, effect=-0.05, novelty=0.15)
    yield (
        "F4 fad of 20 days promoted as a change",
        planted(change, effect=-0.05, novelty=0.15, novelty_days=20),
    )
    yield "F4 change +5 promoted", planted(change, effect=0.05)
    yield "F4 change +3 promoted", planted(change, effect=0.03)
    yield "F5 a tenth bots, the others at 0: change promoted", planted(change, fans=0.1)
    yield "F5 a twentieth fans, the others at -5: change promoted", planted(change, fans=0.05, effect=-0.05)
    yield "F5 a tenth bots, the others at -10: refresh promoted", planted(refresh, fans=0.1, effect=-0.1)
    yield "F8 broken for one listener in ten: stopped on day 1", _breaks_for_a_tenth
    yield "F3 refreshes .5 points worse each: incident by week 12", _ratchet_opens_incident
    yield "F3 equal refreshes: incident by week 12", partial(_ratchet_opens_incident, step=0.0)
    yield "F3 equal refreshes: frozen within a year", _is_frozen_wrongly


def _is_planted_promoted(
    decide: DecisionRule, kind: ExperimentKind, planted: dict[str, Any], listeners: int, seed: int
) -> bool:
    fans = round(planted.get("fans", 0) * listeners)
    group = ListenerGroup(listeners=listeners, **{**planted, "fans": fans})
    return _has_outcome(decide, SimulatedExperiment(kind, group), DecisionOutcome.PROMOTE, seed)


def _breaks_for_a_tenth(listeners: int, seed: int) -> bool:
    return _broken_is_stopped(listeners, 0.1, seed, days=1)


def _compare_with_tables(number: int) -> Finding:
    """The share of experiments in the database that end like the fast simulation."""
    sys.stderr.write(f"calibration: {number} experiments through the database ...\n")
    with temporary_workspace() as workspace:
        variables = SQLiteFiles(workspace).create_database()
        output = workspace.run_python(
            "-m", "benchmarks.decisions.simulation.database_experiments", str(number), **variables
        )
    same = orjson.loads(output.splitlines()[-1])["same"]
    return Finding("experiments through the database end like the simulated ones", f"{same / number:.3f}",
                   "-", "-", same / number, 1.0, at_most=False)  # fmt: skip


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


def _drift_table(pool: ProcessPoolExecutor, runs: int, _: DecisionRule) -> str:
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
    pool: ProcessPoolExecutor, happened: Callable[[int], int], runs: int, name: str
) -> float:
    return sum(pool.map(happened, range(runs), chunksize=max(1, runs // 20))) / runs


def _finding(scenario: DecisionScenario, share: float) -> Finding:
    return Finding(scenario.name, f"{share:.3f}", "-", "-", share, scenario.target, at_most=scenario.at_most)


def plan_from_arguments(chosen: Any) -> Plan:
    runs = 20 if chosen.quick else chosen.runs
    tables = not (chosen.quick or chosen.event_level)
    stored = 0 if chosen.event_level else 2 if chosen.quick else chosen.database_experiments
    return Plan(runs=runs, event_level=chosen.event_level, tables=tables, database_experiments=stored)
