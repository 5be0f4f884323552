"""Every look at a test, with all it rested on."""

import math
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from ingestion.admin import ReadOnlyAdmin
from recommender.dashboard.experiment_report import bound, called
from recommender.engine.experiments.decision_rules import Evidence, Kind, Rules, odds_told
from recommender.engine.experiments.sequential import ln_e_of_losing, ln_e_of_share, ln_e_of_wins
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


class Ground(NamedTuple):
    """One thing that a decision rested on: what was counted, and what the rule asks."""

    what: str
    counted: str
    rule: str


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
    list_display = ("id", "at", "experiment", "said", "why")
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
    def said(self, decision: Decision) -> tuple[str, str]:
        return decision.outcome, called(decision.outcome)

    @display(description="Why")
    def why(self, decision: Decision) -> str:
        return str(decision.verdict["reason"])

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        found = Decision.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        told = (
            {"decision": found, "called": called(found.outcome), "grounds": grounds(found)} if found else {}
        )
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})


def grounds(decision: Decision) -> list[Ground]:
    """Each number that was asked, beside the threshold of that day."""
    evidence, rules = Evidence.from_json(decision.evidence), Rules(**decision.rules)
    return [
        Ground("Days since the start", str(evidence.days), _days(evidence.kind, rules)),
        Ground(_rounds(evidence.kind), f"{evidence.wins} : {evidence.losses}", ""),
        *_deciding(evidence, rules),
        *(Ground(coin.name, f"{coin.inside} of {coin.inside + coin.outside}, odds against chance "
                 f"{odds_told(ln_e_of_share(coin.inside, coin.outside, coin.share))}",
                 f"{coin.share:.0%}; invalid from {rules.mismatch:g} : 1")
          for coin in evidence.coins if 0 < coin.share < 1),
        Ground("Listeners who were served by both arms", f"{evidence.crossed:.1%}",
               f"invalid above {rules.crossed:.0%}"),
        Ground("Lists from an arm that has no share", str(evidence.leaked), "invalid above 0"),
        *(Ground(f"{rail.name}, challenger's listeners less the champion's",
                 f"{rail.difference:+.2f} ({bound(rail.low)} to {bound(rail.high)})",
                 f"from {rules.split_listeners} listeners an arm")
          for rail in evidence.guardrails),
        Ground("Measured before any listener saw it", _gate(evidence), ""),
        Ground("Broken", evidence.hard_failure or "nothing", "anything ends the test"),
    ]  # fmt: skip


def _rounds(kind: str) -> str:
    return "Rounds, champion : anchor" if kind == Kind.ANCHOR else "Rounds, challenger : champion"


def _days(kind: str, rules: Rules) -> str:
    if kind == Kind.REFRESH:
        return f"at least {rules.refresh_days}; with little traffic {rules.refresh_deadline}"
    if kind == Kind.CHANGE:
        return f"at least {rules.change_days}, at most {rules.deadline}"
    if kind == Kind.EQUALS:
        return f"at most {rules.equals_days}"
    return ""


def _deciding(evidence: Evidence, rules: Rules) -> list[Ground]:
    """What a test of its kind is decided by."""
    if evidence.kind == Kind.REFRESH:
        return [
            Ground("Listeners with a round that counts", str(evidence.listeners),
                   f"at least {rules.fewest_listeners}"),
            Ground("z: the listeners' mean balance over its standard error", f"{evidence.z:+.2f}",
                   f"rejected below {rules.refresh_z:g}"),
        ]  # fmt: skip
    if evidence.kind == Kind.ANCHOR:
        ln_e = ln_e_of_losing(evidence.wins, evidence.losses)
        told = odds_told(ln_e) if math.isfinite(ln_e) else "none"
        return [Ground("Odds that the champion is worse", told, f"rolled back from {rules.anchor:g} : 1")]
    won = ln_e_of_wins(evidence.wins, evidence.losses)
    late = f"{evidence.late_wins} : {evidence.late_losses}"
    return [
        Ground("Odds that one is better", odds_told(won), f"from {rules.better:g} : 1"),
        Ground(f"Rounds of the last {rules.late_days} days", late, "not more lost than won"),
    ]


def _gate(evidence: Evidence) -> str:
    return {True: "passes", False: "does not pass", None: "has no opinion"}[evidence.gate]
