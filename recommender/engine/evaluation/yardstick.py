"""Whether new versions lose their lead over RP3beta, which is fitted anew at each training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

WINDOW: Final = 4  # trainings, usually weeks
# Every window is compared with the best of up to a year, which is the best partly by chance.
FALL_Z: Final = 4.0
QUANTILE: Final = 1.96  # of the stored 95 % intervals


@dataclass(frozen=True)
class WeeklyLead:
    """NDCG of a version minus RP3beta's in the same week, and the standard error."""

    label: str
    difference: float
    error: float

    @classmethod
    def from_interval(cls, label: str, difference: float, low: float, high: float) -> "WeeklyLead":
        return cls(label, difference, (high - low) / (2 * QUANTILE))


@dataclass(frozen=True)
class YardstickFall:
    now: float  # mean lead of the last trainings
    best: float  # mean lead of the best trainings before
    best_from: str  # label of the first of these versions
    z: float


def find_fall(leads: Sequence[WeeklyLead]) -> YardstickFall | None:
    """The fall of the last four leads below the best four in a row before; None if not significant.

    `leads` are oldest first.
    """
    if len(leads) < 2 * WINDOW:
        return None
    # Weeks differ by more than their listeners; differences of neighbours leave a slow fall out of it.
    steps = np.diff([lead.difference for lead in leads])
    noise = math.sqrt(float((steps**2).mean()) / 2)
    now, now_error = _mean_and_error(leads[-WINDOW:], noise)
    falls = []
    for start in range(len(leads) - 2 * WINDOW + 1):
        best, error = _mean_and_error(leads[start : start + WINDOW], noise)
        total = math.hypot(error, now_error)
        falls.append(YardstickFall(now, best, leads[start].label, (best - now) / total if total else 0.0))
    worst = max(falls, key=lambda fall: fall.z)
    return worst if worst.z >= FALL_Z else None


def _mean_and_error(leads: Sequence[WeeklyLead], noise: float) -> tuple[float, float]:
    within = math.sqrt(sum(lead.error**2 for lead in leads)) / len(leads)
    return sum(lead.difference for lead in leads) / len(leads), max(within, noise / math.sqrt(len(leads)))
