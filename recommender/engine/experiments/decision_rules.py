"""Decision rules of experiments: a pure function from evidence to a verdict.

The rules are fixed before an experiment starts.
"""

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

LOG_LARGEST_RATIO: Final = math.log(1e6)  # larger e-values are shown as "over 1,000,000"
ONE_DECIMAL_BELOW: Final = 10.0


class DecisionOutcome(StrEnum):
    INVALID = "invalid"
    ROLLBACK = "rollback"
    WAITING = "waiting"
    PROMOTE = "promote"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


class ExperimentKind(StrEnum):
    """What an experiment compares with the champion.

    A refresh has the champion's features and clusters; a change differs in them. An A/A test compares the
    champion with itself, and a holdback compares it with the champion of 28 days ago.
    """

    REFRESH = "refresh"
    CHANGE = "change"
    AA_TEST = "equals"
    HOLDBACK = "anchor"


@dataclass(frozen=True)
class DecisionRules:
    """Thresholds of the decision rules, chosen by simulation: `python -m benchmarks calibration`."""

    better: float = 20.0  # e-value at which one model is better than the other
    mismatch: float = 100.0  # e-value at which an allocation check fails (sample-ratio mismatch)
    crossed: float = 0.01  # largest accepted share of listeners who got lists from both arms
    refresh_days: int = 6  # a refresh gets no verdict before this day
    refresh_z: float = -0.84  # a refresh is rejected if the z of its listeners' balances is lower
    refresh_deadline: int = 14
    # With fewer listeners or fewer decisive rounds a refresh waits until `refresh_deadline`.
    fewest_listeners: int = 20
    fewest_rounds: int = 30
    change_days: int = 21  # a change gets no verdict before this day, except that it is worse
    deadline: int = 60  # days after which a change that has not won is dropped
    late_days: int = 14  # a change must not lose in these last days, when its novelty has worn off
    # The default is for decisions that were stored before this rule existed; DEFAULT_RULES has 14.
    equals_days: int = 60  # days after which an A/A test ends without a difference
    anchor: float = 10.0  # e-value at which the holdback's model is restored
    # An A/B split with fewer days or fewer listeners per arm is ignored.
    split_days: int = 7
    split_listeners: int = 30


@dataclass(frozen=True)
class AllocationCheck:
    """Observed counts of a random allocation, and the share that was planned to be inside."""

    name: str
    inside: int
    outside: int
    share: float


@dataclass(frozen=True)
class GuardrailDifference:
    """One metric in the A/B split: challenger's mean minus champion's mean, with confidence interval."""

    name: str
    difference: float
    low: float
    high: float
    challengers: int
    champions: int


@dataclass(frozen=True)
class ExperimentEvidence:
    """All data that a verdict depends on; stored as JSON."""

    kind: str
    days: int  # whole days since the start
    # Decisive rounds (see `interleaving_credit`) won by the challenger; in a holdback, by the champion.
    wins: int = 0
    losses: int = 0
    late_wins: int = 0  # wins in the last `late_days`
    late_losses: int = 0
    listeners: int = 0  # number of listeners with a decisive round
    z: float = 0.0  # mean of the listeners' balances (wins minus losses) over its standard error
    coins: tuple[AllocationCheck, ...] = ()  # allocation checks
    crossed: float = 0.0  # share of listeners who got lists from both arms
    leaked: int = 0  # number of lists from an arm whose planned share is 0
    hard_failure: str = ""  # why the challenger must stop at once; empty if it may go on
    gate: bool | None = None  # whether the version passed the offline gates; None if they did not decide
    guardrails: tuple[GuardrailDifference, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        nested = {
            "coins": tuple(AllocationCheck(**check) for check in stored["coins"]),
            "guardrails": tuple(GuardrailDifference(**guardrail) for guardrail in stored["guardrails"]),
        }
        return cls(**{**stored, **nested})


@dataclass(frozen=True)
class ExperimentVerdict:
    outcome: DecisionOutcome
    reason: str
    numbers: dict[str, float] = field(default_factory=dict)


DEFAULT_RULES: Final = DecisionRules(equals_days=14)


def apply_decision_rules(
    evidence: ExperimentEvidence, rules: DecisionRules = DEFAULT_RULES
) -> ExperimentVerdict:
    """Apply the rules in order (invalid data, rollback, rule of the kind); the first verdict counts."""
    outcome, reason = (
        _check_validity(evidence, rules)
        or _check_safety(evidence, rules)
        or _RULE_BY_KIND[ExperimentKind(evidence.kind)](evidence, rules)
    )
    numbers = {
        "ln_e": round(log_e_value_of_difference(evidence.wins, evidence.losses), 6),
        "z": _round_finite(evidence.z),
    }
    return ExperimentVerdict(outcome, reason, numbers)


OutcomeAndReason = tuple[DecisionOutcome, str]


def _check_validity(evidence: ExperimentEvidence, rules: DecisionRules) -> OutcomeAndReason | None:
    for check in evidence.coins:
        if 0 < check.share < 1 and log_e_value_of_share(check.inside, check.outside, check.share) >= math.log(
            rules.mismatch
        ):
            total = check.inside + check.outside
            return DecisionOutcome.INVALID, (
                f"{check.name}: {check.inside} of {total} where {check.share:.0%} was planned. "
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
    for guardrail in evidence.guardrails:
        enough = min(guardrail.challengers, guardrail.champions) >= rules.split_listeners
        if evidence.days >= rules.split_days and enough and guardrail.high < 0:
            return DecisionOutcome.ROLLBACK, (
                f"{guardrail.name} is lower with the challenger: {guardrail.difference:+.3f} a listener "
                f"({guardrail.low:+.3f} to {guardrail.high:+.3f})."
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
    # With too little traffic for the experiment, the offline gates decide.
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
    """Format an e-value as a ratio, such as "9.2 : 1", "1 : 15" or "over 1,000,000 : 1"."""
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
    # JSON has no infinity.
    return round(max(-1e9, min(1e9, value)), 6)
