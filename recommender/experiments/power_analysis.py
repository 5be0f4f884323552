"""Power of experiments: how many days it takes to detect a difference with today's traffic."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from django.db.models import Count, Min, Q
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as _n
from scipy.special import ndtr

from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES
from recommender.engine.experiments.sequential import log_e_value_of_difference
from recommender.models import EngagementDay, Experiment, ServedList

DAY: Final = timedelta(days=1)
TRAFFIC_WINDOW: Final = timedelta(days=7)  # holds every weekday
LIKE_RATE_CHANGES: Final = (0.03, 0.05, 0.1)  # differences in the share of songs that are liked
# A song that is liked with probability p + d wins a decisive round against one liked with p with probability
# (p + d)(1 - p) / (p + d + p - 2 p (p + d)); at p = .4 that is about .5 + 1.02 d.
WIN_RATE_SLOPE: Final = 1.02
POWER_MARGIN: Final = 1.5  # standard deviations below the expected wins; 9 of 10 experiments have more wins
ROUNDS_PER_LIST: Final = 1.3  # expected decisive rounds before any were measured, at 2 engaged songs per list
MAX_DAYS: Final = 3_650
MAX_ENGAGEMENT_ROWS: Final = 21  # the days of a week, for three versions each
NO_TRAFFIC: Final = _n("No lists are requested: no difference can be detected.")


@dataclass(frozen=True)
class DetectableChanges:
    """The differences in like rate that an experiment can detect."""

    rounds_per_day: float  # decisive rounds, measured in this experiment or expected from recent traffic
    is_measured: bool  # whether `rounds_per_day` was measured in this experiment
    # Percentage points of like rate: days until such a change is detected; None for more than ten years.
    days_by_points: dict[int, int | None]
    # Percentage points of like rate: the probability that a refresh that is worse by them is rejected.
    rejection_by_points: dict[int, float]
    # Recent listeners per day and engaged songs per list, if known.
    audience: tuple[float, float] | None = None

    @property
    def sentence(self) -> str:
        if not self.rounds_per_day:
            return _(NO_TRAFFIC)
        found = [
            _("a {points}-point change in {days} days").format(points=points, days=days)
            if days
            else _("a {points}-point change not at all").format(points=points)
            for points, days in self.days_by_points.items()
        ]
        text = _("{traffic} the experiment detects {changes}.").format(
            traffic=self._traffic_text, changes=", ".join(found)
        )
        return f"{text} {self._audience_text}".rstrip()

    @property
    def refresh_sentence(self) -> str:
        if not self.rounds_per_day:
            return _(NO_TRAFFIC)
        found = [
            _("{points} points with {chance} % probability").format(points=points, chance=round(100 * chance))
            for points, chance in self.rejection_by_points.items()
        ]
        text = _("{traffic} it rejects a refresh that is worse by {changes}.").format(
            traffic=self._traffic_text, changes=", ".join(found)
        )
        return f"{text} {self._audience_text}".rstrip()

    @property
    def _traffic_text(self) -> str:
        text = (
            _("At {rounds:.0f} decisive rounds a day (measured)")
            if self.is_measured
            else _("At {rounds:.0f} decisive rounds a day (expected)")
        )
        return text.format(rounds=self.rounds_per_day)

    @property
    def _audience_text(self) -> str:
        if self.audience is None:
            return ""
        listeners, engaged = self.audience
        return _(
            "Your traffic: about {listeners:.0f} listeners a day, {engaged} engaged songs a list."
        ).format(listeners=listeners, engaged=number_format(engaged, 1))


def detectable_changes(
    list_share: float,
    now: datetime,
    closed_days_and_rounds: tuple[int, int],
    recent_engagement: Iterable[EngagementDay],
) -> DetectableChanges:
    """The differences in like rate that an experiment with this traffic can detect.

    Args:
        list_share: share of all lists that belong to the experiment.
        closed_days_and_rounds: the number of its days with closed lists, and of their decisive rounds.
        recent_engagement: daily engagement in the last weeks.
    """
    days, rounds = closed_days_and_rounds
    if days and rounds:
        rate, measured = rounds / days, True
    else:
        rate, measured = _lists_per_day(now) * list_share * ROUNDS_PER_LIST, False
    days_by_points = {round(100 * change): days_to_decision(rate, change) for change in LIKE_RATE_CHANGES}
    rejections = {round(100 * change): rejection_probability(rate, change) for change in LIKE_RATE_CHANGES}
    return DetectableChanges(rate, measured, days_by_points, rejections, recent_audience(recent_engagement))


def describe_power(experiment: Experiment, now: datetime, closed_days_and_rounds: tuple[int, int]) -> str:
    recent = EngagementDay.objects.filter(final=True, day__lte=now.date()).order_by("-day")[
        :MAX_ENGAGEMENT_ROWS
    ]
    found = detectable_changes(experiment.list_share, now, closed_days_and_rounds, recent)
    return found.refresh_sentence if experiment.kind == Experiment.Kind.REFRESH else found.sentence


def recent_audience(days: Iterable[EngagementDay]) -> tuple[float, float] | None:
    """Listeners per day and engaged songs per list over the last seven complete days; None without any."""
    rows = [row for row in days if row.final and row.listeners]
    latest = sorted({row.day for row in rows})[-TRAFFIC_WINDOW.days :]
    rows = [row for row in rows if row.day in latest]
    listeners = sum(row.listeners for row in rows)
    if not listeners:
        return None
    return listeners / len(latest), sum(row.engaged * row.listeners for row in rows) / listeners


def rejection_probability(rounds_per_day: float, points: float) -> float:
    """The probability that a refresh whose like rate is lower by `points` is rejected."""
    # Wins minus losses in R rounds are approximately normal with variance R and mean -R (2 p - 1), where p
    # = .5 + WIN_RATE_SLOPE points.
    rules = DEFAULT_RULES
    rounds = rounds_per_day * (rules.refresh_until - rules.refresh_from + 1)
    # It must be behind by `refresh_z` standard errors, and by `refresh_share` of the rounds.
    least = max(-rules.refresh_z, 2 * rules.refresh_share * math.sqrt(rounds))
    return float(ndtr(2 * WIN_RATE_SLOPE * points * math.sqrt(rounds) - least))


@lru_cache(maxsize=256)
def days_to_decision(rounds_per_day: float, points: float) -> int | None:
    """Days after which nine of ten experiments with this true difference are decided."""
    if rounds_per_day <= 0:
        return None
    for day in range(1, MAX_DAYS + 1):
        rounds = rounds_per_day * day
        wins = rounds * (0.5 + WIN_RATE_SLOPE * points) - POWER_MARGIN * math.sqrt(rounds) / 2
        if wins > rounds / 2 and log_e_value_of_difference(wins, rounds - wins) >= math.log(
            DEFAULT_RULES.better
        ):
            return max(day, DEFAULT_RULES.change_days)
    return None


def _lists_per_day(now: datetime) -> float:
    # The share of lists that are a listener's first of the day is estimated from the last 24 hours. So an
    # index answers the query without reading the lists, which have kilobytes each.
    last_day = Q(generated_at__gte=now - DAY)
    found = ServedList.objects.filter(
        generated_at__gte=now - TRAFFIC_WINDOW, generated_at__lte=now
    ).aggregate(
        lists=Count("listener_id"),
        began=Min("generated_at"),
        last_day_lists=Count("listener_id", filter=last_day),
        last_day_listeners=Count("listener_id", distinct=True, filter=last_day),
    )
    if not found["lists"]:
        return 0.0
    first_share = found["last_day_listeners"] / found["last_day_lists"] if found["last_day_lists"] else 1.0
    return float(found["lists"] * first_share / max(1.0, (now - found["began"]) / DAY))
