"""Decision rules of experiments: a pure function from evidence to a verdict.

A stored decision keeps the rules of its version.
"""

import math
from typing import Final

from recommender.engine.experiments import rules_version_1
from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES, DecisionRules
from recommender.engine.experiments.evidence import (
    DecisionOutcome,
    ExperimentEvidence,
    ExperimentKind,
    ExperimentVerdict,
    OutcomeAndReason,
    format_evidence_ratio,
)
from recommender.engine.experiments.sequential import (
    log_e_value_of_difference,
    log_e_value_of_losing,
    log_e_value_of_share,
    sign_z_score,
)

FIRST_VERSION: Final = 1
FIRST_VERSION_WITH_E_VALUES: Final = 3
MOST_FINITE: Final = 1e9  # JSON has no infinity


def apply_decision_rules(
    evidence: ExperimentEvidence, rules: DecisionRules = DEFAULT_RULES
) -> ExperimentVerdict:
    """Apply the rules in order; the first verdict counts."""
    numbers = {
        "ln_e": round(log_e_value_of_difference(evidence.wins, evidence.losses), 6),
        "z": _round_finite(evidence.z),
    }
    if rules.version == FIRST_VERSION:
        return ExperimentVerdict(*rules_version_1.decide(evidence, rules), numbers)
    outcome, reason = (
        _check_safety(evidence, rules)
        or _check_validity(evidence, rules)
        or _check_feed(evidence)
        or _RULE_BY_KIND[ExperimentKind(evidence.kind)](evidence, rules)
    )
    return ExperimentVerdict(outcome, reason, {**numbers, "sign_z": _round_finite(_sign_z(evidence))})


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


def _check_feed(evidence: ExperimentEvidence) -> OutcomeAndReason | None:
    # Lists whose listening is missing look like lists that nobody liked. So nothing is decided on them, not
    # even that there is too little data.
    if not evidence.feed:
        return None
    return DecisionOutcome.WAITING, f"It waits for the listening history: {evidence.feed}"


def _decide_refresh(evidence: ExperimentEvidence, rules: DecisionRules) -> OutcomeAndReason:
    rounds = evidence.wins + evidence.losses
    score = f"{evidence.wins} rounds won, {evidence.losses} lost by {evidence.listeners} listeners"
    extra = rules.extra_days(evidence.unproven)
    days = f"days {rules.refresh_from} to {rules.refresh_until + extra}"
    if evidence.days < rules.refresh_days + extra:
        return DecisionOutcome.WAITING, (
            f"Day {evidence.days} of {rules.refresh_days + extra}; the lists of {days} count: {score}."
        )
    if evidence.open_lists:
        return DecisionOutcome.WAITING, (
            f"{evidence.open_lists} lists of {days} wait for their 48 hours of listening: {score}."
        )
    if evidence.listeners >= rules.fewest_listeners and rounds >= rules.fewest_rounds:
        capped = -evidence.capped_balance / (2 * rounds)
        behind = capped if rules.capped_share else 0.5 - evidence.wins / rounds
        z = f"z = {evidence.z:.2f}"
        least = rules.unproven_share if extra else rules.refresh_share
        lowest = rules.lowest_z(evidence.unproven)
        if evidence.z < lowest and behind > least:
            return DecisionOutcome.REJECT, f"Worse on {days}: {score}, {z}, below {lowest}."
        return DecisionOutcome.PROMOTE, f"Not worse on {days}: {score}, {z}."
    return _decide_by_gate(evidence, rules, score)


def _decide_by_gate(evidence: ExperimentEvidence, rules: DecisionRules, score: str) -> OutcomeAndReason:
    """Decide a refresh with too little traffic by the offline gate, after its deadline."""
    deadline = rules.refresh_deadline + rules.extra_days(evidence.unproven)
    if evidence.days < deadline:
        return DecisionOutcome.WAITING, f"Too few to tell, until day {deadline}: {score}."
    if evidence.gate is False:
        return DecisionOutcome.REJECT, f"Too few to tell ({score}); the offline gate is against it."
    return DecisionOutcome.PROMOTE, f"Too few to tell ({score}); the offline gate is for it."


