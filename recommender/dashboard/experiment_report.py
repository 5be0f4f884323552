"""Content of an experiment's page."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as _n

from recommender.dashboard.experiment_groups import (
    MAX_LISTENERS,
    ArmEngagement,
    ListenerGroup,
    compare_groups,
    measure_arms,
)
from recommender.dashboard.formatting import (
    format_count,
    format_decimal,
    format_evidence,
    format_percent,
    format_signed,
    localize_decimals,
    stored_text,
)
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
)
from recommender.engine.experiments.sequential import (
    log_e_value_of_difference,
    log_e_value_of_losing,
    log_e_value_of_share,
    win_share_interval,
)
from recommender.experiments import seals, statistics
from recommender.experiments.power_analysis import describe_power
from recommender.models import Decision, Experiment, ExperimentNote, ExperimentSeal, ServedList
from recommender.models.experiments import outcome_label

ExperimentKind = Experiment.Kind
ExperimentStatus = Experiment.Status
MAX_DAYS: Final = 90
# If all listeners agree, z is a billion, and a chart with this value would flatten every other day.
MAX_SHOWN_Z: Final = 10.0
UNBOUNDED: Final = 1e9  # a larger bound means that the bound is unknown
# The tested model and the model that it is compared with. Wins in the report are wins of the tested model.
SIDE_NAMES: Final = {
    ExperimentKind.HOLDBACK: (_n("the champion"), _n("the holdback")),
    ExperimentKind.AA_TEST: (_n("the first copy"), _n("the second copy")),
}
DEFAULT_SIDE_NAMES: Final = (_n("the challenger"), _n("the champion"))
NO_DECISION_HINTS: Final = {
    ExperimentStatus.WAITING: _n("It starts when the running experiment ends."),
    ExperimentStatus.RUNNING: (
        _n("The daily task checks the experiment. A list counts 48 hours after it was served.")
    ),
}
ROUND_TEXT: Final = _n(
    "A round compares one song of each model in the same list; the model whose song the listener liked or "
    "played wins it."
)
# The formulas that include this text explain W and L.
E_VALUE_FORMULA: Final = _n("E = B(20 + W, 20 + L) / B(20, 20) * 2^(W + L), where B is the beta function.")


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
    groups: list[ListenerGroup]  # rounds of new, old, heavy and light listeners
    notes: list[ExperimentNote]  # of staff, oldest first
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
    gates: list[SafeString]  # results of the offline gates, a sentence each
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
    seal = ExperimentSeal.objects.filter(experiment=experiment).first()
    days = _rounds_by_day(experiment, seal)
    split = sum(rail.challengers + rail.champions for rail in evidence.guardrails)
    arms = measure_arms(experiment, now) if 0 < split <= MAX_LISTENERS else {}
    tested, other = SIDE_NAMES.get(ExperimentKind(experiment.kind), DEFAULT_SIDE_NAMES)
    sides = _(tested), _(other)
    has_power = experiment.status != ExperimentStatus.ENDED and experiment.kind != ExperimentKind.HOLDBACK
    played = sum(day["closed"] > 0 for day in days), sum(day["won"] + day["lost"] for day in days)
    return ExperimentReport(
        title=_title(experiment),
        headline=_headline(experiment, last),
        plain_numbers=_plain_numbers(sides, last, evidence, days, arms),
        groups=compare_groups(experiment, evidence),
        notes=list(experiment.notes.all()),
        sides=sides,
        checked_at=last.at if last else None,
        evidence_plot=_evidence_plot(experiment.kind, decisions, evidence) if decisions else None,
        win_share_plot=_win_share_plot(sides, decisions, evidence) if decisions else None,
        rounds_plot=_rounds_plot(days, sides) if days else None,
        allocation_checks=_allocation_rows(evidence),
        days=days,
        arms=_lists_by_arm(experiment, seal),
        guardrails=[_describe_guardrail(rail) for rail in evidence.guardrails],
        gates=[stored_text(gate["sentence"]) for gate in experiment.gates.get("gates", [])],
        power=describe_power(experiment, now, played) if has_power else "",
        decisions_url=f"{reverse('admin:recommender_decision_changelist')}?experiment__id__exact={experiment.pk}",
    )


def format_bound(value: float) -> str:
    return format_signed(value, 2) if abs(value) < UNBOUNDED else _("unknown")


def describe_unchecked(experiment: Experiment) -> str:
    hint = NO_DECISION_HINTS.get(ExperimentStatus(experiment.status))
    return f"{_('Not checked yet.')} {_(hint) if hint else ''}".rstrip()


def _latest_evidence(experiment: Experiment, last: Decision | None, now: datetime) -> ExperimentEvidence:
    if last is not None:
        return ExperimentEvidence.from_json(last.evidence)
    if experiment.started_at is None:
        return ExperimentEvidence(experiment.kind, 0)
    return statistics.gather_evidence(experiment, now)[0]


def _title(experiment: Experiment) -> str:
    if experiment.ended_at is not None:
        return _("{outcome} on {day:%Y-%m-%d}").format(
            outcome=outcome_label(experiment.outcome), day=experiment.ended_at.astimezone(UTC)
        )
    since = experiment.started_at
    return _("Running since {day:%Y-%m-%d}").format(day=since.astimezone(UTC)) if since else _("Waiting")


def _headline(experiment: Experiment, last: Decision | None) -> str:
    latest = stored_text(str(last.verdict["reason"])) if last else describe_unchecked(experiment)
    reason = stored_text(experiment.reason)
    if experiment.status != ExperimentStatus.ENDED or latest == reason:
        return latest
    return format_html("{} {} {}", reason, _("Last check:"), latest) if last else reason


def _plain_numbers(
    sides: tuple[str, str],
    last: Decision | None,
    evidence: ExperimentEvidence,
    days: list[dict[str, Any]],
    arms: Mapping[str, ArmEngagement],
) -> list[str]:
    found = []
    rounds = evidence.wins + evidence.losses
    if last is not None and rounds:
        low, share, high = (format_percent(bound) for bound in _win_share_bounds(last))
        text = _(
            "{tested} won {won} of {rounds} rounds against {other}: {share} (95 % {low} to {high}). Equal "
            "models win 50 %."
        ).format(
            tested=sides[0], won=format_count(evidence.wins), rounds=format_count(rounds), other=sides[1],
            share=share, low=low, high=high,
        )  # fmt: skip
        found.append(text[:1].upper() + text[1:])
    closed = sum(day["closed"] for day in days)
    if closed:
        won, lost = (sum(day[name] for day in days) / closed for name in ("won", "lost"))
        found.append(
            _(
                "Rounds won per interleaved list: {tested} {won}, {other} {lost} "
                "({lists} lists with final results)."
            ).format(
                tested=sides[0], won=format_decimal(won, 2), other=sides[1], lost=format_decimal(lost, 2),
                lists=format_count(closed),
            )
        )  # fmt: skip
    return [*found, *(_describe_split(rail, sides, arms) for rail in evidence.guardrails)]


def _describe_split(
    rail: GuardrailDifference, sides: tuple[str, str], arms: Mapping[str, ArmEngagement]
) -> str:
    """The means of the two arms with their difference; without means, the difference alone."""
    numbers = {
        "measure": _(rail.name), "tested": sides[0], "other": sides[1], "low": format_bound(rail.low),
        "difference": format_signed(rail.difference, 2), "high": format_bound(rail.high),
    }  # fmt: skip
    tested, other = (arms.get(arm) for arm in (ServedList.Arm.CHALLENGER, ServedList.Arm.CHAMPION))
    if tested is None or other is None:
        return _(
            "{measure}, for listeners in the A/B split: {tested} {difference} compared with {other} "
            "(95 % {low} to {high})."
        ).format(**numbers)
    return _(
        "{measure}, for listeners in the A/B split: {tested} {tested_mean}, {other} {other_mean}, adjusted "
        "difference {difference} (95 % {low} to {high}); listeners: {tested_listeners} and {other_listeners}."
    ).format(
        **numbers,
        tested_mean=format_decimal(tested.songs, 2),
        tested_listeners=format_count(tested.listeners),
        other_mean=format_decimal(other.songs, 2),
        other_listeners=format_count(other.listeners),
    )


def _decision_metric(kind: str, rules: DecisionRules, unproven: int = 0) -> DecisionMetric:
    if kind == ExperimentKind.REFRESH:
        return DecisionMetric(
            "z",
            f"{_lead_text(rules, unproven)} "
            + _("On day {day} the refresh is promoted, unless z is below {limit}.").format(
                day=rules.refresh_days + rules.extra_days(unproven),
                limit=localize_decimals(f"{rules.lowest_z(unproven):g}"),
            ),
            _("z: the mean over listeners of rounds won minus rounds lost, divided by its standard error."),
            "zero", rules.lowest_z(unproven),
        )  # fmt: skip
    if kind == ExperimentKind.HOLDBACK:
        return DecisionMetric(
            _("Evidence that the champion is worse (e-value)"),
            _(
                "How strongly the rounds say that the champion is worse than the version that was champion "
                "28 days ago. At {ratio:g} : 1 or more, the older version becomes champion again. The "
                "e-value stays valid although it is checked every day."
            ).format(ratio=rules.anchor),
            _(E_VALUE_FORMULA)
            + " "
            + _(
                "W and L are the rounds that the champion won and lost. This chart shows 2 * P * E, where P "
                "is the probability that the champion wins less than half of the rounds, if its share "
                "follows the distribution Beta(20 + W, 20 + L)."
            ),
            "ratio", rules.anchor,
        )  # fmt: skip
    consequence = (
        _(
            "At {ratio:g} : 1 or more, the two copies of one model perform differently: serving or the "
            "measurement is faulty."
        ).format(ratio=rules.better)
        if kind == ExperimentKind.AA_TEST
        else _(
            "At {ratio:g} : 1 or more, a challenger that is behind is rejected at once, and one that is "
            "ahead is promoted from day {day} on, unless it is behind {when}."
        ).format(ratio=rules.better, day=rules.change_days, when=describe_late_days(rules))
    )
    return DecisionMetric(
        _("Evidence that the models differ (e-value)"),
        _(
            "How strongly the rounds say that one model is better: how many times more probable they are "
            "than if both models were equally good. Older decisions call this number “odds”."
        )
        + f" {consequence} "
        + _("The e-value stays valid although it is checked every day."),
        _(E_VALUE_FORMULA) + " " + _("W and L are the rounds won and lost."),
        "ratio", rules.better,
    )  # fmt: skip


def _lead_text(rules: DecisionRules, unproven: int) -> str:
    if not rules.refresh_until:
        return _(
            "How many standard errors the challenger is ahead of (above 0) or behind (below 0) the champion."
        )
    return _(
        "How many standard errors the challenger is ahead of (above 0) or behind (below 0) the champion in "
        "the lists served on days {first} to {last}."
    ).format(first=rules.refresh_from, last=rules.refresh_until + rules.extra_days(unproven))


def describe_late_days(rules: DecisionRules) -> str:
    if rules.late_from:
        return _("from day {day} on").format(day=rules.late_from)
    return _("in the last {days} days").format(days=rules.late_days)


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
        _n("Evidence"),
        "line",
        chart_json(
            _date_labels(decisions),
            [
                chart_series(metric.name, shown, PRIMARY_COLOUR),
                limit_series(_("Limit, {limit:g}").format(limit=metric.limit), metric.limit, len(decisions)),
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
        chart_series(_("Rounds won, %"), middle, PRIMARY_COLOUR),
        {**chart_series(_("95 % confidence sequence"), high, SECONDARY_COLOUR), **edge, "fill": "+1"},
        {**chart_series("", low, SECONDARY_COLOUR), **edge},
        limit_series(_("Equal"), 50, len(with_rounds)),
    ]
    return Plot(
        _n("Share of rounds won"),
        "line",
        chart_json(_date_labels(with_rounds), series),
        caption=_(
            "The share of rounds that {tested} won against {other}. The shaded area contains the true share "
            "with 95 % confidence, however often it is checked."
        ).format(tested=sides[0], other=sides[1])
        + " "
        + _(ROUND_TEXT),
        formula=_(
            "The shaded area is the 95 % confidence sequence: the shares that the rounds do not rule out "
            "(e-value below 20)."
        ),
        window=_describe_window(decisions),
        sample=_describe_sample(evidence),
        rows=[
            [_("Check (UTC)"), _("Share won, %"), _("Lower bound"), _("Upper bound")],
            *(
                [_format_moment(one.at), *(format_decimal(one, 1) for one in (share, lower, upper))]
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
    rows = [[_("Check (UTC)"), _("Rounds won"), _("Rounds lost"), metric, _("Share won, %"), _("Outcome")]]
    for decision in decisions[::-1]:
        value = _metric_value(kind, decision)
        low, middle, high = (100 * share for share in _win_share_bounds(decision))
        rows.append(
            [
                _format_moment(decision.at),
                format_count(decision.evidence["wins"]),
                format_count(decision.evidence["losses"]),
                format_signed(value, 2) if kind == ExperimentKind.REFRESH else format_evidence(value),
                _("{share} ({low} to {high})").format(
                    share=format_decimal(middle, 1), low=format_decimal(low, 1), high=format_decimal(high, 1)
                ),
                outcome_label(decision.outcome),
            ]
        )
    return rows


def _describe_window(decisions: list[Decision]) -> str:
    first, last = (f"{one.at.astimezone(UTC):%Y-%m-%d}" for one in (decisions[0], decisions[-1]))
    number = len(decisions)
    return (
        _("One check, {first}.").format(first=first)
        if number == 1
        else _("{number} checks, {first} to {last}.").format(number=number, first=first, last=last)
    )


def _describe_sample(evidence: ExperimentEvidence) -> str:
    rounds, listeners = format_count(evidence.wins + evidence.losses), format_count(evidence.listeners)
    return _("{rounds} decisive rounds of {listeners} listeners at the last check.").format(
        rounds=rounds, listeners=listeners
    )


def _date_labels(decisions: list[Decision]) -> list[str]:
    return [f"{decision.at.astimezone(UTC):%m-%d}" for decision in decisions]


def _format_moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def _rounds_plot(days: list[dict[str, Any]], sides: tuple[str, str]) -> Plot:
    ours, others = (_("Won by {side}").format(side=side) for side in sides)
    series = [
        chart_series(ours, [day["won"] for day in days], PRIMARY_COLOUR),
        chart_series(others, [day["lost"] for day in days], SECONDARY_COLOUR),
    ]
    return Plot(
        _n("Rounds by day"),
        "bar",
        chart_json([f"{day['day']:%m-%d}" for day in days], series),
        caption=_("Decisive rounds won by each model, by the day on which their list was served.")
        + f" {_(ROUND_TEXT)} "
        + _("The round is decisive if the listener liked or played only one of the two songs."),
        formula=_(
            "Only a listener's first list of a day counts, with at most three decisive rounds. A list is "
            "closed 48 hours after it was served, so the last two days are still open."
        ),
        window=_("The last {days} days with lists of the experiment, in UTC.").format(days=len(days))
        if len(days) > 1
        else _("One day, in UTC."),
        sample=_("{closed} of {lists} lists have final results.").format(
            closed=format_count(sum(day["closed"] for day in days)),
            lists=format_count(sum(day["lists"] for day in days)),
        ),
        rows=[
            [_("Day"), _("Lists"), _("Closed lists"), ours, others],
            *(
                [f"{day['day']}", *(format_count(day[name]) for name in ("lists", "closed", "won", "lost"))]
                for day in days[::-1]
            ),
        ],
    )


def _rounds_by_day(experiment: Experiment, seal: ExperimentSeal | None) -> list[dict[str, Any]]:
    """Counts of rounds by day, oldest first; `won` counts the challenger's, in a holdback the champion's."""
    ours, others = ("losses", "wins") if experiment.kind == ExperimentKind.HOLDBACK else ("wins", "losses")
    counted = seals.count_days(experiment) if seal is None else seals.sealed_days(seal)
    return [{**day, "won": day[ours], "lost": day[others]} for day in counted[-MAX_DAYS:]]


def _allocation_rows(evidence: ExperimentEvidence) -> list[dict[str, str]]:
    rows = []
    for check in evidence.coins:
        total = check.inside + check.outside
        if 0 < check.share < 1:
            rows.append(
                {
                    "name": _(check.name),
                    "total": format_count(total),
                    "seen": format_percent(check.inside / total) if total else _("none yet"),
                    "planned": format_percent(check.share),
                    "e_value": format_evidence(
                        log_e_value_of_share(check.inside, check.outside, check.share)
                    ),
                }
            )
    return rows


def _describe_guardrail(rail: GuardrailDifference) -> str:
    return _(
        "{measure}: {difference} ({low} to {high}); listeners: {challengers} with the challenger, "
        "{champions} with the champion"
    ).format(
        measure=_(rail.name), difference=format_signed(rail.difference, 2), low=format_bound(rail.low),
        high=format_bound(rail.high), challengers=rail.challengers, champions=rail.champions,
    )  # fmt: skip


def _lists_by_arm(experiment: Experiment, seal: ExperimentSeal | None) -> list[dict[str, Any]]:
    found = seals.count_arms(experiment) if seal is None else seals.sealed_arms(seal)
    return [{**row, "arm": _(str(ServedList.Arm(row["arm"]).label))} for row in found]
