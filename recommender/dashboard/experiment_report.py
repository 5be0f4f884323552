"""Content of an experiment's page."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from django.urls import reverse

from recommender.dashboard.formatting import format_count, format_percent
from recommender.dashboard.plots import (
    PRIMARY_COLOUR,
    SECONDARY_COLOUR,
    Plot,
    chart_json,
    chart_series,
    limit_series,
)
from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES, DecisionRules
from recommender.engine.experiments.evidence import (
    LOG_LARGEST_RATIO,
    ExperimentEvidence,
    GuardrailDifference,
    format_evidence_ratio,
)
from recommender.engine.experiments.sequential import (
    log_e_value_of_difference,
    log_e_value_of_losing,
    log_e_value_of_share,
    win_share_interval,
)
from recommender.experiments import seals, statistics
from recommender.experiments.power_analysis import describe_power
from recommender.models import Decision, Experiment, ExperimentSeal, ServedList

ExperimentKind = Experiment.Kind
ExperimentStatus = Experiment.Status
MAX_DAYS: Final = 90
# If all listeners agree, z is a billion, and a chart with this value would flatten every other day.
MAX_SHOWN_Z: Final = 10.0
UNBOUNDED: Final = 1e9  # a larger bound means that the bound is unknown
# The tested model and the model that it is compared with. Wins in the report are wins of the tested model.
SIDE_NAMES: Final = {
    ExperimentKind.HOLDBACK: ("the champion", "the holdback"),
    ExperimentKind.AA_TEST: ("the first copy", "the second copy"),
}
DEFAULT_SIDE_NAMES: Final = ("the challenger", "the champion")
OUTCOME_LABELS: Final = {
    "waiting": "Not decided",
    "promote": "Promoted",
    "reject": "Rejected",
    "rollback": "Rolled back",
    "void": "Stopped",
}
NO_DECISION_HINTS: Final = {
    ExperimentStatus.WAITING: "It starts when the running experiment ends.",
    ExperimentStatus.RUNNING: (
        "The daily task checks the experiment. A list counts 48 hours after it was served."
    ),
}
ROUND_TEXT: Final = (
    "A round compares one song of each model in the same list; the model whose song the listener liked or "
    "played wins it."
)
# The formulas that include this text explain W and L.
E_VALUE_FORMULA: Final = "E = B(20 + W, 20 + L) / B(20, 20) * 2^(W + L), where B is the beta function."


class DecisionMetric(NamedTuple):
    name: str
    caption: str
    formula: str
    scale: str
    limit: float


@dataclass(frozen=True)
class ExperimentReport:
    title: str
    headline: str  # the experiment's state in a sentence; `title` says it in a few words
    plain_numbers: list[str]  # the difference between the two models, each with its interval
    sides: tuple[str, str]  # names of the tested model and of the model that it is compared with
    checked_at: datetime | None  # when the evidence was counted; None: just now
    evidence_plot: Plot | None  # one point per daily check; None before the first check
    win_share_plot: Plot | None  # one point per daily check; None before the first check
    rounds_plot: Plot | None  # one bar per day; None without scored lists
    # Counts of each random allocation, the planned share, and the e-value against chance.
    allocation_checks: list[dict[str, str]]
    days: list[dict[str, Any]]  # newest last: date, lists, closed lists, rounds won and lost
    arms: list[dict[str, Any]]  # number of lists and listeners of each arm
    guardrails: list[str]
    gates: list[dict[str, Any]]  # results of the offline gates
    power: str  # the smallest difference that can be detected with this traffic; empty if there is none
    decisions_url: str

    @property
    def plots(self) -> list[Plot]:
        return [plot for plot in (self.evidence_plot, self.win_share_plot, self.rounds_plot) if plot]


def build_report(experiment: Experiment, now: datetime) -> ExperimentReport:
    # The report reads the stored evidence, on which the decision is based. Computing it again would take
    # seconds with many listeners.
    decisions = list(Decision.objects.filter(experiment=experiment).order_by("-at")[:MAX_DAYS])[::-1]
    last = decisions[-1] if decisions else None
    evidence = _latest_evidence(experiment, last, now)
    days = _rounds_by_day(experiment)
    sides = SIDE_NAMES.get(ExperimentKind(experiment.kind), DEFAULT_SIDE_NAMES)
    has_power = experiment.status != ExperimentStatus.ENDED and experiment.kind != ExperimentKind.HOLDBACK
    played = sum(day["closed"] > 0 for day in days), sum(day["won"] + day["lost"] for day in days)
    return ExperimentReport(
        title=_title(experiment),
        headline=_headline(experiment, last),
        plain_numbers=_plain_numbers(sides, last, evidence),
        sides=sides,
        checked_at=last.at if last else None,
        evidence_plot=_evidence_plot(experiment.kind, decisions, evidence) if decisions else None,
        win_share_plot=_win_share_plot(sides, decisions, evidence) if decisions else None,
        rounds_plot=_rounds_plot(days, sides) if days else None,
        allocation_checks=_allocation_rows(evidence),
        days=days,
        arms=_lists_by_arm(experiment),
        guardrails=[_describe_guardrail(rail) for rail in evidence.guardrails],
        gates=experiment.gates.get("gates", []),
        power=describe_power(experiment, now, played) if has_power else "",
        decisions_url=f"{reverse('admin:recommender_decision_changelist')}?experiment__id__exact={experiment.pk}",
    )


def outcome_label(outcome: str) -> str:
    return OUTCOME_LABELS.get(outcome, outcome.capitalize())


def format_bound(value: float) -> str:
    return f"{value:+.2f}" if abs(value) < UNBOUNDED else "unknown"


def describe_unchecked(experiment: Experiment) -> str:
    return f"Not checked yet. {NO_DECISION_HINTS.get(ExperimentStatus(experiment.status), '')}".rstrip()


def _latest_evidence(experiment: Experiment, last: Decision | None, now: datetime) -> ExperimentEvidence:
    if last is not None:
        return ExperimentEvidence.from_json(last.evidence)
    if experiment.started_at is None:
        return ExperimentEvidence(experiment.kind, 0)
    return statistics.gather_evidence(experiment, now)[0]


def _title(experiment: Experiment) -> str:
    if experiment.ended_at is not None:
        return f"{outcome_label(experiment.outcome)} on {experiment.ended_at.astimezone(UTC):%Y-%m-%d}"
    since = experiment.started_at
    return f"Running since {since.astimezone(UTC):%Y-%m-%d}" if since else "Waiting"


def _headline(experiment: Experiment, last: Decision | None) -> str:
    latest = str(last.verdict["reason"]) if last else describe_unchecked(experiment)
    if experiment.status != ExperimentStatus.ENDED or latest == experiment.reason:
        return latest
    return f"{experiment.reason} Last check: {latest}" if last else experiment.reason


def _plain_numbers(sides: tuple[str, str], last: Decision | None, evidence: ExperimentEvidence) -> list[str]:
    found = []
    rounds = evidence.wins + evidence.losses
    if last is not None and rounds:
        low, share, high = (format_percent(bound) for bound in _win_share_bounds(last))
        found.append(
            f"{sides[0].capitalize()} won {format_count(evidence.wins)} of {format_count(rounds)} rounds "
            f"against {sides[1]}: {share} (95 % {low} to {high}). Equal models win 50 %."
        )
    found += [
        f"{rail.name}, in lists of one model alone: {sides[0]} {rail.difference:+.2f} compared with "
        f"{sides[1]} (95 % {format_bound(rail.low)} to {format_bound(rail.high)})."
        for rail in evidence.guardrails
    ]
    return found


def _decision_metric(kind: str, rules: DecisionRules, unproven: int = 0) -> DecisionMetric:
    if kind == ExperimentKind.REFRESH:
        return DecisionMetric(
            "z",
            "How many standard errors the challenger is ahead of (above 0) or behind (below 0) the "
            f"champion{_counted_days(rules, unproven)}. On day "
            f"{rules.refresh_days + rules.extra_days(unproven)} the refresh is promoted, unless z is below "
            f"{rules.lowest_z(unproven):g}.",
            "z: the mean over listeners of rounds won minus rounds lost, divided by its standard error.",
            "zero", rules.lowest_z(unproven),
        )  # fmt: skip
    if kind == ExperimentKind.HOLDBACK:
        return DecisionMetric(
            "Evidence that the champion is worse (e-value)",
            "How strongly the rounds say that the champion is worse than the version that was champion 28 "
            f"days ago. At {rules.anchor:g} : 1 or more, the older version becomes champion again. The "
            "e-value stays valid although it is checked every day.",
            f"{E_VALUE_FORMULA} W and L are the rounds that the champion won and lost. This chart shows "
            "2 * P * E, where P is the probability that the champion wins less than half of the rounds, if "
            "its share follows the distribution Beta(20 + W, 20 + L).",
            "ratio", rules.anchor,
        )  # fmt: skip
    consequence = (
        f"At {rules.better:g} : 1 or more, the two copies of one model perform differently: serving or the "
        "measurement is faulty."
        if kind == ExperimentKind.AA_TEST
        else f"At {rules.better:g} : 1 or more, a challenger that is behind is rejected at once, and one "
        f"that is ahead is promoted from day {rules.change_days} on, unless it is behind "
        f"{describe_late_days(rules)}."
    )
    return DecisionMetric(
        "Evidence that the models differ (e-value)",
        "How strongly the rounds say that one model is better: how many times more probable they are than "
        f"if both models were equally good. Older decisions call this number “odds”. {consequence} "
        "The e-value stays valid although it is checked every day.",
        f"{E_VALUE_FORMULA} W and L are the rounds won and lost.",
        "ratio", rules.better,
    )  # fmt: skip


def _counted_days(rules: DecisionRules, unproven: int) -> str:
    until = rules.refresh_until + rules.extra_days(unproven)
    return f" in the lists served on days {rules.refresh_from} to {until}" if rules.refresh_until else ""


def describe_late_days(rules: DecisionRules) -> str:
    return f"from day {rules.late_from} on" if rules.late_from else f"in the last {rules.late_days} days"


def _metric_value(kind: str, decision: Decision) -> float:
    wins, losses = decision.evidence["wins"], decision.evidence["losses"]
    if kind == ExperimentKind.REFRESH:
        return float(max(-MAX_SHOWN_Z, min(MAX_SHOWN_Z, decision.evidence["z"])))
    ln_e = (
        log_e_value_of_losing(wins, losses)
        if kind == ExperimentKind.HOLDBACK
        else log_e_value_of_difference(wins, losses)
    )
    return float(max(-LOG_LARGEST_RATIO, min(LOG_LARGEST_RATIO, ln_e)))


def _evidence_plot(kind: str, decisions: list[Decision], evidence: ExperimentEvidence) -> Plot:
    metric = _decision_metric(kind, DecisionRules(**decisions[-1].rules), evidence.unproven)
    values = [_metric_value(kind, decision) for decision in decisions]
    shown = [value if kind == ExperimentKind.REFRESH else math.exp(value) for value in values]
    return Plot(
        "Evidence",
        "line",
        chart_json(
            _date_labels(decisions),
            [
                chart_series(metric.name, shown, PRIMARY_COLOUR),
                limit_series(f"Limit, {metric.limit:g}", metric.limit, len(decisions)),
            ],
        ),
        caption=metric.caption,
        formula=metric.formula,
        window=_describe_window(decisions),
        sample=_describe_sample(evidence),
        rows=_checks_table(kind, decisions),
        scale=metric.scale,
    )


def _win_share_plot(sides: tuple[str, str], decisions: list[Decision], evidence: ExperimentEvidence) -> Plot:
    # Without rounds the bounds are 0 and 1, and a chart with these values would flatten every later day.
    with_rounds = [one for one in decisions if one.evidence["wins"] + one.evidence["losses"]]
    bounds = [_win_share_bounds(one) for one in with_rounds]
    low, middle, high = ([round(100 * one[place], 2) for one in bounds] for place in range(3))
    edge = {"backgroundColor": "rgb(148 163 184 / 0.25)", "borderWidth": 1, "pointRadius": 0}
    series = [
        chart_series("Rounds won, %", middle, PRIMARY_COLOUR),
        {**chart_series("95 % confidence sequence", high, SECONDARY_COLOUR), **edge, "fill": "+1"},
        {**chart_series("", low, SECONDARY_COLOUR), **edge},
        limit_series("Equal", 50, len(with_rounds)),
    ]
    return Plot(
        "Share of rounds won",
        "line",
        chart_json(_date_labels(with_rounds), series),
        caption=f"The share of rounds that {sides[0]} won against {sides[1]}. The shaded area contains the "
        f"true share with 95 % confidence, however often it is checked. {ROUND_TEXT}",
        formula="The shaded area is the 95 % confidence sequence: the shares that the rounds do not rule out "
        "(e-value below 20).",
        window=_describe_window(decisions),
        sample=_describe_sample(evidence),
        rows=[
            ["Check (UTC)", "Share won, %", "Lower bound", "Upper bound"],
            *(
                [_format_moment(one.at), f"{share:.1f}", f"{lower:.1f}", f"{upper:.1f}"]
                for one, share, lower, upper in zip(
                    with_rounds[::-1], middle[::-1], low[::-1], high[::-1], strict=True
                )
            ),
        ],
        scale="share",
    )


def _win_share_bounds(decision: Decision) -> tuple[float, float, float]:
    """The lower limit, measured value and upper limit of the win share; 0, 0.5, 1 without rounds."""
    wins, losses = decision.evidence["wins"], decision.evidence["losses"]
    low, high = win_share_interval(wins, losses)
    return low, wins / (wins + losses) if wins + losses else 0.5, high


def _checks_table(kind: str, decisions: list[Decision]) -> list[list[str]]:
    metric = _decision_metric(kind, DEFAULT_RULES).name
    rows = [["Check (UTC)", "Rounds won", "Rounds lost", metric, "Share won, %", "Outcome"]]
    for decision in decisions[::-1]:
        value = _metric_value(kind, decision)
        low, middle, high = (100 * share for share in _win_share_bounds(decision))
        rows.append(
            [
                _format_moment(decision.at),
                format_count(decision.evidence["wins"]),
                format_count(decision.evidence["losses"]),
                f"{value:+.2f}" if kind == ExperimentKind.REFRESH else format_evidence_ratio(value),
                f"{middle:.1f} ({low:.1f} to {high:.1f})",
                outcome_label(decision.outcome),
            ]
        )
    return rows


def _describe_window(decisions: list[Decision]) -> str:
    first, last = (f"{one.at.astimezone(UTC):%Y-%m-%d}" for one in (decisions[0], decisions[-1]))
    number = len(decisions)
    return f"One check, {first}." if number == 1 else f"{number} checks, {first} to {last}."


def _describe_sample(evidence: ExperimentEvidence) -> str:
    rounds, listeners = format_count(evidence.wins + evidence.losses), format_count(evidence.listeners)
    return f"{rounds} decisive rounds of {listeners} listeners at the last check."


def _date_labels(decisions: list[Decision]) -> list[str]:
    return [f"{decision.at.astimezone(UTC):%m-%d}" for decision in decisions]


def _format_moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def _rounds_plot(days: list[dict[str, Any]], sides: tuple[str, str]) -> Plot:
    ours, others = (f"Won by {side}" for side in sides)
    series = [
        chart_series(ours, [day["won"] for day in days], PRIMARY_COLOUR),
        chart_series(others, [day["lost"] for day in days], SECONDARY_COLOUR),
    ]
    return Plot(
        "Rounds by day",
        "bar",
        chart_json([f"{day['day']:%m-%d}" for day in days], series),
        caption=f"Decisive rounds won by each model, by the day on which their list was served. "
        f"{ROUND_TEXT} The round is decisive if the listener liked or played only one of the two songs.",
        formula="Only a listener's first list of a day counts, with at most three decisive rounds. A list is "
        "closed 48 hours after it was served, so the last two days are still open.",
        window=f"The last {len(days)} days with lists of the experiment, in UTC."
        if len(days) > 1
        else "One day, in UTC.",
        sample=f"{format_count(sum(day['closed'] for day in days))} of "
        f"{format_count(sum(day['lists'] for day in days))} lists are closed.",
        rows=[
            ["Day", "Lists", "Closed lists", ours, others],
            *(
                [f"{day['day']}", *(format_count(day[name]) for name in ("lists", "closed", "won", "lost"))]
                for day in days[::-1]
            ),
        ],
    )


def _rounds_by_day(experiment: Experiment) -> list[dict[str, Any]]:
    """Counts of rounds by day, oldest first; `won` counts the challenger's, in a holdback the champion's."""
    ours, others = ("losses", "wins") if experiment.kind == ExperimentKind.HOLDBACK else ("wins", "losses")
    seal = ExperimentSeal.objects.filter(experiment=experiment).first()
    counted = seals.count_days(experiment) if seal is None else seals.sealed_days(seal)
    return [{**day, "won": day[ours], "lost": day[others]} for day in counted[-MAX_DAYS:]]


def _allocation_rows(evidence: ExperimentEvidence) -> list[dict[str, str]]:
    rows = []
    for check in evidence.coins:
        total = check.inside + check.outside
        if 0 < check.share < 1:
            rows.append(
                {
                    "name": check.name,
                    "total": format_count(total),
                    "seen": format_percent(check.inside / total) if total else "none yet",
                    "planned": format_percent(check.share),
                    "e_value": format_evidence_ratio(
                        log_e_value_of_share(check.inside, check.outside, check.share)
                    ),
                }
            )
    return rows


def _describe_guardrail(rail: GuardrailDifference) -> str:
    return (
        f"{rail.name}: {rail.difference:+.2f} ({format_bound(rail.low)} to {format_bound(rail.high)}); "
        f"listeners: {rail.challengers} with the challenger, {rail.champions} with the champion"
    )


def _lists_by_arm(experiment: Experiment) -> list[dict[str, Any]]:
    seal = ExperimentSeal.objects.filter(experiment=experiment).first()
    found = seals.count_arms(experiment) if seal is None else seals.sealed_arms(seal)
    return [{**row, "arm": ServedList.Arm(row["arm"]).label} for row in found]