def _e_value_text(ln_e: float, rules: DecisionRules) -> str:
    # Stored decisions must be found again word for word.
    name = "odds" if rules.version < FIRST_VERSION_WITH_E_VALUES else "e-value"
    return f"{name} {format_evidence_ratio(ln_e)}"


def _decide_change(evidence: ExperimentEvidence, rules: DecisionRules) -> OutcomeAndReason:
    ln_e = log_e_value_of_difference(evidence.wins, evidence.losses)
    score = (
        f"{evidence.wins} rounds won, {evidence.losses} lost, {_e_value_text(ln_e, rules)}; "
        f"{evidence.winners} listeners prefer it, {evidence.losers} do not{_preference_text(evidence, rules)}"
    )
    is_decisive = ln_e >= math.log(rules.better)
    if is_decisive and evidence.losses > evidence.wins:
        return DecisionOutcome.REJECT, f"Worse: {score}."
    if evidence.days < rules.change_days:
        return (
            DecisionOutcome.WAITING,
            f"Day {evidence.days} of {rules.change_days}, for novelty wears off: {score}.",
        )
    if (
        is_decisive
        and evidence.late_wins >= evidence.late_losses
        and evidence.recent_wins >= evidence.recent_losses
        and evidence.listeners >= rules.fewest_listeners
        and _sign_z(evidence) >= rules.sign_z
        and _wins_without_extremes(evidence, rules)
        and _is_preferred(evidence, rules)
    ):
        return DecisionOutcome.PROMOTE, f"Better: {score}, and not worse since day {rules.late_from}."
    if evidence.days < rules.deadline:
        return DecisionOutcome.WAITING, f"Not decided on day {evidence.days} of {rules.deadline}: {score}."
    return DecisionOutcome.INCONCLUSIVE, f"Not decided in {rules.deadline} days: {score}. It is dropped."


def _decide_aa_test(evidence: ExperimentEvidence, rules: DecisionRules) -> OutcomeAndReason:
    ln_e = log_e_value_of_difference(evidence.wins, evidence.losses)
    score = f"{evidence.wins} to {evidence.losses}, {_e_value_text(ln_e, rules)}"
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
    e_value = _e_value_text(ln_e, rules)
    score = f"{evidence.wins} rounds won, {evidence.losses} lost against the anchor, {e_value}"
    champion = f"The champion {evidence.tested}".rstrip()
    if ln_e >= math.log(rules.anchor):
        return DecisionOutcome.ROLLBACK, f"{champion} is worse than what served 28 days ago: {score}."
    return DecisionOutcome.WAITING, f"{champion}: {score}."


_RULE_BY_KIND: Final = {
    ExperimentKind.REFRESH: _decide_refresh,
    ExperimentKind.CHANGE: _decide_change,
    ExperimentKind.AA_TEST: _decide_aa_test,
    ExperimentKind.HOLDBACK: _decide_holdback,
}


def _wins_without_extremes(evidence: ExperimentEvidence, rules: DecisionRules) -> bool:
    """Whether the challenger wins without the listeners at both ends, so that bots and fans don't decide."""
    wins, losses = evidence.trimmed_wins, evidence.trimmed_losses
    return wins > losses and log_e_value_of_difference(wins, losses) >= math.log(rules.better)


def _preference_text(evidence: ExperimentEvidence, rules: DecisionRules) -> str:
    if not rules.preference_z:
        return ""
    least = rules.least_preference(evidence.days, evidence.preference_error)
    return f" (mean preference {evidence.preference:+.2f}, needed {least:+.2f})"


def _is_preferred(evidence: ExperimentEvidence, rules: DecisionRules) -> bool:
    if rules.preference_z and evidence.winners + evidence.losers + evidence.ties < rules.fewest_listeners:
        return False
    return evidence.preference >= rules.least_preference(evidence.days, evidence.preference_error)


def _sign_z(evidence: ExperimentEvidence) -> float:
    return sign_z_score(evidence.winners, evidence.losers, evidence.ties)


def _round_finite(value: float) -> float:
    return round(max(-MOST_FINITE, min(MOST_FINITE, value)), 6)
