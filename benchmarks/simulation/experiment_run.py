"""Simulate an experiment day by day with the decision rules of production."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from benchmarks.simulation.listener_reactions import LIST_LENGTH, DayOfLists, ListenerGroup, ListenerSimulator
from recommender.engine.experiments.decision_rules import (
    DEFAULT_RULES,
    AllocationCheck,
    DecisionOutcome,
    ExperimentEvidence,
    ExperimentKind,
    apply_decision_rules,
)
from recommender.engine.experiments.interleaving_credit import ListCredit, credit_list, total_by_listener

EXPERIMENT_SHARE: Final = 0.7  # of all lists; the rest is for the holdback
HOLDBACK_DAYS: Final = 28
# A list is closed by the first import that begins 48 hours after it: on the morning of day 6 of an
# experiment, the lists of days 0 to 3 are.
CLOSE_DELAY_DAYS: Final = 3
SONGS: Final = tuple(range(LIST_LENGTH))


@dataclass(frozen=True)
class SimulatedExperiment:
    """What kind of experiment, on which listeners, and with which faults."""

    kind: ExperimentKind = ExperimentKind.CHANGE
    group: ListenerGroup = field(default_factory=ListenerGroup)
    # Probability that the challenger fills a round's first place; .5 is fair.
    first_pick_probability: float = 0.5
    share: float = EXPERIMENT_SHARE  # of the lists in the experiment; EXPERIMENT_SHARE is planned


@dataclass(frozen=True)
class ExperimentEnd:
    outcome: DecisionOutcome
    day: int


DecisionRule = Callable[[ExperimentEvidence, Sequence[DayOfLists]], DecisionOutcome]


def decide_by_rounds(evidence: ExperimentEvidence, days: Sequence[DayOfLists]) -> DecisionOutcome:
    """The rules of production."""
    return apply_decision_rules(evidence).outcome


def decide_by_events(evidence: ExperimentEvidence, days: Sequence[DayOfLists]) -> DecisionOutcome:
    """The wrong way: treats every song shown as independent and tests anew each day."""
    engaged = np.concatenate([day.engaged.ravel() for day in days])
    challengers = np.concatenate([day.by_challenger.ravel() for day in days])
    ours, theirs = engaged[challengers], engaged[~challengers]
    error = np.sqrt(ours.var() / len(ours) + theirs.var() / len(theirs)) or 1.0
    z = (ours.mean() - theirs.mean()) / error
    if abs(z) < 1.96:
        return (
            apply_decision_rules(evidence).outcome
            if evidence.days >= DEFAULT_RULES.deadline
            else DecisionOutcome.WAITING
        )
    return DecisionOutcome.PROMOTE if z > 0 else DecisionOutcome.REJECT


def run_experiment(
    experiment: SimulatedExperiment, seed: int, decide: DecisionRule = decide_by_rounds
) -> ExperimentEnd:
    """Simulate days until the decision."""
    simulator = ListenerSimulator(experiment.group, seed)
    scored: list[list[ListCredit]] = []
    days: list[DayOfLists] = []
    for number in range(DEFAULT_RULES.deadline + 1):
        lists = _closed_lists(scored, number)
        outcome = (
            decide(_evidence(experiment.kind, lists, days, number), days)
            if number
            else DecisionOutcome.WAITING
        )
        if outcome != DecisionOutcome.WAITING:
            return ExperimentEnd(outcome, number)
        days.append(
            simulator.simulate_day(
                number, share=experiment.share, first_pick_probability=experiment.first_pick_probability
            )
        )
        scored.append(score_lists(days[-1], number))
    return ExperimentEnd(DecisionOutcome.WAITING, DEFAULT_RULES.deadline)


def is_rolled_back(group: ListenerGroup, seed: int) -> bool:
    """Whether a promoted model with the group's effect is rolled back within 28 days."""
    simulator = ListenerSimulator(replace(group, novelty=0.0), seed)
    scored: list[list[ListCredit]] = []
    for number in range(HOLDBACK_DAYS + 1):
        found = apply_decision_rules(
            _evidence(ExperimentKind.HOLDBACK, _closed_lists(scored, number), [], number)
        ).outcome
        if found == DecisionOutcome.ROLLBACK:
            return True
        scored.append(score_lists(simulator.simulate_day(number, share=1 - EXPERIMENT_SHARE), number))
    return False


def _closed_lists(scored: Sequence[list[ListCredit]], number: int) -> list[ListCredit]:
    """The lists that count on the morning of this day."""
    return [one for day in scored[: max(0, number - CLOSE_DELAY_DAYS + 1)] for one in day]


def _evidence(
    kind: ExperimentKind, lists: Sequence[ListCredit], days: Sequence[DayOfLists], number: int
) -> ExperimentEvidence:
    found = total_by_listener(lists, day=number, late_days=DEFAULT_RULES.late_days)
    firsts = (
        np.concatenate([day.by_challenger[:, ::2].ravel() for day in days]) if days else np.empty(0, bool)
    )
    ours = int(firsts.sum())
    return ExperimentEvidence(
        kind=kind, days=number, wins=found.wins, losses=found.losses, late_wins=found.late_wins,
        late_losses=found.late_losses, listeners=found.listeners, z=found.z, gate=True,
        coins=(
            AllocationCheck("First picks", ours, len(firsts) - ours, 0.5),
            AllocationCheck("Lists", sum(len(day.listeners) for day in days), sum(day.others for day in days),
                 EXPERIMENT_SHARE),
        ),
    )  # fmt: skip


def score_lists(day: DayOfLists, number: int) -> list[ListCredit]:
    rows = zip(day.listeners.tolist(), day.by_challenger.tolist(), day.engaged, strict=True)
    return [
        ListCredit(listener, number, credit_list(SONGS, teams, set(np.flatnonzero(liked).tolist())))
        for listener, teams, liked in rows
    ]
