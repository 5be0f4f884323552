"""Anomaly rules: each metric's scale, normal variation, and the limits that open an incident."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

# Chance alone does not make six times as many rows as a median of at least this (5 -> 30: 1 in 10^13),
MIN_MEDIAN_FOR_CAP: Final = 5.0
# and hardly ever none at a median of at least this (10 -> 0: 1 in 20 000).
MIN_MEDIAN_FOR_NONZERO: Final = 10.0


class ComparisonScale(NamedTuple):
    """A transformation after which a metric varies equally at any size, and its inverse."""

    transform: Callable[[float], float]
    invert: Callable[[float], float]


# Variance of normal daily counts: mean + (20 % of the mean) squared; on this scale their deviation is 1.
# Source: Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 1948.
DISPERSION: Final = 0.2**2
_ROOT: Final = math.sqrt(DISPERSION)
COUNT_SCALE: Final = ComparisonScale(
    lambda x: 2 / _ROOT * math.asinh(math.sqrt(DISPERSION * (x + 0.375))),
    lambda y: max(math.sinh(max(y, 0.0) * _ROOT / 2) ** 2 / DISPERSION - 0.375, 0.0),
)
# Zero has no logarithm, so smaller values count as a millisecond.
LOG_SCALE: Final = ComparisonScale(lambda x: math.log(max(x, 0.001)), math.exp)
LINEAR_SCALE: Final = ComparisonScale(lambda x: x, lambda y: max(y, 0.0))


@dataclass(frozen=True)
class AnomalyRule:
    measure: str
    resources: tuple[str, ...]
    scale: ComparisonScale
    min_std: float  # least standard deviation, on the scale
    min_relative_std: float = 0.0  # least standard deviation as a share of the median (linear scale only)
    min_factor: float = 1.0  # the range reaches at least from median / min_factor to median * min_factor
    # The upper limit is at most this times a median of at least `MIN_MEDIAN_FOR_CAP`.
    max_factor: float = math.inf
    min_tolerance: float = 0.0  # least distance of the limits from the median, in the metric's unit
    min_tolerance_share: float = 0.0  # the same, as a share of the rows received
    min_tolerance_rows: float = 0.0  # the same for a share, as a number of rows or requests
    # alert_low, alert_high: whether a value beyond that limit opens an incident.
    alert_low: bool = False
    alert_high: bool = True
    has_trend: bool = False  # the metric is a running total, or depends on one
    scales_with_gap: bool = False  # the metric grows with the time since the previous run
    skip_resumed_runs: bool = False  # ignore runs that reused pages of a dead run
    min_rows: int = 0  # with fewer new and changed rows the metric is not checked
    # Above this share of the known rows, the value is an anomaly even without a history.
    certain_share: float = math.inf


SONGS, USERS, HISTORY = "songs", "users", "listening_history"
ALL_RESOURCES: Final = (SONGS, USERS, HISTORY)
RUN_ONLY: Final = ("",)
ANOMALY_RULES: Final = (
    # 3 %: daily changes are smaller. Two rows: a smaller difference means nothing.
    AnomalyRule(
        "received", ALL_RESOURCES, LINEAR_SCALE, 2.0, min_relative_std=0.03, alert_low=True, has_trend=True
    ),
    # Albums come in bursts, and on a Sunday there may be no new song.
    AnomalyRule(
        "new", (SONGS, USERS), COUNT_SCALE, 1.0, min_factor=4.0, max_factor=6.0, scales_with_gap=True
    ),
    # On every day some listeners have sessions.
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
    # Sources delete old rows: 3 % of the rows, or ten of a small catalogue, are normal. A quarter at once is
    # always an anomaly; above half, the quality gate refuses the run.
    AnomalyRule(
        "missing",
        (SONGS, USERS),
        COUNT_SCALE,
        1.0,
        min_tolerance=10.0,
        min_tolerance_share=0.03,
        certain_share=0.25,
    ),
    # A removed listener removes all their sessions: the most active of 80 had 5 % of them.
    AnomalyRule("missing", (HISTORY,), COUNT_SCALE, 1.0, min_tolerance=10.0, min_tolerance_share=0.1),
    AnomalyRule(
        "rejected_share", ALL_RESOURCES, LINEAR_SCALE, 0.002, min_tolerance=0.01, min_tolerance_rows=10.0
    ),
    # Each failed attempt succeeded when repeated, or the run would have failed. A bad night has 4 %.
    AnomalyRule(
        "error_share",
        RUN_ONLY,
        LINEAR_SCALE,
        0.01,
        min_tolerance=0.1,
        min_tolerance_rows=8.0,
        skip_resumed_runs=True,
    ),
    # A busy machine takes some seconds longer; a run that takes twice as long does no harm.
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
    # With fewer than 20 rows, the 95th percentile is the slowest row.
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
    # Only for the charts: other work in the process and on the machine affects them too.
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
