"""Limits of refreshes that add up to a decline which no single test can show."""

from datetime import datetime, timedelta
from typing import Final

from ingestion.models import Incident
from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES, DecisionRules
from recommender.experiments.eligibility import AUTOMATIC_ACTOR
from recommender.models import Decision, Experiment, Promotion, TrainingRun, sql

QUARTER: Final = timedelta(days=91)
MOST_ROLLBACKS: Final = 2  # in a quarter: from so many on, refreshes are frozen


def unproven_refreshes(at: datetime, rules: DecisionRules = DEFAULT_RULES) -> list[Decision]:
    """Decisions of the latest unbroken series of refreshes promoted without a win, newest first.

    Returns at most `rules.unproven_most` decisions, because more would not change the result.
    """
    promoted = Decision.objects.filter(final=True, at__lte=at, promotion__isnull=False)
    found: list[Decision] = []
    for decision in promoted.select_related("experiment", "promotion").order_by("-at", "-pk")[
        : rules.unproven_most
    ]:
        test, promotion = decision.experiment, decision.promotion
        if test is None or promotion is None or test.kind != Experiment.Kind.REFRESH:
            break
        if promotion.rollback or decision.evidence["z"] >= rules.proven_z:
            break
        found.append(decision)
    return found


def why_frozen(now: datetime) -> str:
    """The reason why no refresh is tested; empty if refreshes are tested.

    Refreshes are frozen if the holdback's version was restored twice in a quarter, or if new versions lost
    their lead over RP3beta. The freeze ends when a full retrain succeeds, or when a person promotes a
    version, rolls back or starts an experiment.
    """
    since = _released_at(now)
    fallen = Incident.objects.filter(kind="yardstick_fell", opened_at__gt=since, opened_at__lte=now).first()
    if fallen is not None:
        return f"new versions lost their lead over RP3beta on {fallen.opened_at:%Y-%m-%d}."
    rollbacks = Experiment.objects.filter(
        kind=Experiment.Kind.HOLDBACK, outcome=Experiment.Outcome.ROLLBACK, ended_at__gt=since,
        ended_at__lte=now,
    ).order_by("ended_at")  # fmt: skip
    ended = [one for one in rollbacks.values_list("ended_at", flat=True) if one]
    for place, first in enumerate(ended):
        # The freeze stays when these are older than a quarter: time alone proves no refresh.
        together = [one for one in ended[place:] if one - first <= QUARTER]
        if len(together) >= MOST_ROLLBACKS:
            days = " and ".join(f"{one:%Y-%m-%d}" for one in together)
            return f"the champion lost to the one of 28 days before, and was replaced by it, on {days}."
    return ""


def _released_at(now: datetime) -> datetime:
    """When a full retrain or a person last changed what serves or is tested; long ago if never."""
    full = TrainingRun.objects.filter(full=True, status=TrainingRun.Status.SUCCEEDED, finished_at__lte=now)
    promoted = Promotion.objects.filter(at__lte=now).exclude(by=AUTOMATIC_ACTOR)
    started = Experiment.objects.filter(
        kind__in=(Experiment.Kind.REFRESH, Experiment.Kind.CHANGE), created_at__lte=now
    ).exclude(by=AUTOMATIC_ACTOR)
    moments = (
        full.order_by("-finished_at").values_list("finished_at", flat=True).first(),
        promoted.order_by("-at").values_list("at", flat=True).first(),
        started.order_by("-created_at").values_list("created_at", flat=True).first(),
    )
    return max((one for one in moments if one is not None), default=sql.EPOCH)
