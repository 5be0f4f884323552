"""Plain numbers for an experiment's page: what arms of the A/B split and groups of listeners did."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from django.db.models import Avg, Count, ExpressionWrapper, F, FloatField, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from recommender.dashboard.formatting import format_count, format_percent
from recommender.engine.experiments.evidence import ExperimentEvidence
from recommender.engine.experiments.sequential import win_share_interval
from recommender.models import EngagedList, Experiment, Exposure, ScoredList, ServedList

Arm = ServedList.Arm
NEW_WITHIN: Final = timedelta(days=28)
# A page of an experiment with more listeners would take seconds.
MAX_LISTENERS: Final = 50_000


class ArmEngagement(NamedTuple):
    songs: float  # mean over the listeners of their engaged songs a list
    listeners: int


class ListenerGroup(NamedTuple):
    name: str
    rounds: str
    share: str  # of the rounds that the tested model won
    interval: str


def measure_arms(experiment: Experiment, now: datetime) -> Mapping[str, ArmEngagement]:
    """Engagement by arm of the A/B split, unadjusted; listeners without an engaged list count as 0."""
    if experiment.started_at is None:
        return {}
    until = experiment.ended_at or now
    lists = EngagedList.objects.filter(
        listener=OuterRef("listener"), at__gte=experiment.started_at, at__lt=until
    )
    per_list = ExpressionWrapper(F("songs_sum") * 1.0 / F("lists"), output_field=FloatField())
    of_listener = (
        lists.order_by()
        .values("listener")
        .annotate(songs_sum=Sum("engaged"), lists=Count("pk"))
        .values(per_list=per_list)
    )
    rows = (
        Exposure.objects.filter(experiment=experiment, arm__in=(Arm.CHALLENGER, Arm.CHAMPION))
        .annotate(per_list=Coalesce(Subquery(of_listener), 0.0))
        .order_by()
        .values("arm")
        .annotate(songs=Avg("per_list"), listeners=Count("pk"))
    )
    return {row["arm"]: ArmEngagement(row["songs"], row["listeners"]) for row in rows}


def compare_groups(experiment: Experiment, evidence: ExperimentEvidence) -> list[ListenerGroup]:
    """The rounds of groups of listeners, without groups that had no decisive round.

    Heavy and light listeners are those of the last check, new and old ones those of all closed lists.
    """
    counted = {
        _("Heavy: the most active third of the listeners"): evidence.heavy,
        _("Light: the least active third"): evidence.light,
        **_new_and_old(experiment),
    }
    return [_describe(name, *rounds) for name, rounds in counted.items() if sum(rounds)]


def _new_and_old(experiment: Experiment) -> dict[str, tuple[int, int]]:
    if experiment.started_at is None:
        return {}
    is_new = Q(listener__created_at__gte=experiment.started_at - NEW_WITHIN)
    found = ScoredList.objects.filter(experiment=experiment, closed_at__isnull=False).aggregate(
        new_wins=Sum("wins", filter=is_new, default=0),
        new_losses=Sum("losses", filter=is_new, default=0),
        old_wins=Sum("wins", filter=~is_new, default=0),
        old_losses=Sum("losses", filter=~is_new, default=0),
    )
    new, old = (
        (found[f"{group}_wins"], found[f"{group}_losses"])
        if experiment.kind != Experiment.Kind.HOLDBACK
        else (found[f"{group}_losses"], found[f"{group}_wins"])
        for group in ("new", "old")
    )
    days = NEW_WITHIN.days
    return {
        _("New: joined less than {days} days before the start, or since").format(days=days): new,
        _("Old: joined earlier"): old,
    }


def _describe(name: str, wins: int, losses: int) -> ListenerGroup:
    low, high = win_share_interval(wins, losses)
    return ListenerGroup(
        name,
        format_count(wins + losses),
        format_percent(wins / (wins + losses)),
        _("{low} to {high}").format(low=format_percent(low), high=format_percent(high)),
    )
