"""Simulate years of daily engagement, and judge them with the check of production."""

from datetime import date, timedelta
from typing import Final

import numpy as np

from recommender.monitoring.engagement_range import (
    HISTORY_DAYS,
    DailyEngagement,
    find_engagement_deviation,
)

FIRST_DAY: Final = date(2026, 1, 5)  # a Monday
YEAR: Final = 365
USUAL: Final = 2.0  # engaged songs per list
DEVIATION: Final = 1.4  # of that among listeners
DAY_NOISE: Final = 0.03  # of a day's mean, relative: weather, holidays, what is new
WEEKEND: Final = 5  # weekdays from Saturday on
DAYS_TO_FIND: Final = 14


def count_false_incidents(seed: int, *, listeners: int, weekend: float) -> int:
    """Engagement incidents in a healthy year; one that lasts counts once."""
    days = _simulate_days(seed, HISTORY_DAYS + YEAR, listeners=listeners, weekend=weekend)
    verdicts = [
        find_engagement_deviation(days[max(0, last - HISTORY_DAYS) : last]) is not None
        for last in range(HISTORY_DAYS, len(days) + 1)
    ]
    return sum(now and not before for before, now in zip([False, *verdicts], verdicts, strict=False))


def is_fall_found(seed: int, *, listeners: int, weekend: float, fall: float = 0.2) -> bool:
    """Whether a lasting fall is found within 14 days of its beginning."""
    days = _simulate_days(seed, HISTORY_DAYS + DAYS_TO_FIND, listeners=listeners, weekend=weekend, fall=fall)
    found = (
        find_engagement_deviation(days[last - HISTORY_DAYS : last])
        for last in range(HISTORY_DAYS + 1, len(days) + 1)
    )
    return any(one is not None and one.verdict == "low" for one in found)


def _simulate_days(
    seed: int, number: int, *, listeners: int, weekend: float, fall: float = 0.0
) -> list[DailyEngagement]:
    """Complete days; a fall begins after the first `HISTORY_DAYS`."""
    random = np.random.default_rng(seed)
    days = []
    for place in range(number):
        day = FIRST_DAY + timedelta(days=place)
        size = (weekend if day.weekday() >= WEEKEND else 1.0) * (1 - fall if place >= HISTORY_DAYS else 1.0)
        mean = USUAL * size * random.normal(1.0, DAY_NOISE)
        engaged = max(0.0, random.normal(mean, DEVIATION * size / listeners**0.5))
        days.append(DailyEngagement(day, ("champion",), float(engaged), DEVIATION * size, listeners))
    return days
