"""The verdict on a test: from its numbers alone, by rules fixed in advance, the same whenever repeated."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from recommender.engine.experiments.sequential import (
    log_e_value_of_difference,
    log_e_value_of_losing,
    log_e_value_of_share,
)

# Odds beyond a million are told as that; below ten with a digit more.
LOG_LARGEST_RATIO: Final = math.log(1e6)
ONE_DECIMAL_BELOW: Final = 10.0


class DecisionOutcome(StrEnum):
    INVALID = "invalid"
    ROLLBACK = "rollback"
    WAITING = "waiting"
    PROMOTE = "promote"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


class ExperimentKind(StrEnum):
    """What is tested: a refresh (same features, same number of clusters), a change, equals, the anchor."""

    REFRESH = "refresh"
    CHANGE = "change"
    AA_TEST = "equals"
    HOLDBACK = "anchor"


@dataclass(frozen=True)
class DecisionRules:
    """What decides. The numbers were chosen by simulation: `python -m benchmarks calibration`.

    Attributes:
        better: odds from which on one is better than the other.
        mismatch: odds from which on coins fell otherwise than they should.
        crossed: share of listeners seen in both arms that is still let pass.
        refresh_days, change_days: days before which there is no verdict.
        refresh_z: a refresh is rejected below this z of the listeners' balances.
        fewest_listeners, fewest_rounds: with less, a refresh waits for `refresh_deadline`.
        deadline: days after which a change that has not won is dropped.
        late_days: the last days, in which novelty has worn off.
        equals_days: days after which two arms of one model have not differed.
        anchor: odds from which on the anchor comes back.
        split_days, split_listeners: an A/B split says nothing with less, listeners an arm.
    """

    better: float = 20.0
    mismatch: float = 100.0
    crossed: float = 0.01
    refresh_days: int = 6
    refresh_z: float = -0.84
    refresh_deadline: int = 14
    fewest_listeners: int = 20
    fewest_rounds: int = 30
    change_days: int = 21
    deadline: int = 60
    late_days: int = 14
    # Of decisions that were stored before it was a rule of its own: they come out as they did.
    equals_days: int = 60
    anchor: float = 10.0
    split_days: int = 7
    split_listeners: int = 30


@dataclass(frozen=True)
class AllocationCheck:
    """Something that chance should have decided: how often it did `inside`, of how many, at which share."""

    name: str
    inside: int
    outside: int
    share: float


@dataclass(frozen=True)
class GuardrailDifference:
    """A measure of the A/B split: the challenger's mean less the champion's, and how far that may be off."""

    name: str
    difference: float
    low: float
    high: float
    challengers: int
    champions: int


@dataclass(frozen=True)
class ExperimentEvidence:
    """All that a verdict rests on; JSON can hold it.

    Attributes:
        days: whole days since the start.
        wins, losses: rounds that count, of the challenger (of the champion, against an anchor).
        late_wins, late_losses: those of the last `late_days`.
        listeners: with a round that counts.
        z: mean balance of the listeners over its standard error.
        coins: what chance should have decided.
        crossed: share of listeners seen in both arms.
        leaked: requests served by an arm whose share is 0.
        hard_failure: what broke; empty: nothing.
        gate: whether the offline gate would let it pass; None: it has no opinion.
    """

    kind: str
    days: int
    wins: int = 0
    losses: int = 0
    late_wins: int = 0
    late_losses: int = 0
    listeners: int = 0
    z: float = 0.0
    coins: tuple[AllocationCheck, ...] = ()
    crossed: float = 0.0
    leaked: int = 0
    hard_failure: str = ""
    gate: bool | None = None
    guardrails: tuple[GuardrailDifference, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        nested = {
            "coins": tuple(AllocationCheck(**coin) for coin in stored["coins"]),
            "guardrails": tuple(GuardrailDifference(**rail) for rail in stored["guardrails"]),
        }
        return cls(**{**stored, **nested})


@dataclass(frozen=True)
class ExperimentVerdict:
    """What is to be done, and the reason in a sentence."""

    outcome: DecisionOutcome
    reason: str
    numbers: dict[str, float] = field(default_factory=dict)


DEFAULT_RULES: Final = DecisionRules(equals_days=14)


def apply_decision_rules(
    evidence: ExperimentEvidence, rules: DecisionRules = DEFAULT_RULES
) -> ExperimentVerdict:
    """The first that applies: invalid, rollback, waiting, promote, reject, inconclusive."""
    found = (
        _check_validity(evidence, rules)
        or _check_safety(evidence, rules)
        or _RULE_BY_KIND[ExperimentKind(evidence.kind)](evidence, rules)
    )
    numbers = {
        "ln_e": round(log_e_value_of_difference(evidence.wins, evidence.losses), 6),
        "z": _round_finite(evidence.z),
    }
    return ExperimentVerdict(found[0], found[1], numbers)


OutcomeAndReason = tuple[DecisionOutcome, str]


def _check_validity(evidence: ExperimentEvidence, rules: DecisionRules) -> OutcomeAndReason | None:
    for coin in evidence.coins:
        if 0 < coin.share < 1 and log_e_value_of_share(coin.inside, coin.outside, coin.share) >= math.log(
            rules.mismatch
        ):
            of = coin.inside + coin.outside
            return DecisionOutcome.INVALID, (
                f"{coin.name}: {coin.inside} of {of} where {coin.share:.0%} was planned. "
                "The numbers can't be trusted."
            )
    if evidence.leaked:
        return DecisionOutcome.INVALID, f"{evidence.leaked} lists came from an arm whose share is 0."
    if evidence.crossed > rules.crossed:
        return DecisionOutcome.INVALID, f"{evidence.crossed:.1%} of the listeners were seen in both arms."
    return None


def _check_safety(evidence: ExperimentEvidence, rules: DecisionRules) -> OutcomeAndReason | None:
    if evidence.hard_failure:
        return DecisionOutcome.ROLLBACK, evidence.hard_failure
    for rail in evidence.guardrails:
        enough = min(rail.challengers, rail.champions) >= rules.split_listeners
        if evidence.days >= rules.split_days and enough and rail.high < 0:
            return DecisionOutcome.ROLLBACK, (
                f"{rail.name} is lower with the challenger: {rail.difference:+.3f} a listener "
                f"({rail.low:+.3f} to {rail.high:+.3f})."
            )
    return None


def _decide_refresh(evidence: ExperimentEvidence, rules: DecisionRules) -> OutcomeAndReason:
    score = f"{evidence.wins} rounds won, {evidence.losses} lost by {evidence.listeners} listeners"
    if evidence.days < rules.refresh_days:
        return DecisionOutcome.WAITING, f"Day {evidence.days} of {rules.refresh_days}: {score}."
    few = evidence.listeners < rules.fewest_listeners or evidence.wins + evidence.losses < rules.fewest_rounds
    if not few and evidence.z < rules.refresh_z:
        return DecisionOutcome.REJECT, f"Worse: {score}, z = {evidence.z:.2f}, below {rules.refresh_z}."
    if not few:
        return DecisionOutcome.PROMOTE, f"Not worse: {score}, z = {evidence.z:.2f}."
    if evidence.days < rules.refresh_deadline:
        return DecisionOutcome.WAITING, f"Too few to tell, until day {rules.refresh_deadline}: {score}."
    # Too little traffic to ever tell: what was measured before any listener saw it has to do.
    if evidence.gate is False:
        return DecisionOutcome.REJECT, f"Too few to tell ({score}); the offline gate is against it."
    return DecisionOutcome.PROMOTE, f"Too few to tell ({score}); the offline gate is for it."


def _decide_change(evidence: ExperimentEvidence, rules: DecisionRules) -> OutcomeAndReason:
    ln_e = log_e_value_of_difference(evidence.wins, evidence.losses)
    score = f"{evidence.wins} rounds won, {evidence.losses} lost, odds {format_evidence_ratio(ln_e)}"
    if ln_e >= math.log(rules.better) and evidence.losses > evidence.wins:
        return DecisionOutcome.REJECT, f"Worse: {score}."
    if evidence.days < rules.change_days:
        return (
            DecisionOutcome.WAITING,
            f"Day {evidence.days} of {rules.change_days}, for novelty wears off: {score}.",
        )
    if ln_e >= math.log(rules.better) and evidence.late_wins >= evidence.late_losses:
        return DecisionOutcome.PROMOTE, f"Better: {score}, and not worse in the last {rules.late_days} days."
    if evidence.days < rules.deadline:
        return DecisionOutcome.WAITING, f"Not decided on day {evidence.days} of {rules.deadline}: {score}."
    return DecisionOutcome.INCONCLUSIVE, f"Not decided in {rules.deadline} days: {score}. It is dropped."


def _decide_aa_test(evidence: ExperimentEvidence, rules: DecisionRules) -> OutcomeAndReason:
    ln_e = log_e_value_of_difference(evidence.wins, evidence.losses)
    score = f"{evidence.wins} to {evidence.losses}, odds {format_evidence_ratio(ln_e)}"
    if ln_e >= math.log(rules.better):
        return (
            DecisionOutcome.INVALID,
            f"Two arms of the same model differ: {score}. Look for a fault in the serving.",
        )
    if evidence.days < rules.equals_days:
        return DecisionOutcome.WAITING, f"Two arms of the same model: {score}."
    return DecisionOutcome.INCONCLUSIVE, f"Two arms of the same model do not differ: {score}."


def _decide_holdback(evidence: ExperimentEvidence, rules: DecisionRules) -> OutcomeAndReason:
    ln_e = log_e_value_of_losing(evidence.wins, evidence.losses)
    odds = format_evidence_ratio(ln_e)
    score = f"{evidence.wins} rounds won, {evidence.losses} lost against the anchor, odds {odds}"
    if ln_e >= math.log(rules.anchor):
        return DecisionOutcome.ROLLBACK, f"The champion is worse than what served 28 days ago: {score}."
    return DecisionOutcome.WAITING, f"{score}."


_RULE_BY_KIND: Final = {
    ExperimentKind.REFRESH: _decide_refresh,
    ExperimentKind.CHANGE: _decide_change,
    ExperimentKind.AA_TEST: _decide_aa_test,
    ExperimentKind.HOLDBACK: _decide_holdback,
}


def format_evidence_ratio(ln_e: float) -> str:
    """Odds as people say them, such as 9.2 : 1 or 1 : 15; beyond a million nobody counts."""
    odds = math.exp(min(abs(ln_e), LOG_LARGEST_RATIO))
    number = (
        f"{odds:.1f}"
        if odds < ONE_DECIMAL_BELOW
        else f"{odds:,.0f}"
        if abs(ln_e) < LOG_LARGEST_RATIO
        else "over 1,000,000"
    )
    return f"{number} : 1" if ln_e >= 0 else f"1 : {number}"


def _round_finite(value: float) -> float:
    """JSON has no infinity."""
    return round(max(-1e9, min(1e9, value)), 6)
