"""A test as a person reads it: what was tried, what came out day by day, why it ended so."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from django.db.models import Count, Sum
from django.urls import reverse

from recommender.engine.experiments.decision_rules import (
    LN_MANY,
    USUAL,
    Evidence,
    Guardrail,
    Rules,
    odds_told,
)
from recommender.engine.experiments.sequential import (
    ln_e_of_losing,
    ln_e_of_share,
    ln_e_of_wins,
    share_of_wins,
)
from recommender.experiments import statistics
from recommender.experiments.power_analysis import card_of
from recommender.models import Decision, Experiment, ScoredList, ServedList

Kind = Experiment.Kind
Status = Experiment.Status
MOST_DAYS: Final = 90
MOST_Z: Final = 10.0  # where all listeners agree it is a billion, beside which no other day could be seen
UNKNOWN: Final = 1e9  # beyond it a bound says: anything
OURS, OTHER, LIMIT = "var(--color-primary-600)", "#94a3b8", "#d97706"
# Who is on trial, and against whom; rounds are won by the first.
SIDES: Final = {Kind.ANCHOR: ("the champion", "the anchor"), Kind.EQUALS: ("the one copy", "the other")}
USUAL_SIDES: Final = ("the challenger", "the champion")
CALLED: Final = {
    "waiting": "Not decided",
    "promote": "Promoted",
    "reject": "Rejected",
    "rollback": "Rolled back",
}
UNSEEN: Final = {
    Status.WAITING: "It waits for the test before it to end.",
    Status.RUNNING: "The loop looks once a day; a list counts 48 hours after it was served.",
}


class Measure(NamedTuple):
    """What decides a kind of test, on which scale of the chart's script, and the limit by the day's rules."""

    name: str
    formula: str
    scale: str
    limit: float


@dataclass(frozen=True)
class Drawn:
    """A chart of the looks, as Chart.js takes it, and the words that belong to it."""

    formula: str
    scale: str
    data: str


@dataclass(frozen=True)
class Story:
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
    looked_at: datetime | None
    odds: Drawn | None
    share: Drawn | None
    looks: list[list[str]]
    sample: str
    rounds: str
    coins: list[dict[str, Any]]
    days: list[dict[str, Any]]
    arms: list[dict[str, Any]]
    guardrails: list[str]
    gates: list[dict[str, Any]]
    card: str
    decisions: str


def story_of(experiment: Experiment, now: datetime) -> Story:
    """Everything that is known of a test, for people.

    What the last look counted is told, and not counted again: it was decided on that, and with many listeners
    counting takes seconds.
    """
    looks = list(Decision.objects.filter(experiment=experiment).order_by("-at")[:MOST_DAYS])[::-1]
    last = looks[-1] if looks else None
    numbers = _numbers(experiment, last, now)
    days, sides = _days(experiment), SIDES.get(Kind(experiment.kind), USUAL_SIDES)
    is_seen = experiment.status != Status.ENDED and experiment.kind != Kind.ANCHOR
    played = sum(day["closed"] > 0 for day in days), sum(day["won"] + day["lost"] for day in days)
    return Story(
        title=_title(experiment), headline=_headline(experiment, last), sides=sides,
        looked_at=last.at if last else None,
        odds=_odds_chart(experiment.kind, looks) if looks else None,
        share=_share_chart(sides, looks) if looks else None,
        looks=_table(experiment.kind, looks), sample=_sample(numbers, looks),
        rounds=_rounds_chart(days, sides), coins=_coins(numbers), days=days, arms=_arms(experiment),
        guardrails=[_guardrail(rail) for rail in numbers.guardrails],
        gates=experiment.gates.get("gates", []),
        card=card_of(experiment, now, played) if is_seen else "",
        decisions=f"{reverse('admin:recommender_decision_changelist')}?experiment__id__exact={experiment.pk}",
    )  # fmt: skip


def called(outcome: str) -> str:
    """The outcome as people say it."""
    return CALLED.get(outcome, outcome.capitalize())


def bound(value: float) -> str:
    """One end of a confidence sequence; of too few listeners it is anything."""
    return f"{value:+.2f}" if abs(value) < UNKNOWN else "unknown"


def unseen(experiment: Experiment) -> str:
    """What is said of a test that nobody has looked at."""
    return f"Nobody has looked at it yet. {UNSEEN.get(Status(experiment.status), '')}"


def _numbers(experiment: Experiment, last: Decision | None, now: datetime) -> Evidence:
    if last is not None:
        return Evidence.from_json(last.evidence)
    # Of a test that waits nothing is to be counted yet.
    is_begun = experiment.started_at is not None
    return statistics.gather(experiment, now)[0] if is_begun else Evidence(experiment.kind, 0)


def _title(experiment: Experiment) -> str:
    if experiment.ended_at is not None:
        return f"{called(experiment.outcome)} on {experiment.ended_at.astimezone(UTC):%Y-%m-%d}"
    since = experiment.started_at
    return f"Running since {since.astimezone(UTC):%Y-%m-%d}" if since else "Waiting"


def _headline(experiment: Experiment, last: Decision | None) -> str:
    said = str(last.verdict["reason"]) if last else unseen(experiment)
    if experiment.status != Status.ENDED or said == experiment.reason:
        return said
    return f"{experiment.reason} The last look: {said}" if last else experiment.reason


def _measure(kind: str, rules: Rules) -> Measure:
    if kind == Kind.REFRESH:
        return Measure(
            "z", f"z: the listeners' mean balance of rounds won and lost over its standard error. From day "
            f"{rules.refresh_days} on the refresh is promoted, but below {rules.refresh_z:g} rejected.",
            "zero", rules.refresh_z,
        )  # fmt: skip
    if kind == Kind.ANCHOR:
        return Measure(
            "Odds that the champion is worse",
            "E x 2 I(20 + W, 20 + L), I the chance that it wins less than half, E = Beta(20 + W, 20 + L) / "
            f"Beta(20, 20) x 2^(W + L). It may be looked at every day; at {rules.anchor:g} : 1 the anchor "
            "comes back.",
            "odds", rules.anchor,
        )  # fmt: skip
    decides = "there is a fault in the serving" if kind == Kind.EQUALS else "it decides, from day "
    day = "" if kind == Kind.EQUALS else str(rules.change_days)
    return Measure(
        "Odds that one is better",
        "E = Beta(20 + W, 20 + L) / Beta(20, 20) x 2^(W + L), W and L the rounds won and lost. It may be "
        f"looked at every day; at {rules.better:g} : 1 {decides}{day}.",
        "odds", rules.better,
    )  # fmt: skip


def _value(kind: str, look: Decision) -> float:
    """What decides, at one look; odds as their logarithm."""
    wins, losses = look.evidence["wins"], look.evidence["losses"]
    if kind == Kind.REFRESH:
        return float(max(-MOST_Z, min(MOST_Z, look.evidence["z"])))
    ln_e = ln_e_of_losing(wins, losses) if kind == Kind.ANCHOR else ln_e_of_wins(wins, losses)
    return float(max(-LN_MANY, min(LN_MANY, ln_e)))


def _odds_chart(kind: str, looks: list[Decision]) -> Drawn:
    measure = _measure(kind, Rules(**looks[-1].rules))
    values = [_value(kind, look) for look in looks]
    found = [round(value if kind == Kind.REFRESH else math.exp(value), 6) for value in values]
    lines = [
        {"label": measure.name, "data": found, "borderColor": OURS, "backgroundColor": OURS},
        {"label": f"Limit, {measure.limit:g}", "data": [measure.limit] * len(looks), "borderColor": LIMIT,
         "backgroundColor": LIMIT, "borderDash": [6, 4], "pointRadius": 0},
    ]  # fmt: skip
    return Drawn(measure.formula, measure.scale, json.dumps({"labels": _dates(looks), "datasets": lines}))


def _share_chart(sides: tuple[str, str], looks: list[Decision]) -> Drawn:
    # Of no rounds the bounds are 0 and 1, beside which no later day could be seen.
    looks = [look for look in looks if look.evidence["wins"] + look.evidence["losses"]]
    shares = [_shares(look) for look in looks]
    low, middle, high = ([round(100 * one[at], 2) for one in shares] for at in range(3))
    edge = {"borderColor": OTHER, "backgroundColor": "rgb(148 163 184 / 0.25)", "borderWidth": 1,
            "pointRadius": 0}  # fmt: skip
    lines = [
        {"label": "Rounds won, %", "data": middle, "borderColor": OURS, "backgroundColor": OURS},
        {"label": "95 % confidence sequence", "data": high, "fill": "+1", **edge},
        {"label": "", "data": low, **edge},
        {"label": "Equal", "data": [50] * len(looks), "borderColor": LIMIT, "backgroundColor": LIMIT,
         "borderDash": [6, 4], "pointRadius": 0},
    ]  # fmt: skip
    formula = (
        f"Share of the decisive rounds that {sides[0]} won against {sides[1]}, and between which shares the "
        "truth lies: those that the rounds do not refute at 20 : 1, at all looks together."
    )
    return Drawn(formula, "share", json.dumps({"labels": _dates(looks), "datasets": lines}))


def _shares(look: Decision) -> tuple[float, float, float]:
    """Of the rounds won: the lower bound, what was seen, the upper bound; of none anything is possible."""
    wins, losses = look.evidence["wins"], look.evidence["losses"]
    low, high = share_of_wins(wins, losses)
    return low, wins / (wins + losses) if wins + losses else 0.5, high


def _table(kind: str, looks: list[Decision]) -> list[list[str]]:
    decides = _measure(kind, USUAL).name
    rows = [["Look", "Rounds won", "Rounds lost", decides, "Share won, %", "Verdict"]]
    for look in looks[::-1]:
        value = _value(kind, look)
        low, middle, high = (100 * share for share in _shares(look))
        rows.append([
            f"{look.at.astimezone(UTC):%Y-%m-%d %H:%M}", str(look.evidence["wins"]),
            str(look.evidence["losses"]), f"{value:+.2f}" if kind == Kind.REFRESH else odds_told(value),
            f"{middle:.1f} ({low:.1f} to {high:.1f})", called(look.outcome),
        ])  # fmt: skip
    return rows


def _sample(numbers: Evidence, looks: list[Decision]) -> str:
    if not looks:
        return ""
    first, last = (f"{look.at.astimezone(UTC):%Y-%m-%d}" for look in (looks[0], looks[-1]))
    of = f"{numbers.wins + numbers.losses} rounds of {numbers.listeners} listeners at the last"
    return f"{len(looks)} looks, {first} to {last}; {of}."


def _dates(looks: list[Decision]) -> list[str]:
    return [f"{look.at.astimezone(UTC):%m-%d}" for look in looks]


def _rounds_chart(days: list[dict[str, Any]], sides: tuple[str, str]) -> str:
    sets = [
        {"label": f"Won by {sides[0]}", "data": [day["won"] for day in days], "backgroundColor": OURS},
        {"label": f"Won by {sides[1]}", "data": [day["lost"] for day in days], "backgroundColor": OTHER},
    ]
    return json.dumps({"labels": [f"{day['day']:%m-%d}" for day in days], "datasets": sets})


def _days(experiment: Experiment) -> list[dict[str, Any]]:
    """By day, the oldest first; won by what is on trial, which against an anchor is the champion."""
    ours, others = ("losses", "wins") if experiment.kind == Kind.ANCHOR else ("wins", "losses")
    rows = ScoredList.objects.filter(experiment=experiment).values("day")
    counted = rows.annotate(lists=Count("pk"), won=Sum(ours), lost=Sum(others), closed=Count("closed_at"))
    return [dict(row) for row in counted.order_by("-day")[:MOST_DAYS]][::-1]


def _coins(numbers: Evidence) -> list[dict[str, Any]]:
    return [
        {"name": coin.name, "seen": _share(coin.inside, coin.outside), "planned": f"{coin.share:.0%}",
         "of": coin.inside + coin.outside,
         "odds": odds_told(ln_e_of_share(coin.inside, coin.outside, coin.share))}
        for coin in numbers.coins if 0 < coin.share < 1
    ]  # fmt: skip


def _guardrail(rail: Guardrail) -> str:
    return (
        f"{rail.name}: {rail.difference:+.2f} ({bound(rail.low)} to {bound(rail.high)}), "
        f"{rail.challengers} against {rail.champions} listeners"
    )


def _arms(experiment: Experiment) -> list[dict[str, Any]]:
    served = ServedList.objects.filter(experiment=experiment).values("arm")
    # The arm and not the key: so the index alone tells.
    found = served.annotate(lists=Count("arm"), listeners=Count("listener", distinct=True)).order_by("arm")
    return [{**row, "arm": ServedList.Arm(row["arm"]).label} for row in found]


def _share(inside: int, outside: int) -> str:
    total = inside + outside
    return f"{inside / total:.1%}" if total else "none yet"
