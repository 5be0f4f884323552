"""Expected range of daily engagement: the last two complete days against those before, by weekday."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from statistics import fmean, median
from typing import Final

HISTORY_DAYS: Final = 42
MIN_HISTORY_DAYS: Final = 14
MIN_WEEKDAYS: Final = 2  # the first fortnight holds each weekday twice
CONSECUTIVE_DAYS: Final = 2  # one unusual day may be a public holiday
DEVIATION_FACTOR: Final = 4.5  # as for the metrics of import runs
MAD_TO_DEVIATION: Final = 1.4826  # of the normal distribution


@dataclass(frozen=True)
class DailyEngagement:
    """Engaged songs per list within 24 hours of one day's lists, over all champions."""

    day: date
    versions: tuple[str, ...]  # version labels, most lists first
    engaged: float  # mean over listeners
    deviation: float  # standard deviation over listeners
    listeners: int


@dataclass(frozen=True)
class EngagementRange:
    center: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class EngagementDeviation:
    verdict: str  # "low" or "high"
    expected: EngagementRange  # for the weekdays of the last days


def expected_range(days: Sequence[DailyEngagement]) -> EngagementRange | None:
    """The expected range: median +- 4.5 robust standard deviations; None below `MIN_HISTORY_DAYS` days."""
    # The range is at least +- 4.5 standard errors of a day's mean, since the means of few listeners differ
    # by chance.
    if len(days) < MIN_HISTORY_DAYS:
        return None
    values = [day.engaged for day in days]
    center = median(values)
    deviation = MAD_TO_DEVIATION * median(abs(value - center) for value in values)
    standard_error = fmean(day.deviation / max(1, day.listeners) ** 0.5 for day in days)
    half = DEVIATION_FACTOR * max(deviation, standard_error)
    return EngagementRange(center, max(0.0, center - half), center + half, len(days))


def weekday_factors(days: Sequence[DailyEngagement]) -> list[float]:
    """Each weekday's usual engagement relative to all days, from Monday on; 1 below `MIN_WEEKDAYS` days."""
    center = median(day.engaged for day in days)
    factors = []
    for weekday in range(7):
        values = [day.engaged for day in days if day.day.weekday() == weekday]
        usual = median(values) if len(values) >= MIN_WEEKDAYS else center
        factors.append(usual / center if usual > 0 and center > 0 else 1.0)
    return factors


def find_engagement_deviation(days: Sequence[DailyEngagement]) -> EngagementDeviation | None:
    """The deviation of the last two of `days` (complete, oldest first), if both are outside the range."""
    before, last = days[:-CONSECUTIVE_DAYS], days[-CONSECUTIVE_DAYS:]
    if len(before) < MIN_HISTORY_DAYS or len(last) < CONSECUTIVE_DAYS:
        return None
    # Weekends would be incidents: they are compared with what is usual for their weekday.
    factors = weekday_factors(before)
    expected = expected_range([_without_weekday(day, factors) for day in before])
    if expected is None:
        return None
    values = [_without_weekday(day, factors).engaged for day in last]
    verdict = "low" if max(values) < expected.low else "high" if min(values) > expected.high else ""
    factor = fmean(factors[day.day.weekday()] for day in last)
    scaled = replace(
        expected, center=factor * expected.center, low=factor * expected.low, high=factor * expected.high
    )
    return EngagementDeviation(verdict, scaled) if verdict else None


def _without_weekday(day: DailyEngagement, factors: Sequence[float]) -> DailyEngagement:
    factor = factors[day.day.weekday()]
    return replace(day, engaged=day.engaged / factor, deviation=day.deviation / factor)
