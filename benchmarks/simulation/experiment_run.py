"""One test of two models, lived day by day through the code that decides in production."""

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

EXPERIMENT_SHARE: Final = 0.7  # of all lists; the rest compares with the anchor
HOLDBACK_DAYS: Final = 28
# A list is closed by the first ingestion that begins 48 hours after it: on the morning of day 6 of a test
# that began in the morning, those of days 0 to 3 are.
CLOSE_DELAY_DAYS: Final = 3  # days
SONGS: Final = tuple(range(LIST_LENGTH))


@dataclass(frozen=True)
class SimulatedExperiment:
    """How a test is run.

    Attributes:
        first: probability that the challenger fills a round's first place; a fair coin has .5.
        share: of the lists, that which falls to the test; TEST_SHARE is planned.
    """

    kind: ExperimentKind = ExperimentKind.CHANGE
    crowd: ListenerGroup = field(default_factory=ListenerGroup)
    first_pick_probability: float = 0.5
    share: float = EXPERIMENT_SHARE


@dataclass(frozen=True)
class ExperimentEnd:
    """How it ended, and on which day."""

    outcome: DecisionOutcome
    day: int


DecisionRule = Callable[[ExperimentEvidence, Sequence[DayOfLists]], DecisionOutcome]


def decide_by_rounds(evidence: ExperimentEvidence, days: Sequence[DayOfLists]) -> DecisionOutcome:
    """As in production."""
    return apply_decision_rules(evidence).outcome


def decide_by_events(evidence: ExperimentEvidence, days: Sequence[DayOfLists]) -> DecisionOutcome:
    """What must not be done: every place shown is a witness, and each day's look is the only one."""
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
    """Live the test until it has a verdict."""
    life = ListenerSimulator(experiment.crowd, seed)
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
            life.simulate_day(
                number, share=experiment.share, first_pick_probability=experiment.first_pick_probability
            )
        )
        scored.append(score_lists(days[-1], number))
    return ExperimentEnd(DecisionOutcome.WAITING, DEFAULT_RULES.deadline)


def is_rolled_back(crowd: ListenerGroup, seed: int) -> bool:
    """Whether the anchor returns, within its 28 days, after a model with the crowd's effect was promoted."""
    life = ListenerSimulator(replace(crowd, novelty=0.0), seed)
    scored: list[list[ListCredit]] = []
    for number in range(HOLDBACK_DAYS + 1):
        found = apply_decision_rules(
            _evidence(ExperimentKind.HOLDBACK, _closed_lists(scored, number), [], number)
        ).outcome
        if found == DecisionOutcome.ROLLBACK:
            return True
        scored.append(score_lists(life.simulate_day(number, share=1 - EXPERIMENT_SHARE), number))
    return False


def _closed_lists(scored: Sequence[list[ListCredit]], number: int) -> list[ListCredit]:
    """The lists, day by day, that count on the morning of this day."""
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
