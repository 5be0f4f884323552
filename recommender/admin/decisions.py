"""Admin of decisions on experiments."""

import math
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.decorators import display

from ingestion.admin import ReadOnlyAdmin
from recommender.dashboard.experiment_report import describe_late_days, format_bound
from recommender.dashboard.formatting import (
    format_count,
    format_evidence,
    format_percent,
    format_signed,
    localize_decimals,
    stored_text,
)
from recommender.engine.experiments.decision_thresholds import DecisionRules
from recommender.engine.experiments.evidence import (
    AllocationCheck,
    ExperimentEvidence,
    ExperimentKind,
)
from recommender.engine.experiments.sequential import (
    log_e_value_of_difference,
    log_e_value_of_losing,
    log_e_value_of_share,
    sign_z_score,
)
from recommender.models import Decision
from recommender.models.experiments import outcome_label

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
    when_empty = _lazy("The first check follows the day after an experiment starts.")
    change_form_before_template = "admin/recommender/decision.html"
    fieldsets = (
        (None, {"fields": (("experiment", "promotion"),)}),
        (_lazy("Stored details"), {"classes": ["collapse"],
                             "fields": ("evidence", "rules", "verdict", "code", "data_sha256")}),
    )  # fmt: skip

    @display(description=_lazy("Outcome"), ordering="outcome", label=OUTCOME_COLOURS)
    def outcome_column(self, decision: Decision) -> tuple[str, str]:
        return decision.outcome, outcome_label(decision.outcome)

    @display(description=_lazy("Reason"))
    def reason(self, decision: Decision) -> SafeString:
        return stored_text(str(decision.verdict["reason"]))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        decision = self.get_object(request, object_id)
        context = {**(extra_context or {})}
        if decision is not None:
            context |= {
                "decision": decision,
                "outcome": outcome_label(decision.outcome),
                "reason": self.reason(decision),
                "facts": decision_facts(decision),
            }
        return super().change_view(request, object_id, form_url, context)


def decision_facts(decision: Decision) -> list[DecisionFact]:
    """The decision's numbers, each with the rule in force at that time."""
    evidence, rules = ExperimentEvidence.from_json(decision.evidence), DecisionRules(**decision.rules)
    rounds = f"{format_count(evidence.wins)} : {format_count(evidence.losses)}"
    return [
        DecisionFact(_("Days since the start"), str(evidence.days), _days_rule(evidence.kind, rules)),
        DecisionFact(_rounds_label(evidence.kind), rounds, ""),
        *_deciding_facts(evidence, rules),
        *(_allocation_fact(check, rules) for check in evidence.coins if 0 < check.share < 1),
        DecisionFact(
            _("Listeners who got lists from both halves of the A/B split"),
            format_percent(evidence.crossed),
            _("invalid above {share}").format(share=format_percent(rules.crossed)),
        ),
        DecisionFact(
            _("Lists from an arm that should serve none"), format_count(evidence.leaked), _("invalid above 0")
        ),
        *(
            DecisionFact(
                _("{measure} in the A/B split, challenger minus champion").format(measure=_(rail.name)),
                _("{difference} ({low} to {high})").format(
                    difference=localize_decimals(f"{rail.difference:+.2f}"),
                    low=format_bound(rail.low),
                    high=format_bound(rail.high),
                ),
                _(
                    "rolled back if the whole interval is below 0, with at least {n} listeners in each half"
                ).format(n=rules.split_listeners),
            )
            for rail in evidence.guardrails
        ),
        DecisionFact(_("Offline gates"), _gate_text(evidence), _("decide if there are too few rounds")),
        DecisionFact(
            _("Listening history"),
            evidence.feed or _("imported"),
            _("no decision while the listening history is incomplete or looks abnormal"),
        ),
        DecisionFact(
            _("Serving failure"), evidence.hard_failure or _("none"), _("rolled back at any failure")
        ),
    ]


def _allocation_fact(check: AllocationCheck, rules: DecisionRules) -> DecisionFact:
    total = check.inside + check.outside
    e_value = format_evidence(log_e_value_of_share(check.inside, check.outside, check.share))
    return DecisionFact(
        _("Allocation check: {name}").format(name=_(check.name)),
        _("{inside} of {total}, e-value {e_value}").format(
            inside=format_count(check.inside), total=format_count(total), e_value=e_value
        ),
        _("planned {share}; invalid from an e-value of {mismatch:g} : 1").format(
            share=format_percent(check.share), mismatch=rules.mismatch
        ),
    )


def _rounds_label(kind: str) -> str:
    is_holdback = kind == ExperimentKind.HOLDBACK
    return _("Rounds won, champion : holdback") if is_holdback else _("Rounds won, challenger : champion")


