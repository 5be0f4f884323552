"""What a test can see at the traffic there is: how many days a difference needs to show."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from django.db.models import Count, Min, Q
from scipy.special import ndtr

from recommender.engine.experiments.decision_rules import DEFAULT_RULES
from recommender.engine.experiments.sequential import log_e_value_of_difference
from recommender.models import EngagementDay, Experiment, ServedList

# A week has every weekday; more of it is read at each look, and says no more.
DAY: Final = timedelta(days=1)
TRAFFIC_WINDOW: Final = timedelta(days=7)
LIKE_RATE_CHANGES: Final = (0.03, 0.05, 0.1)  # of the like rate
# Of two songs that are looked at, liked with p and p + d, the better one wins a decisive round with
# (p + d)(1 - p) / (p + d + p - 2 p (p + d)); at p = .4 that is .5 + 1.02 d.
WIN_RATE_SLOPE: Final = 1.02
POWER_MARGIN: Final = 1.5  # standard deviations above the mean course: nine of ten tests end by then
ROUNDS_PER_LIST: Final = 1.3  # decisive ones that count, before any were seen: at 2 engaged songs a list
MAX_DAYS: Final = 3_650  # days
MAX_ENGAGEMENT_ROWS: Final = 21  # of engagement: a week's days, each by three versions
CLOSING_DAYS: Final = 2  # days after which a list counts
NO_TRAFFIC: Final = "Nobody asks for lists: no difference can be seen."


@dataclass(frozen=True)
class DetectableChanges:
    """What the traffic allows.

    Attributes:
        rounds_a_day: decisive rounds, as measured of this test, or as expected of recent traffic.
        measured: whether they were measured.
        days: by points of like rate, days until a change of so much shows; None: not within ten years.
        rejected: by points, how probably a refresh that is so much worse is rejected.
        crowd: listeners a day and engaged songs a list of late; None: not known yet.
    """

    rounds_per_day: float
    is_measured: bool
    days_by_points: dict[int, int | None]
    rejection_by_points: dict[int, float]
    audience: tuple[float, float] | None = None

    @property
    def sentence(self) -> str:
        """Of a change."""
        if not self.rounds_per_day:
            return NO_TRAFFIC
        found = [
            f"a {points}-point change in {days} days" if days else f"a {points}-point change not at all"
            for points, days in self.days_by_points.items()
        ]
        return f"{self._traffic_text} you see {', '.join(found)}. {self._audience_text}".rstrip()

    @property
    def refresh_sentence(self) -> str:
        """Of a refresh, whose days are fixed."""
        if not self.rounds_per_day:
            return NO_TRAFFIC
        found = [f"{points} points in {chance:.0%}" for points, chance in self.rejection_by_points.items()]
        said = f"{self._traffic_text} a refresh is rejected that is worse by {', '.join(found)}."
        return f"{said} {self._audience_text}".rstrip()

    @property
    def _traffic_text(self) -> str:
        of = "measured" if self.is_measured else "expected"
        return f"At {self.rounds_per_day:.0f} decisive rounds a day ({of})"

    @property
    def _audience_text(self) -> str:
        if self.audience is None:
            return ""
        listeners, engaged = self.audience
        return (
            f"Your column in the README's tables: about {listeners:.0f} listeners, "
            f"{engaged:.1f} engaged songs a list."
        )


def detectable_changes(
    list_share: float,
    now: datetime,
    closed_days_and_rounds: tuple[int, int],
    recent_engagement: Iterable[EngagementDay],
) -> DetectableChanges:
    """Days to a verdict on a change, from a test's own rounds where there are some.

    Args:
        list_share: of the lists, that of the test.
        played: days of the test with closed lists, and their decisive rounds.
        lately: engagement of the last weeks.
    """
    days, rounds = closed_days_and_rounds
    if days and rounds:
        rate, measured = rounds / days, True
    else:
        rate, measured = _lists_per_day(now) * list_share * ROUNDS_PER_LIST, False
    until = {round(100 * points): days_to_decision(rate, points) for points in LIKE_RATE_CHANGES}
    rejected = {round(100 * points): rejection_probability(rate, points) for points in LIKE_RATE_CHANGES}
    return DetectableChanges(rate, measured, until, rejected, recent_audience(recent_engagement))


def describe_power(experiment: Experiment, now: datetime, closed_days_and_rounds: tuple[int, int]) -> str:
    """What a test can see at this traffic, in words."""
    lately = EngagementDay.objects.filter(final=True, day__lte=now.date()).order_by("-day")[
        :MAX_ENGAGEMENT_ROWS
    ]
    found = detectable_changes(experiment.list_share, now, closed_days_and_rounds, lately)
    return found.refresh_sentence if experiment.kind == Experiment.Kind.REFRESH else found.sentence


def recent_audience(days: Iterable[EngagementDay]) -> tuple[float, float] | None:
    """Listeners a day and engaged songs a list, of the last days to which nothing is added any more."""
    rows = [row for row in days if row.final and row.listeners]
    latest = sorted({row.day for row in rows})[-TRAFFIC_WINDOW.days :]
    rows = [row for row in rows if row.day in latest]
    listeners = sum(row.listeners for row in rows)
    if not listeners:
        return None
    return listeners / len(latest), sum(row.engaged * row.listeners for row in rows) / listeners


def rejection_probability(rounds_per_day: float, points: float) -> float:
    """How probably a refresh that is worse by so much falls below the limit by the day it is decided.

    Wins less losses of R rounds are about normal, mean -R (2 p - 1), p = .5 + TILT points, variance R.
    """
    rounds = rounds_per_day * (DEFAULT_RULES.refresh_days - CLOSING_DAYS)
    return float(ndtr(DEFAULT_RULES.refresh_z + 2 * WIN_RATE_SLOPE * points * math.sqrt(rounds)))


@lru_cache(maxsize=256)
def days_to_decision(rounds_per_day: float, points: float) -> int | None:
    """The day on which the odds of a course a little below the expected one reach what decides."""
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
    """Listeners with a list, a day: of the week's lists as many are a first one as on its last day."""
    lately = Q(generated_at__gte=now - DAY)
    # Of all of them an index holds everything that is asked: a list itself has kilobytes.
    found = ServedList.objects.filter(
        generated_at__gte=now - TRAFFIC_WINDOW, generated_at__lte=now
    ).aggregate(
        lists=Count("listener_id"),
        began=Min("generated_at"),
        of_day=Count("listener_id", filter=lately),
        listeners=Count("listener_id", distinct=True, filter=lately),
    )
    if not found["lists"]:
        return 0.0
    firsts = found["listeners"] / found["of_day"] if found["of_day"] else 1.0
    return float(found["lists"] * firsts / max(1.0, (now - found["began"]) / DAY))
