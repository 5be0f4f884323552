"""Simulate an experiment day by day with the evidence counts and decision rules of production."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from benchmarks.decisions.simulation.listener_reactions import (
    DayOfLists,
    ListenerGroup,
    ListenerSimulator,
    credit_lists,
)
from recommender.engine.experiments.decision_rules import apply_decision_rules
from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES
from recommender.engine.experiments.evidence import (
    AllocationCheck,
    DecisionOutcome,
    ExperimentEvidence,
    ExperimentKind,
)
from recommender.engine.experiments.interleaving_credit import ClosedLists, count_rounds

EXPERIMENT_SHARE: Final = 0.7  # of all lists, from the third day on
RAMP: Final = (0.05, 0.2)  # on the first two days
HOLDBACK_SHARE: Final = 0.3
ANCHOR_DAYS: Final = 28
# A list is closed when the listening of the 48 hours after it was imported: on the morning of day 6 of an
# experiment, the lists of days 0 to 3 are.
CLOSE_DELAY_DAYS: Final = 3


@dataclass(frozen=True)
class SimulatedExperiment:
    """The kind of a simulated experiment, its listeners and its faults."""

    kind: ExperimentKind = ExperimentKind.CHANGE
    group: ListenerGroup = field(default_factory=ListenerGroup)
    # Probability that the challenger fills a round's first place; .5 is fair.
    first_pick_probability: float = 0.5
    share: float = EXPERIMENT_SHARE  # of the lists in the experiment; EXPERIMENT_SHARE is planned
    unproven: int = 0  # promoted refreshes in a row before this one that did not win

    def share_on(self, day: int) -> float:
        return min(self.share, RAMP[day]) if day < len(RAMP) else self.share


@dataclass(frozen=True)
class ExperimentEnd:
    outcome: DecisionOutcome
    day: int


DecisionRule = Callable[[ExperimentEvidence, Sequence[DayOfLists]], DecisionOutcome]


def decide_by_rounds(evidence: ExperimentEvidence, days: Sequence[DayOfLists]) -> DecisionOutcome:
    """Decide by the rules of production."""
    return apply_decision_rules(evidence).outcome


def decide_by_events(evidence: ExperimentEvidence, days: Sequence[DayOfLists]) -> DecisionOutcome:
    """Decide wrongly, for comparison: each song shown counts as independent, each day is a new test."""
    engaged = np.concatenate([day.engaged.ravel() for day in days])
    challengers = np.concatenate([day.by_challenger.ravel() for day in days])
    ours, theirs = engaged[challengers], engaged[~challengers]
    if not len(ours):
        return DecisionOutcome.WAITING
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
    days: list[DayOfLists] = []
    scored: list[ClosedLists] = []
    for number, day in enumerate(simulate_days(experiment, seed)):
        if number:
            outcome = decide(_evidence(experiment, days, scored, number), days)
            if outcome != DecisionOutcome.WAITING:
                return ExperimentEnd(outcome, number)
        days.append(day)
        scored.append(score_lists(day, number))
    return ExperimentEnd(DecisionOutcome.WAITING, DEFAULT_RULES.deadline)


def simulate_days(experiment: SimulatedExperiment, seed: int) -> Sequence[DayOfLists]:
    """The lists of an experiment's longest duration, one element per day; drawn when they are read."""
    simulator = ListenerSimulator(experiment.group, seed)
    return _Days(
        lambda number: simulator.simulate_day(
            number,
            share=experiment.share_on(number),
            first_pick_probability=experiment.first_pick_probability,
        ),
        DEFAULT_RULES.deadline + 1,
    )


def is_rolled_back(group: ListenerGroup, seed: int) -> bool:
    """Whether a promoted model with the group's effect is rolled back within 28 days."""
    simulator = ListenerSimulator(replace(group, novelty=0.0), seed)
    holdback = SimulatedExperiment(ExperimentKind.HOLDBACK, group, share=HOLDBACK_SHARE)
    scored: list[ClosedLists] = []
    for number in range(ANCHOR_DAYS + 1):
        if apply_decision_rules(_evidence(holdback, [], scored, number)).outcome == DecisionOutcome.ROLLBACK:
            return True
        scored.append(score_lists(simulator.simulate_day(number, share=HOLDBACK_SHARE), number))
    return False


class _Days(Sequence[DayOfLists]):
    """Days that are simulated in order when they are first asked for."""

    def __init__(self, simulate: Callable[[int], DayOfLists], count: int) -> None:
        self._simulate, self._count = simulate, count
        self._done: list[DayOfLists] = []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> DayOfLists:  # type: ignore[override]
        if place >= self._count:
            raise IndexError(place)
        while len(self._done) <= place:
            self._done.append(self._simulate(len(self._done)))
        return self._done[place]


def score_lists(day: DayOfLists, number: int) -> ClosedLists:
    wins, losses = credit_lists(day.by_challenger, day.engaged)
    return ClosedLists(day.listeners, np.full(len(day.listeners), number), wins, losses)


def close_lists(scored: Sequence[ClosedLists], number: int) -> ClosedLists:
    """The lists that count on the morning of this day."""
    closed = scored[: max(0, number - CLOSE_DELAY_DAYS + 1)]
    if not closed:
        return ClosedLists.from_credits([])
    return ClosedLists(
        *(
            np.concatenate([getattr(day, name) for day in closed])
            for name in ("listeners", "days", "wins", "losses")
        )
    )


def _evidence(
    experiment: SimulatedExperiment,
    days: Sequence[DayOfLists],
    scored: Sequence[ClosedLists],
    number: int,
) -> ExperimentEvidence:
    firsts = (
        np.concatenate([day.by_challenger[:, ::2].ravel() for day in days]) if days else np.empty(0, bool)
    )
    ours = int(firsts.sum())
    full = days[len(RAMP) :]
    counts = count_rounds(
        close_lists(scored, number), experiment.kind, DEFAULT_RULES, unproven=experiment.unproven
    )
    return ExperimentEvidence(
        kind=experiment.kind, days=number, gate=True, unproven=experiment.unproven,
        coins=(
            AllocationCheck("First picks", ours, len(firsts) - ours, 0.5),
            AllocationCheck("Lists", sum(len(day.listeners) for day in full), sum(day.others for day in full),
                            EXPERIMENT_SHARE),
        ),
        **counts,
    )  # fmt: skip