def _days_rule(kind: str, rules: DecisionRules) -> str:
    if kind == ExperimentKind.REFRESH:
        return _("decided on day {day}; with too little traffic, on day {deadline} at the latest").format(
            day=rules.refresh_days, deadline=rules.refresh_deadline
        )
    if kind == ExperimentKind.CHANGE:
        return _("promoted on day {day} at the earliest; ends on day {deadline} at the latest").format(
            day=rules.change_days, deadline=rules.deadline
        )
    if kind == ExperimentKind.AA_TEST:
        return _("ends on day {day}").format(day=rules.equals_days)
    return ""


def _deciding_facts(evidence: ExperimentEvidence, rules: DecisionRules) -> list[DecisionFact]:
    if evidence.kind == ExperimentKind.REFRESH:
        return [
            DecisionFact(_("Listeners with a decisive round"), format_count(evidence.listeners),
                         _("at least {n}").format(n=rules.fewest_listeners)),
            DecisionFact(_("z: lead of the challenger, in standard errors"),
                         localize_decimals(f"{evidence.z:+.2f}"),
                         _("rejected below {z}").format(
                             z=localize_decimals(f"{rules.lowest_z(evidence.unproven):g}"))),
        ]  # fmt: skip
    if evidence.kind == ExperimentKind.HOLDBACK:
        ln_e = log_e_value_of_losing(evidence.wins, evidence.losses)
        e_value = format_evidence(ln_e) if math.isfinite(ln_e) else _("none")
        return [
            DecisionFact(
                _("Evidence that the champion is worse (e-value)"),
                e_value,
                _("rolled back from {ratio:g} : 1").format(ratio=rules.anchor),
            )
        ]
    e_value = format_evidence(log_e_value_of_difference(evidence.wins, evidence.losses))
    if evidence.kind == ExperimentKind.AA_TEST:
        rule = _("invalid from {ratio:g} : 1").format(ratio=rules.better)
        return [DecisionFact(_("Evidence that the copies differ (e-value)"), e_value, rule)]
    late = f"{format_count(evidence.late_wins)} : {format_count(evidence.late_losses)}"
    return [
        DecisionFact(
            _("Evidence that the models differ (e-value)"),
            e_value,
            _("decided from {ratio:g} : 1").format(ratio=rules.better),
        ),
        DecisionFact(
            _("Rounds won {when}").format(when=describe_late_days(rules)),
            late,
            _("promoted only if the challenger won at least as many of these rounds as the champion"),
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
        DecisionFact(_("Rounds of the most active third of the listeners"), heavy, ""),
        DecisionFact(_("Rounds of the least active third of the listeners"), light, ""),
    ]


def _preference_facts(evidence: ExperimentEvidence, rules: DecisionRules) -> list[DecisionFact]:
    least = rules.least_preference(evidence.days, evidence.preference_error)
    return [
        DecisionFact(
            _("Rounds won in the last {days} closed days").format(days=rules.recent_days),
            f"{format_count(evidence.recent_wins)} : {format_count(evidence.recent_losses)}",
            _("promoted only if the challenger won at least as many of these rounds as the champion"),
        ),
        DecisionFact(
            _("Listeners who prefer the challenger : the champion"),
            f"{format_count(evidence.winners)} : {format_count(evidence.losers)}",
            _("promoted from {n} listeners on").format(n=rules.fewest_listeners),
        ),
        DecisionFact(
            _("Mean preference of the listeners, from -1 (champion) to 1 (challenger)"),
            format_signed(evidence.preference, 2),
            _("promoted from {least} on: {share} of bots would make {made}, the rest is chance").format(
                least=format_signed(least, 2),
                share=format_percent(rules.tolerated_share),
                made=format_signed(rules.tolerated_share, 2),
            ),
        ),
    ]


def _sign_facts(evidence: ExperimentEvidence, rules: DecisionRules) -> list[DecisionFact]:
    """The sign test over listeners, by which rules up to version 3 decided."""
    z = sign_z_score(evidence.winners, evidence.losers, evidence.ties)
    return [
        DecisionFact(
            _("Listeners who prefer the challenger : the champion"),
            f"{format_count(evidence.winners)} : {format_count(evidence.losers)}, z {format_signed(z, 2)}",
            _("promoted from z {z} and {n} listeners on").format(
                z=localize_decimals(f"{rules.sign_z:g}"), n=rules.fewest_listeners
            ),
        )
    ]


def _gate_text(evidence: ExperimentEvidence) -> str:
    return {True: _("passed"), False: _("failed"), None: _("not enough data")}[evidence.gate]
