"""Simulate years of trainings whose lead over RP3beta stays or falls, judged as production does."""

from typing import Final

import numpy as np

from recommender.engine.evaluation.yardstick import WeeklyLead, find_fall

LEAD: Final = 0.05
DEVIATION: Final = 0.12  # of the differences of NDCG between listeners
WEEK_NOISE: Final = 0.003  # what one week has in common for all listeners
TRAININGS: Final = 52


def is_fall_reported(seed: int, *, listeners: int, fall_per_week: float = 0.0) -> bool:
    """Whether a fall is reported within a year; it begins after the first quarter."""
    random = np.random.default_rng(seed)
    error = DEVIATION / listeners**0.5
    means = LEAD - fall_per_week * np.maximum(0, np.arange(TRAININGS) - TRAININGS // 4)
    drawn = random.normal(means, (error**2 + WEEK_NOISE**2) ** 0.5)
    leads = [WeeklyLead(str(week), float(value), error) for week, value in enumerate(drawn)]
    return any(find_fall(leads[:week]) is not None for week in range(1, TRAININGS + 1))
