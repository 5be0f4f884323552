"""Simulate months of refreshes that are each a little worse than the one before, or equal.

Rounds are drawn as sums over listeners (normal with the variance of single rounds), which takes
milliseconds a life instead of minutes; the verdicts are those of production. Beside each refresh runs the
holdback, which compares the champion with the champion of 28 days ago.
"""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recommender.engine.experiments.decision_rules import apply_decision_rules
from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES
from recommender.engine.experiments.evidence import DecisionOutcome, ExperimentEvidence, ExperimentKind

ROUNDS_PER_LIST: Final = 1.3  # decisive rounds at 2 engaged songs a list
WIN_RATE_SLOPE: Final = 1.02  # of the share of rounds won, per like rate
EXPERIMENT_SHARE: Final = 0.7
HOLDBACK_SHARE: Final = 0.3
HOLDBACK_AGE: Final = 28  # days
# As in recommender/experiments/refresh_limits.py, which needs a database.
QUARTER: Final = 91
MOST_ROLLBACKS: Final = 2


@dataclass(frozen=True)
class RatchetEnd:
    points: float  # like rate of the last champion minus that of the first, in percentage points
    promoted: int
    rollbacks: int
    incident_on: int | None  # day of the first incident; None if there was none
    frozen_on: int | None  # day on which refreshes were frozen


def simulate_ratchet(listeners: int, seed: int, *, step: float = -0.005, weeks: int = 26) -> RatchetEnd:
    """Each refresh has the champion's like rate plus `step`; a new one is tested whenever none is."""
    life = _Life(np.random.default_rng(seed), listeners, step)
    for day in range(7 * weeks):
        life.run_day(day)
    return RatchetEnd(
        round(100 * life.rate, 2), life.promoted, len(life.rollbacks), life.incident_on, life.frozen_on
    )


@dataclass
class _Life:
    random: np.random.Generator
    listeners: int
    step: float
    rate: float = 0.0  # the champion's like rate, relative to the first champion's
    promoted: int = 0
    unproven: int = 0
    began: int = 0  # day on which the running test began
    # The champions' rates from each day on, and the holdback with its rounds of the present champion.
    champions: list[tuple[int, float]] = field(default_factory=lambda: [(-1_000, 0.0)])
    holdback: tuple[int, float] | None = None  # day of its start, and its rate
    wins: int = 0
    losses: int = 0
    rollbacks: list[int] = field(default_factory=list)
    incident_on: int | None = None
    frozen_on: int | None = None

    def run_day(self, day: int) -> None:
        self._run_holdback(day)
        last = DEFAULT_RULES.refresh_days + DEFAULT_RULES.extra_days(self.unproven)
        if day - self.began < last or self.frozen_on is not None:
            return
        evidence = _refresh_evidence(self.random, self.listeners, self.step, self.unproven)
        if apply_decision_rules(evidence).outcome == DecisionOutcome.PROMOTE:
            self.promoted += 1
            self.unproven = 0 if evidence.z >= DEFAULT_RULES.proven_z else self.unproven + 1
            self._serve(self.rate + self.step, day)
            if self.unproven >= DEFAULT_RULES.unproven_most:
                self._open_incident(day)
        self.began = day

    def _run_holdback(self, day: int) -> None:
        if self.holdback is None or day - self.holdback[0] >= HOLDBACK_AGE:
            former = [rate for since, rate in self.champions if since <= day - HOLDBACK_AGE][-1]
            self.holdback = None if former == self.rate else (day, former)
            self.wins = self.losses = 0
        if self.holdback is None:
            return
        rounds = self.listeners * HOLDBACK_SHARE * ROUNDS_PER_LIST
        share = 0.5 + WIN_RATE_SLOPE * (self.rate - self.holdback[1])
        won = min(max(0, round(self.random.normal(rounds * share, math.sqrt(rounds) / 2))), round(rounds))
        self.wins, self.losses = self.wins + won, self.losses + round(rounds) - won
        evidence = ExperimentEvidence(
            kind=ExperimentKind.HOLDBACK, days=day - self.holdback[0], wins=self.wins, losses=self.losses
        )
        if apply_decision_rules(evidence).outcome == DecisionOutcome.ROLLBACK:
            self._serve(self.holdback[1], day)
            # The test of a refresh against the version that was withdrawn ends.
            self.holdback, self.unproven, self.began = None, 0, day
            self.rollbacks.append(day)
            self._open_incident(day)
            if sum(one > day - QUARTER for one in self.rollbacks) >= MOST_ROLLBACKS:
                self.frozen_on = self.frozen_on if self.frozen_on is not None else day

    def _serve(self, rate: float, day: int) -> None:
        self.rate, self.wins, self.losses = rate, 0, 0
        self.champions.append((day, rate))

    def _open_incident(self, day: int) -> None:
        self.incident_on = self.incident_on if self.incident_on is not None else day


def _refresh_evidence(
    random: np.random.Generator, listeners: int, step: float, unproven: int
) -> ExperimentEvidence:
    rules = DEFAULT_RULES
    days = rules.refresh_until - rules.refresh_from + 1 + rules.extra_days(unproven)
    rounds = listeners * EXPERIMENT_SHARE * days * ROUNDS_PER_LIST
    wins = random.normal(rounds * (0.5 + WIN_RATE_SLOPE * step), math.sqrt(rounds) / 2)
    z = (2 * wins - rounds) / math.sqrt(rounds)
    return ExperimentEvidence(
        kind=ExperimentKind.REFRESH, days=rules.refresh_days + rules.extra_days(unproven), wins=round(wins),
        losses=round(rounds - wins), capped_balance=float(2 * wins - rounds), listeners=listeners, z=float(z),
        gate=True, unproven=unproven,
    )  # fmt: skip
