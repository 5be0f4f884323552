"""Decision rules of version 1, unchanged, to recompute stored decisions."""

import math
from typing import Final

from recommender.engine.experiments.decision_thresholds import DecisionRules
from recommender.engine.experiments.evidence import (
    DecisionOutcome,
    ExperimentEvidence,
    ExperimentKind,
    OutcomeAndReason,
    format_evidence_ratio,
)
from recommender.engine.experiments.sequential import (
    log_e_value_of_difference,
    log_e_value_of_losing,
    log_e_value_of_share,
)


def decide(evidence: ExperimentEvidence, rules: DecisionRules) -> OutcomeAndReason:
    """Decide by the first that applies: invalid data, rollback, or the rule of the experiment's kind."""
    return (
        _check_validity(evidence, rules)
        or _check_safety(evidence, rules)
        or _RULE_BY_KIND[ExperimentKind(evidence.kind)](evidence, rules)
    )


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
