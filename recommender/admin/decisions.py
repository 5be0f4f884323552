"""Admin of decisions on experiments."""

import math
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from ingestion.admin import ReadOnlyAdmin
from recommender.dashboard.experiment_report import describe_late_days, format_bound, outcome_label
from recommender.dashboard.formatting import format_count, format_percent
from recommender.engine.experiments.decision_thresholds import DecisionRules
from recommender.engine.experiments.evidence import (
    AllocationCheck,
    ExperimentEvidence,
    ExperimentKind,
    format_evidence_ratio,
)
from recommender.engine.experiments.sequential import (
    log_e_value_of_difference,
    log_e_value_of_losing,
    log_e_value_of_share,
    sign_z_score,
)
from recommender.models import Decision

OUTCOME_COLOURS: Final = {
    "waiting": "info",
    "running": "info",
    "promote": "success",
    "reject": "default",
    "inconclusive": "default",
    "void": "default",
    "invalid": "danger",
    "rollback": "danger",
}


class DecisionFact(NamedTuple):
    name: str
    value: str
    rule: str


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
    list_display = ("id", "at", "experiment", "outcome_column", "reason")
    list_filter = ("final", "outcome", "at")
    list_select_related = ("experiment", "experiment__champion", "experiment__challenger")
    list_before_template = "admin/recommender/about_decisions.html"
    when_empty = "The first check follows the day after an experiment starts."
    change_form_before_template = "admin/recommender/decision.html"
    fieldsets = (
        (None, {"fields": (("experiment", "promotion"),)}),
        ("Stored details", {"classes": ["collapse"],
                             "fields": ("evidence", "rules", "verdict", "code", "data_sha256")}),
    )  # fmt: skip

    @display(description="Outcome", ordering="outcome", label=OUTCOME_COLOURS)
    def outcome_column(self, decision: Decision) -> tuple[str, str]:
        return decision.outcome, outcome_label(decision.outcome)

    @display(description="Reason")
    def reason(self, decision: Decision) -> str:
        return str(decision.verdict["reason"])

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        decision = Decision.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        context = {**(extra_context or {})}
        if decision is not None:
            context |= {
                "decision": decision,
                "outcome": outcome_label(decision.outcome),
                "facts": decision_facts(decision),
            }
        return super().change_view(request, object_id, form_url, context)


def decision_facts(decision: Decision) -> list[DecisionFact]:
    """The decision's numbers, each with the rule in force at that time."""
    evidence, rules = ExperimentEvidence.from_json(decision.evidence), DecisionRules(**decision.rules)
    rounds = f"{format_count(evidence.wins)} : {format_count(evidence.losses)}"
    return [
        DecisionFact("Days since the start", str(evidence.days), _days_rule(evidence.kind, rules)),
        DecisionFact(_rounds_label(evidence.kind), rounds, ""),
        *_deciding_facts(evidence, rules),
        *(_allocation_fact(check, rules) for check in evidence.coins if 0 < check.share < 1),
        DecisionFact(
            "Listeners who got lists from both halves of the A/B split",
            format_percent(evidence.crossed),
            f"invalid above {format_percent(rules.crossed)}",
        ),
        DecisionFact(
            "Lists from an arm that should serve none", format_count(evidence.leaked), "invalid above 0"
        ),
        *(
            DecisionFact(
                f"{rail.name} in the A/B split, challenger minus champion",
                f"{rail.difference:+.2f} ({format_bound(rail.low)} to {format_bound(rail.high)})",
                "rolled back if the whole interval is below 0, with at least "
                f"{rules.split_listeners} listeners in each half",
            )
            for rail in evidence.guardrails
        ),
        DecisionFact("Offline gates", _gate_text(evidence), "decide if there are too few rounds"),
        DecisionFact(
            "Listening history", evidence.feed or "imported", "no decision until this is “imported”"
        ),
        DecisionFact("Serving failure", evidence.hard_failure or "none", "rolled back at any failure"),
    ]


def _allocation_fact(check: AllocationCheck, rules: DecisionRules) -> DecisionFact:
    total = check.inside + check.outside
    e_value = format_evidence_ratio(log_e_value_of_share(check.inside, check.outside, check.share))
    return DecisionFact(
        f"Allocation check: {check.name}",
        f"{format_count(check.inside)} of {format_count(total)}, e-value {e_value}",
        f"planned {format_percent(check.share)}; invalid from an e-value of {rules.mismatch:g} : 1",
    )


def _rounds_label(kind: str) -> str:
    is_holdback = kind == ExperimentKind.HOLDBACK
    return f"Rounds won, {'champion : holdback' if is_holdback else 'challenger : champion'}"


