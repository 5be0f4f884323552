"""A test as a person reads it: what was tried, what came out day by day, why it ended so."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from django.db.models import Count, Sum
from django.urls import reverse

from recommender.engine.experiments.decision_rules import (
    DEFAULT_RULES,
    LOG_LARGEST_RATIO,
    DecisionRules,
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
from recommender.experiments import statistics
from recommender.experiments.power_analysis import describe_power
from recommender.models import Decision, Experiment, ScoredList, ServedList

ExperimentKind = Experiment.Kind
ExperimentStatus = Experiment.Status
MAX_DAYS: Final = 90
MAX_SHOWN_Z: Final = (
    10.0  # where all listeners agree it is a billion, beside which no other day could be seen
)
UNBOUNDED: Final = 1e9  # beyond it a bound says: anything
PRIMARY_COLOUR, SECONDARY_COLOUR, LIMIT_COLOUR = "var(--color-primary-600)", "#94a3b8", "#d97706"
# Who is on trial, and against whom; rounds are won by the first.
SIDE_NAMES: Final = {
    ExperimentKind.ANCHOR: ("the champion", "the anchor"),
    ExperimentKind.EQUALS: ("the one copy", "the other"),
}
DEFAULT_SIDE_NAMES: Final = ("the challenger", "the champion")
OUTCOME_LABELS: Final = {
    "waiting": "Not decided",
    "promote": "Promoted",
    "reject": "Rejected",
    "rollback": "Rolled back",
}
NO_DECISION_HINTS: Final = {
    ExperimentStatus.WAITING: "It waits for the test before it to end.",
    ExperimentStatus.RUNNING: "The loop looks once a day; a list counts 48 hours after it was served.",
}


class DecisionMetric(NamedTuple):
    """What decides a kind of test, on which scale of the chart's script, and the limit by the day's rules."""

    name: str
    formula: str
    scale: str
    limit: float


@dataclass(frozen=True)
class DecisionChart:
    """A chart of the looks, as Chart.js takes it, and the words that belong to it."""

    formula: str
    scale: str
    data: str


@dataclass(frozen=True)
class ExperimentReport:
    """What the page of a test shows.

    Attributes:
        headline: how things stand, in a sentence; title: the same in a word or two.
        looked_at: when that, the coins and the guardrails were counted; None: just now.
        odds, share: what decides, and where the share of rounds won lies; None: nobody has looked yet.
        looks: the same as a table, headings first.
        sample: of what they are made.
        rounds: a chart of the days as Chart.js takes it, as JSON.
        coins: name, seen, planned, odds against chance.
        days: date, lists, rounds won and lost.
        arms: how many lists each arm served.
        guardrails: of the A/B split.
        gates: what was measured before any listener saw it.
        card: what can be seen at this traffic; empty where nothing is to be seen any more.
    """

    title: str
    headline: str
    sides: tuple[str, str]
    checked_at: datetime | None
    evidence_chart: DecisionChart | None
    win_share_chart: DecisionChart | None
    checks: list[list[str]]
    sample: str
    rounds_chart: str
    allocation_checks: list[dict[str, Any]]
    days: list[dict[str, Any]]
    arms: list[dict[str, Any]]
    guardrails: list[str]
    gates: list[dict[str, Any]]
    power: str
    decisions_url: str


def build_report(experiment: Experiment, now: datetime) -> ExperimentReport:
    """Everything that is known of a test, for people.

    What the last look counted is told, and not counted again: it was decided on that, and with many listeners
    counting takes seconds.
    """
    looks = list(Decision.objects.filter(experiment=experiment).order_by("-at")[:MAX_DAYS])[::-1]
    last = looks[-1] if looks else None
    numbers = _latest_evidence(experiment, last, now)
    days, sides = (
        _rounds_by_day(experiment),
        SIDE_NAMES.get(ExperimentKind(experiment.kind), DEFAULT_SIDE_NAMES),
    )
    is_seen = experiment.status != ExperimentStatus.ENDED and experiment.kind != ExperimentKind.ANCHOR
    played = sum(day["closed"] > 0 for day in days), sum(day["won"] + day["lost"] for day in days)
    return ExperimentReport(
        title=_title(experiment),
        headline=_headline(experiment, last),
        sides=sides,
        checked_at=last.at if last else None,
        evidence_chart=_evidence_chart(experiment.kind, looks) if looks else None,
        win_share_chart=_win_share_chart(sides, looks) if looks else None,
        checks=_checks_table(experiment.kind, looks),
        sample=_describe_sample(numbers, looks),
        rounds_chart=_rounds_chart(days, sides),
        allocation_checks=_allocation_rows(numbers),
        days=days,
        arms=_lists_by_arm(experiment),
        guardrails=[_describe_guardrail(rail) for rail in numbers.guardrails],
        gates=experiment.gates.get("gates", []),
        power=describe_power(experiment, now, played) if is_seen else "",
        decisions_url=f"{reverse('admin:recommender_decision_changelist')}?experiment__id__exact={experiment.pk}",
    )


def outcome_label(outcome: str) -> str:
    """The outcome as people say it."""
    return OUTCOME_LABELS.get(outcome, outcome.capitalize())


def format_bound(value: float) -> str:
    """One end of a confidence sequence; of too few listeners it is anything."""
    return f"{value:+.2f}" if abs(value) < UNBOUNDED else "unknown"


def describe_unchecked(experiment: Experiment) -> str:
    """What is said of a test that nobody has looked at."""
    return f"Nobody has looked at it yet. {NO_DECISION_HINTS.get(ExperimentStatus(experiment.status), '')}"


def _latest_evidence(experiment: Experiment, last: Decision | None, now: datetime) -> ExperimentEvidence:
    if last is not None:
        return ExperimentEvidence.from_json(last.evidence)
    # Of a test that waits nothing is to be counted yet.
    is_begun = experiment.started_at is not None
    return (
        statistics.gather_evidence(experiment, now)[0] if is_begun else ExperimentEvidence(experiment.kind, 0)
    )


def _title(experiment: Experiment) -> str:
    if experiment.ended_at is not None:
        return f"{outcome_label(experiment.outcome)} on {experiment.ended_at.astimezone(UTC):%Y-%m-%d}"
    since = experiment.started_at
    return f"Running since {since.astimezone(UTC):%Y-%m-%d}" if since else "Waiting"


def _headline(experiment: Experiment, last: Decision | None) -> str:
    said = str(last.verdict["reason"]) if last else describe_unchecked(experiment)
    if experiment.status != ExperimentStatus.ENDED or said == experiment.reason:
        return said
    return f"{experiment.reason} The last look: {said}" if last else experiment.reason


def _decision_metric(kind: str, rules: DecisionRules) -> DecisionMetric:
    if kind == ExperimentKind.REFRESH:
        return DecisionMetric(
            "z", f"z: the listeners' mean balance of rounds won and lost over its standard error. From day "
            f"{rules.refresh_days} on the refresh is promoted, but below {rules.refresh_z:g} rejected.",
            "zero", rules.refresh_z,
        )  # fmt: skip
    if kind == ExperimentKind.ANCHOR:
        return DecisionMetric(
            "Odds that the champion is worse",
            "E x 2 I(20 + W, 20 + L), I the chance that it wins less than half, E = Beta(20 + W, 20 + L) / "
            f"Beta(20, 20) x 2^(W + L). It may be looked at every day; at {rules.anchor:g} : 1 the anchor "
            "comes back.",
            "ratio", rules.anchor,
        )  # fmt: skip
    decides = "there is a fault in the serving" if kind == ExperimentKind.EQUALS else "it decides, from day "
    day = "" if kind == ExperimentKind.EQUALS else str(rules.change_days)
    return DecisionMetric(
        "Odds that one is better",
        "E = Beta(20 + W, 20 + L) / Beta(20, 20) x 2^(W + L), W and L the rounds won and lost. It may be "
        f"looked at every day; at {rules.better:g} : 1 {decides}{day}.",
        "ratio", rules.better,
    )  # fmt: skip


def _metric_value(kind: str, decision: Decision) -> float:
    """What decides, at one look; odds as their logarithm."""
    wins, losses = decision.evidence["wins"], decision.evidence["losses"]
    if kind == ExperimentKind.REFRESH:
        return float(max(-MAX_SHOWN_Z, min(MAX_SHOWN_Z, decision.evidence["z"])))
    ln_e = (
        log_e_value_of_losing(wins, losses)
        if kind == ExperimentKind.ANCHOR
        else log_e_value_of_difference(wins, losses)
    )
    return float(max(-LOG_LARGEST_RATIO, min(LOG_LARGEST_RATIO, ln_e)))


def _evidence_chart(kind: str, decisions: list[Decision]) -> DecisionChart:
    measure = _decision_metric(kind, DecisionRules(**decisions[-1].rules))
    values = [_metric_value(kind, look) for look in decisions]
    found = [round(value if kind == ExperimentKind.REFRESH else math.exp(value), 6) for value in values]
    lines = [
        {
            "label": measure.name,
            "data": found,
            "borderColor": PRIMARY_COLOUR,
            "backgroundColor": PRIMARY_COLOUR,
        },
        {
            "label": f"Limit, {measure.limit:g}",
            "data": [measure.limit] * len(decisions),
            "borderColor": LIMIT_COLOUR,
            "backgroundColor": LIMIT_COLOUR,
            "borderDash": [6, 4],
            "pointRadius": 0,
        },
    ]
    return DecisionChart(
        measure.formula, measure.scale, json.dumps({"labels": _date_labels(decisions), "datasets": lines})
    )


def _win_share_chart(sides: tuple[str, str], decisions: list[Decision]) -> DecisionChart:
    # Of no rounds the bounds are 0 and 1, beside which no later day could be seen.
    decisions = [look for look in decisions if look.evidence["wins"] + look.evidence["losses"]]
    shares = [_win_share_bounds(look) for look in decisions]
    low, middle, high = ([round(100 * one[at], 2) for one in shares] for at in range(3))
    edge = {"borderColor": SECONDARY_COLOUR, "backgroundColor": "rgb(148 163 184 / 0.25)", "borderWidth": 1,
            "pointRadius": 0}  # fmt: skip
    lines = [
        {
            "label": "Rounds won, %",
            "data": middle,
            "borderColor": PRIMARY_COLOUR,
            "backgroundColor": PRIMARY_COLOUR,
        },
        {"label": "95 % confidence sequence", "data": high, "fill": "+1", **edge},
        {"label": "", "data": low, **edge},
        {
            "label": "Equal",
            "data": [50] * len(decisions),
            "borderColor": LIMIT_COLOUR,
            "backgroundColor": LIMIT_COLOUR,
            "borderDash": [6, 4],
            "pointRadius": 0,
        },
    ]
    formula = (
        f"Share of the decisive rounds that {sides[0]} won against {sides[1]}, and between which shares the "
        "truth lies: those that the rounds do not refute at 20 : 1, at all looks together."
    )
    return DecisionChart(formula, "share", json.dumps({"labels": _date_labels(decisions), "datasets": lines}))


def _win_share_bounds(decision: Decision) -> tuple[float, float, float]:
    """Of the rounds won: the lower bound, what was seen, the upper bound; of none anything is possible."""
    wins, losses = decision.evidence["wins"], decision.evidence["losses"]
    low, high = win_share_interval(wins, losses)
    return low, wins / (wins + losses) if wins + losses else 0.5, high


def _checks_table(kind: str, decisions: list[Decision]) -> list[list[str]]:
    decides = _decision_metric(kind, DEFAULT_RULES).name
    rows = [["Look", "Rounds won", "Rounds lost", decides, "Share won, %", "Verdict"]]
    for look in decisions[::-1]:
        value = _metric_value(kind, look)
        low, middle, high = (100 * share for share in _win_share_bounds(look))
        rows.append(
            [
                f"{look.at.astimezone(UTC):%Y-%m-%d %H:%M}",
                str(look.evidence["wins"]),
                str(look.evidence["losses"]),
                f"{value:+.2f}" if kind == ExperimentKind.REFRESH else format_evidence_ratio(value),
                f"{middle:.1f} ({low:.1f} to {high:.1f})",
                outcome_label(look.outcome),
            ]
        )
    return rows


def _describe_sample(numbers: ExperimentEvidence, decisions: list[Decision]) -> str:
    if not decisions:
        return ""
    first, last = (f"{look.at.astimezone(UTC):%Y-%m-%d}" for look in (decisions[0], decisions[-1]))
    of = f"{numbers.wins + numbers.losses} rounds of {numbers.listeners} listeners at the last"
    return f"{len(decisions)} looks, {first} to {last}; {of}."


def _date_labels(decisions: list[Decision]) -> list[str]:
    return [f"{look.at.astimezone(UTC):%m-%d}" for look in decisions]


def _rounds_chart(days: list[dict[str, Any]], sides: tuple[str, str]) -> str:
    sets = [
        {
            "label": f"Won by {sides[0]}",
            "data": [day["won"] for day in days],
            "backgroundColor": PRIMARY_COLOUR,
        },
        {
            "label": f"Won by {sides[1]}",
            "data": [day["lost"] for day in days],
            "backgroundColor": SECONDARY_COLOUR,
        },
    ]
    return json.dumps({"labels": [f"{day['day']:%m-%d}" for day in days], "datasets": sets})


def _rounds_by_day(experiment: Experiment) -> list[dict[str, Any]]:
    """By day, the oldest first; won by what is on trial, which against an anchor is the champion."""
    ours, others = ("losses", "wins") if experiment.kind == ExperimentKind.ANCHOR else ("wins", "losses")
    rows = ScoredList.objects.filter(experiment=experiment).values("day")
    counted = rows.annotate(lists=Count("pk"), won=Sum(ours), lost=Sum(others), closed=Count("closed_at"))
    return [dict(row) for row in counted.order_by("-day")[:MAX_DAYS]][::-1]


def _allocation_rows(numbers: ExperimentEvidence) -> list[dict[str, Any]]:
    return [
        {"name": coin.name, "seen": _format_share(coin.inside, coin.outside), "planned": f"{coin.share:.0%}",
         "of": coin.inside + coin.outside,
         "odds": format_evidence_ratio(log_e_value_of_share(coin.inside, coin.outside, coin.share))}
        for coin in numbers.coins if 0 < coin.share < 1
    ]  # fmt: skip


def _describe_guardrail(rail: GuardrailDifference) -> str:
    return (
        f"{rail.name}: {rail.difference:+.2f} ({format_bound(rail.low)} to {format_bound(rail.high)}), "
        f"{rail.challengers} against {rail.champions} listeners"
    )


def _lists_by_arm(experiment: Experiment) -> list[dict[str, Any]]:
    served = ServedList.objects.filter(experiment=experiment).values("arm")
    # The arm and not the key: so the index alone tells.
    found = served.annotate(lists=Count("arm"), listeners=Count("listener", distinct=True)).order_by("arm")
    return [{**row, "arm": ServedList.Arm(row["arm"]).label} for row in found]


def _format_share(inside: int, outside: int) -> str:
    total = inside + outside
    return f"{inside / total:.1%}" if total else "none yet"
