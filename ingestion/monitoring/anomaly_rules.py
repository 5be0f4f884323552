"""How each measure of a run is compared: on which scale, how closely, and on which side it is a trouble."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

# From so many rows a day on, counting alone never makes six times as many (5 -> 30: 1 in 10^13) ...
MIN_MEDIAN_FOR_CAP: Final = 5.0
# ... or none (10 -> 0: 1 in 20 000).
MIN_MEDIAN_FOR_NONZERO: Final = 10.0


class ComparisonScale(NamedTuple):
    """Where values of a kind vary alike, whatever their size; `back` leads from there to rows or seconds."""

    transform: Callable[[float], float]
    invert: Callable[[float], float]


# Variance of healthy daily counts: mean + (20 % of the mean) squared; their deviation is 1 on this scale.
# Source: Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 1948.
DISPERSION: Final = 0.2**2
_ROOT: Final = math.sqrt(DISPERSION)
COUNT_SCALE: Final = ComparisonScale(
    lambda x: 2 / _ROOT * math.asinh(math.sqrt(DISPERSION * (x + 0.375))),
    lambda y: max(math.sinh(max(y, 0.0) * _ROOT / 2) ** 2 / DISPERSION - 0.375, 0.0),
)
# A millisecond is nothing, and has a logarithm.
LOG_SCALE: Final = ComparisonScale(lambda x: math.log(max(x, 0.001)), math.exp)
LINEAR_SCALE: Final = ComparisonScale(lambda x: x, lambda y: max(y, 0.0))


@dataclass(frozen=True)
class AnomalyRule:
    """How a measure is compared.

    Attributes:
        floor: the least standard deviation, on the scale.
        relative: the least standard deviation as a share of the median (plain scale only).
        factor: edges are at least so many times away from the median.
        most: the upper edge is at most so many times the median, if that is `SEVERAL`.
        absolute: edges are at least so far from the median, in the measure's unit.
        of_rows: edges are at least this share of the rows received away.
        rows: a share's edges are at least so many rows, or requests, away.
        lows, highs: whether leaving the band on that side is sure to be a trouble.
        trend: the measure adds up over the days, or follows one that does.
        is_news: it grows with the time since the run before.
        of_work: it says nothing of a run that took up the pages of a dead one.
        least_rows: new and changed rows under which it says nothing.
        certain: above this share of the known rows it is a trouble before anything was learnt.
    """

    measure: str
    resources: tuple[str, ...]
    scale: ComparisonScale
    min_std: float
    min_relative_std: float = 0.0
    min_factor: float = 1.0
    max_factor: float = math.inf
    min_tolerance: float = 0.0
    min_tolerance_share: float = 0.0
    min_tolerance_rows: float = 0.0
    alert_low: bool = False
    alert_high: bool = True
    has_trend: bool = False
    scales_with_gap: bool = False
    skip_resumed_runs: bool = False
    min_rows: int = 0
    certain_share: float = math.inf


SONGS, USERS, HISTORY = "songs", "users", "listening_history"
ALL_RESOURCES: Final = (SONGS, USERS, HISTORY)
RUN_ONLY: Final = ("",)
ANOMALY_RULES: Final = (
    # 3 %: lists grow and shrink by less in a day. Two rows: below that nothing can be told apart.
    AnomalyRule(
        "received", ALL_RESOURCES, LINEAR_SCALE, 2.0, min_relative_std=0.03, alert_low=True, has_trend=True
    ),
    # Albums come in bursts, and an office may add no song on a Sunday.
    AnomalyRule(
        "new", (SONGS, USERS), COUNT_SCALE, 1.0, min_factor=4.0, max_factor=6.0, scales_with_gap=True
    ),
    # Somebody listens every day.
    AnomalyRule(
        "new",
        (HISTORY,),
        COUNT_SCALE,
        1.0,
        min_factor=2.0,
        max_factor=6.0,
        alert_low=True,
        scales_with_gap=True,
    ),
    AnomalyRule(
        "changed", ALL_RESOURCES, COUNT_SCALE, 1.0, min_factor=4.0, min_tolerance=10.0, scales_with_gap=True
    ),
    # Sources tidy up: a few rows in a hundred that go are no trouble, and a toy loses ten. A quarter of them
    # at once is one in any week; more than half is refused.
    AnomalyRule(
        "missing",
        (SONGS, USERS),
        COUNT_SCALE,
        1.0,
        min_tolerance=10.0,
        min_tolerance_share=0.03,
        certain_share=0.25,
    ),
    # A listener who goes takes all sessions along: of 80, an eager one had 5 % of them.
    AnomalyRule("missing", (HISTORY,), COUNT_SCALE, 1.0, min_tolerance=10.0, min_tolerance_share=0.1),
    AnomalyRule(
        "rejected_share", ALL_RESOURCES, LINEAR_SCALE, 0.002, min_tolerance=0.01, min_tolerance_rows=10.0
    ),
    # Each failed attempt was repeated with success, or the run would have failed: a bad night has 4 %.
    AnomalyRule(
        "error_share",
        RUN_ONLY,
        LINEAR_SCALE,
        0.01,
        min_tolerance=0.1,
        min_tolerance_rows=8.0,
        skip_resumed_runs=True,
    ),
    # A busy machine takes some seconds longer; a night that takes twice as long harms nobody.
    AnomalyRule(
        "duration",
        RUN_ONLY,
        LOG_SCALE,
        0.1,
        min_factor=2.3,
        min_tolerance=5.0,
        alert_low=True,
        has_trend=True,
        skip_resumed_runs=True,
    ),
    # The 95th percentile of fewer rows is a single row.
    AnomalyRule(
        "latency_p95",
        ALL_RESOURCES,
        LOG_SCALE,
        0.1,
        min_factor=2.0,
        min_tolerance=3600.0,
        scales_with_gap=True,
        min_rows=20,
    ),
    # Kept for the charts: a shared process and machine decide them too.
    AnomalyRule(
        "cpu_seconds",
        RUN_ONLY,
        LOG_SCALE,
        0.1,
        min_factor=2.0,
        min_tolerance=5.0,
        alert_high=False,
        skip_resumed_runs=True,
    ),
    AnomalyRule(
        "peak_memory",
        RUN_ONLY,
        LOG_SCALE,
        0.05,
        min_factor=1.5,
        min_tolerance=50e6,
        alert_high=False,
        skip_resumed_runs=True,
    ),
)
