"""A test as a person reads it: what was tried, what came out day by day, why it ended so."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import Count, Sum
from django.urls import reverse

from recommender import evidence
from recommender.detecting import Detectable, detectable
from recommender.engine.sequential import ln_e_of_share
from recommender.engine.verdicts import USUAL, Evidence, odds_told
from recommender.models import Decision, Experiment, ScoredList, ServedList

MOST_DAYS: Final = 90


@dataclass(frozen=True)
class Story:
    """What the page of a test shows.

    Attributes:
        headline: how things stand, in a sentence.
        looked_at: when that, the coins and the guardrails were counted; None: just now.
        odds, rounds: charts as Chart.js takes them, as JSON.
        coins: name, seen, planned, odds against chance.
        days: date, lists, rounds won and lost.
        arms: how many lists each arm served.
        guardrails: of the A/B split.
        gates: what was measured before any listener saw it.
        card: what can be seen at this traffic; None where nothing is to be seen any more.
    """

    headline: str
    looked_at: datetime | None
    odds: str
    rounds: str
    coins: list[dict[str, Any]]
    days: list[dict[str, Any]]
    arms: list[dict[str, Any]]
    guardrails: list[dict[str, Any]]
    gates: list[dict[str, Any]]
    card: Detectable | None
    decisions: str


def story_of(experiment: Experiment, now: datetime) -> Story:
    """Everything that is known of a test, for people.

    What the last look counted is told, and not counted again: it was decided on that, and with many listeners
    counting takes seconds.
    """
    looks = list(Decision.objects.filter(experiment=experiment).order_by("-at")[:MOST_DAYS])[::-1]
    last = looks[-1] if looks else None
    numbers = Evidence.from_json(last.evidence) if last else evidence.gather(experiment, now)[0]
    days = _days(experiment)
    is_over = experiment.status == Experiment.Status.ENDED
    played = sum(day["closed"] > 0 for day in days), sum(day["wins"] + day["losses"] for day in days)
    return Story(
        headline=last.verdict["reason"] if last else "Nobody has looked at it yet.",
        looked_at=last.at if last else None,
        odds=_odds_chart(looks), rounds=_rounds_chart(days),
        coins=[
            {"name": coin.name, "seen": _share(coin.inside, coin.outside), "planned": f"{coin.share:.0%}",
             "of": coin.inside + coin.outside,
             "odds": odds_told(ln_e_of_share(coin.inside, coin.outside, coin.share))}
            for coin in numbers.coins if 0 < coin.share < 1
        ],
        days=days, arms=_arms(experiment),
        guardrails=[vars(rail) for rail in numbers.guardrails],
        gates=experiment.gates.get("gates", []),
        card=None if is_over else detectable(experiment, now, played),
        decisions=f"{reverse('admin:recommender_decision_changelist')}?experiment__id__exact={experiment.pk}",
    )  # fmt: skip


def _odds_chart(looks: list[Decision]) -> str:
    labels = [f"{look.at.astimezone(UTC):%m-%d}" for look in looks]
    found = [round(math.exp(min(look.verdict["numbers"]["ln_e"], 12.0)), 3) for look in looks]
    line = {"label": "Odds that one is better", "data": found, "borderColor": "var(--color-primary-600)"}
    limit = {
        "label": "Decides", "data": [USUAL.better] * len(looks), "borderColor": "#d97706",
        "borderDash": [6, 4], "pointRadius": 0,
    }  # fmt: skip
    return json.dumps({"labels": labels, "datasets": [line, limit]})


def _rounds_chart(days: list[dict[str, Any]]) -> str:
    sets = [
        {"label": "Won by the challenger", "data": [day["wins"] for day in days],
         "backgroundColor": "var(--color-primary-600)"},
        {"label": "Won by the champion", "data": [day["losses"] for day in days],
         "backgroundColor": "#94a3b8"},
    ]  # fmt: skip
    return json.dumps({"labels": [f"{day['day']:%m-%d}" for day in days], "datasets": sets})


def _days(experiment: Experiment) -> list[dict[str, Any]]:
    rows = ScoredList.objects.filter(experiment=experiment).values("day")
    counted = rows.annotate(
        lists=Count("pk"), wins=Sum("wins"), losses=Sum("losses"), closed=Count("closed_at")
    )
    return [dict(row) for row in counted.order_by("-day")[:MOST_DAYS]][::-1]


def _arms(experiment: Experiment) -> list[dict[str, Any]]:
    served = ServedList.objects.filter(experiment=experiment).values("arm")
    # The arm and not the key: so the index alone tells.
    found = served.annotate(lists=Count("arm"), listeners=Count("listener", distinct=True)).order_by("arm")
    return [{**row, "arm": ServedList.Arm(row["arm"]).label} for row in found]


def _share(inside: int, outside: int) -> str:
    total = inside + outside
    return f"{inside / total:.1%}" if total else "none yet"
