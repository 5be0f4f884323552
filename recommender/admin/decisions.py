"""Every look at a test, with all it rested on."""

import math
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from ingestion.admin import ReadOnlyAdmin
from recommender.dashboard.experiment_report import format_bound, outcome_label
from recommender.engine.experiments.decision_rules import (
    DecisionRules,
    ExperimentEvidence,
    ExperimentKind,
    format_evidence_ratio,
)
from recommender.engine.experiments.sequential import (
    log_e_value_of_difference,
    log_e_value_of_losing,
    log_e_value_of_share,
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
    """One thing that a decision rested on: what was counted, and what the rule asks."""

    name: str
    value: str
    rule: str


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
    list_display = ("id", "at", "experiment", "verdict_label", "reason")
    list_filter = ("final", "outcome", "at")
    list_select_related = ("experiment", "experiment__champion", "experiment__challenger")
    list_before_template = "admin/recommender/about_decisions.html"
    when_empty = "The first look comes the day after a test has begun."
    change_form_before_template = "admin/recommender/decision.html"
    fieldsets = (
        (None, {"fields": (("experiment", "promotion"),)}),
        ("As it is stored", {"classes": ["collapse"],
                             "fields": ("evidence", "rules", "verdict", "code", "data_sha256")}),
    )  # fmt: skip

    @display(description="Verdict", ordering="outcome", label=OUTCOME_COLOURS)
    def verdict_label(self, decision: Decision) -> tuple[str, str]:
        return decision.outcome, outcome_label(decision.outcome)

    @display(description="Why")
    def reason(self, decision: Decision) -> str:
        return str(decision.verdict["reason"])

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        found = Decision.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        told = (
            {"decision": found, "called": outcome_label(found.outcome), "grounds": decision_facts(found)}
            if found
            else {}
        )
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})


def decision_facts(decision: Decision) -> list[DecisionFact]:
    """Each number that was asked, beside the threshold of that day."""
    evidence, rules = ExperimentEvidence.from_json(decision.evidence), DecisionRules(**decision.rules)
    return [
        DecisionFact("Days since the start", str(evidence.days), _days_rule(evidence.kind, rules)),
        DecisionFact(_rounds_label(evidence.kind), f"{evidence.wins} : {evidence.losses}", ""),
        *_deciding_facts(evidence, rules),
        *(DecisionFact(coin.name, f"{coin.inside} of {coin.inside + coin.outside}, odds against chance "
                 f"{format_evidence_ratio(log_e_value_of_share(coin.inside, coin.outside, coin.share))}",
                 f"{coin.share:.0%}; invalid from {rules.mismatch:g} : 1")
          for coin in evidence.coins if 0 < coin.share < 1),
        DecisionFact("Listeners who were served by both arms", f"{evidence.crossed:.1%}",
               f"invalid above {rules.crossed:.0%}"),
        DecisionFact("Lists from an arm that has no share", str(evidence.leaked), "invalid above 0"),
        *(DecisionFact(f"{rail.name}, challenger's listeners less the champion's",
                 f"{rail.difference:+.2f} ({format_bound(rail.low)} to {format_bound(rail.high)})",
                 f"from {rules.split_listeners} listeners an arm")
          for rail in evidence.guardrails),
        DecisionFact("Measured before any listener saw it", _gate_text(evidence), ""),
        DecisionFact("Broken", evidence.hard_failure or "nothing", "anything ends the test"),
    ]  # fmt: skip


def _rounds_label(kind: str) -> str:
    return "Rounds, champion : anchor" if kind == ExperimentKind.HOLDBACK else "Rounds, challenger : champion"


def _days_rule(kind: str, rules: DecisionRules) -> str:
    if kind == ExperimentKind.REFRESH:
        return f"at least {rules.refresh_days}; with little traffic {rules.refresh_deadline}"
    if kind == ExperimentKind.CHANGE:
        return f"at least {rules.change_days}, at most {rules.deadline}"
    if kind == ExperimentKind.AA_TEST:
        return f"at most {rules.equals_days}"
    return ""


def _deciding_facts(evidence: ExperimentEvidence, rules: DecisionRules) -> list[DecisionFact]:
    """What a test of its kind is decided by."""
    if evidence.kind == ExperimentKind.REFRESH:
        return [
            DecisionFact("Listeners with a round that counts", str(evidence.listeners),
                   f"at least {rules.fewest_listeners}"),
            DecisionFact("z: the listeners' mean balance over its standard error", f"{evidence.z:+.2f}",
                   f"rejected below {rules.refresh_z:g}"),
        ]  # fmt: skip
    if evidence.kind == ExperimentKind.HOLDBACK:
        ln_e = log_e_value_of_losing(evidence.wins, evidence.losses)
        told = format_evidence_ratio(ln_e) if math.isfinite(ln_e) else "none"
        return [
            DecisionFact("Odds that the champion is worse", told, f"rolled back from {rules.anchor:g} : 1")
        ]
    won = log_e_value_of_difference(evidence.wins, evidence.losses)
    late = f"{evidence.late_wins} : {evidence.late_losses}"
    return [
        DecisionFact("Odds that one is better", format_evidence_ratio(won), f"from {rules.better:g} : 1"),
        DecisionFact(f"Rounds of the last {rules.late_days} days", late, "not more lost than won"),
    ]


def _gate_text(evidence: ExperimentEvidence) -> str:
    return {True: "passes", False: "does not pass", None: "has no opinion"}[evidence.gate]
