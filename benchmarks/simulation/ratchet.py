"""Simulate months of refreshes that are each a little worse than the one before, or equal.

Rounds are drawn as sums over listeners (normal with the variance of single rounds), which takes a
millisecond a life instead of minutes; the verdicts are those of production.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from recommender.engine.experiments.decision_rules import apply_decision_rules
from recommender.engine.experiments.evidence import (
    DEFAULT_RULES,
    DecisionOutcome,
    ExperimentEvidence,
    ExperimentKind,
)

ROUNDS_PER_LIST: Final = 1.3  # decisive rounds at 2 engaged songs a list
WIN_RATE_SLOPE: Final = 1.02  # of the share of rounds won, per like rate
EXPERIMENT_SHARE: Final = 0.7


@dataclass(frozen=True)
class RatchetEnd:
    points: float  # like rate of the last champion minus that of the first, in percentage points
    promoted: int


def simulate_ratchet(listeners: int, seed: int, *, step: float = -0.005, weeks: int = 26) -> RatchetEnd:
    """Each refresh has the champion's like rate plus `step`; a new one is tested whenever none is."""
    random = np.random.default_rng(seed)
    rate, promoted, unproven, began = 0.0, 0, 0, 0
    for day in range(7 * weeks):
        last = DEFAULT_RULES.refresh_days + DEFAULT_RULES.extra_days(unproven)
        if day - began < last:
            continue
        evidence = _refresh_evidence(random, listeners, step, unproven)
        if apply_decision_rules(evidence).outcome == DecisionOutcome.PROMOTE:
            rate, promoted = rate + step, promoted + 1
            unproven = 0 if evidence.z >= DEFAULT_RULES.proven_z else unproven + 1
        began = day
    return RatchetEnd(round(100 * rate, 2), promoted)


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
        losses=round(rounds - wins), listeners=listeners, z=float(z), gate=True, unproven=unproven,
    )  # fmt: skip