def _days_rule(kind: str, rules: DecisionRules) -> str:
    if kind == ExperimentKind.REFRESH:
        return (
            f"decided on day {rules.refresh_days}; with too little traffic, on day {rules.refresh_deadline} "
            "at the latest"
        )
    if kind == ExperimentKind.CHANGE:
        return (
            f"promoted on day {rules.change_days} at the earliest; ends on day {rules.deadline} at the latest"
        )
    if kind == ExperimentKind.AA_TEST:
        return f"ends on day {rules.equals_days}"
    return ""


def _deciding_facts(evidence: ExperimentEvidence, rules: DecisionRules) -> list[DecisionFact]:
    if evidence.kind == ExperimentKind.REFRESH:
        return [
            DecisionFact("Listeners with a decisive round", format_count(evidence.listeners),
                         f"at least {rules.fewest_listeners}"),
            DecisionFact("z: lead of the challenger, in standard errors", f"{evidence.z:+.2f}",
                         f"rejected below {rules.lowest_z(evidence.unproven):g}"),
        ]  # fmt: skip
    if evidence.kind == ExperimentKind.HOLDBACK:
        ln_e = log_e_value_of_losing(evidence.wins, evidence.losses)
        e_value = format_evidence_ratio(ln_e) if math.isfinite(ln_e) else "none"
        return [
            DecisionFact(
                "Evidence that the champion is worse (e-value)",
                e_value,
                f"rolled back from {rules.anchor:g} : 1",
            )
        ]
    e_value = format_evidence_ratio(log_e_value_of_difference(evidence.wins, evidence.losses))
    if evidence.kind == ExperimentKind.AA_TEST:
        rule = f"invalid from {rules.better:g} : 1"
        return [DecisionFact("Evidence that the copies differ (e-value)", e_value, rule)]
    late = f"{format_count(evidence.late_wins)} : {format_count(evidence.late_losses)}"
    return [
        DecisionFact(
            "Evidence that the models differ (e-value)", e_value, f"decided from {rules.better:g} : 1"
        ),
        DecisionFact(
            f"Rounds won {describe_late_days(rules)}", late, "promoted only if the challenger is not behind"
        ),
        *_listener_facts(evidence, rules),
    ]


def _listener_facts(evidence: ExperimentEvidence, rules: DecisionRules) -> list[DecisionFact]:
    """The facts about listeners; none in decisions from before listeners were counted."""
    if not (rules.sign_z or rules.preference_z):
        return []
    heavy, light = (
        f"{format_count(wins)} : {format_count(losses)}" for wins, losses in (evidence.heavy, evidence.light)
    )
    return [
        *(_preference_facts(evidence, rules) if rules.preference_z else _sign_facts(evidence, rules)),
        DecisionFact("Rounds of the most active third of the listeners", heavy, ""),
        DecisionFact("Rounds of the least active third of the listeners", light, ""),
    ]


def _preference_facts(evidence: ExperimentEvidence, rules: DecisionRules) -> list[DecisionFact]:
    least = rules.least_preference(evidence.days, evidence.preference_error)
    return [
        DecisionFact(
            f"Rounds won in the last {rules.recent_days} closed days",
            f"{format_count(evidence.recent_wins)} : {format_count(evidence.recent_losses)}",
            "promoted only if the challenger is not behind",
        ),
        DecisionFact(
            "Listeners who prefer the challenger : the champion",
            f"{format_count(evidence.winners)} : {format_count(evidence.losers)}",
            f"promoted from {rules.fewest_listeners} listeners on",
        ),
        DecisionFact(
            "Mean preference of the listeners, from -1 (champion) to 1 (challenger)",
            f"{evidence.preference:+.2f}",
            f"promoted from {least:+.2f} on: {rules.tolerated_share:.0%} of bots would make "
            f"{rules.tolerated_share:+.2f}, the rest is chance",
        ),
    ]


def _sign_facts(evidence: ExperimentEvidence, rules: DecisionRules) -> list[DecisionFact]:
    """The sign test over listeners, by which rules up to version 3 decided."""
    z = sign_z_score(evidence.winners, evidence.losers, evidence.ties)
    return [
        DecisionFact(
            "Listeners who prefer the challenger : the champion",
            f"{format_count(evidence.winners)} : {format_count(evidence.losers)}, z {z:+.2f}",
            f"promoted from z {rules.sign_z:g} and {rules.fewest_listeners} listeners on",
        )
    ]


def _gate_text(evidence: ExperimentEvidence) -> str:
    return {True: "passed", False: "failed", None: "not enough data"}[evidence.gate]
