"""Anomaly detection: compares each metric of a run with its expected range.

The range is the median of earlier runs +- k robust standard deviations, on a scale on which the metric's
normal variation is constant, and never narrower than that (`anomaly_rules`). False alarms and detected
faults over simulated years: `python -m benchmarks bands`, docs/benchmarks.md.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from statistics import median
from typing import Final, NamedTuple

from ingestion.models import AnomalyCheck
from ingestion.monitoring.anomaly_rules import (
    ANOMALY_RULES,
    MIN_MEDIAN_FOR_CAP,
    MIN_MEDIAN_FOR_NONZERO,
    AnomalyRule,
)
from ingestion.monitoring.run_metrics import MetricPoint, RunMetrics

Verdict = AnomalyCheck.Verdict
K: Final = 4.5
# Widens the range after few runs: the MAD of eight values has an error of a third.
SMALL_SAMPLE_WIDENING: Final = 2.0
MIN_RUNS: Final = 8
MIN_HISTORY: Final = timedelta(days=7)
# Six runs of each weekday; older runs belong to another season.
HISTORY_WINDOW: Final = timedelta(days=42)
# The growth of a total is nearly linear over this time.
TREND_WINDOW: Final = timedelta(days=21)
MAX_RUNS: Final = 400
# The slope uses the newest runs only, because the number of pairs grows quadratically.
MAX_TREND_RUNS: Final = 60
# Weekdays are compared separately once each has this many values, and only a weekday whose median differs by
# this many deviations: by chance, the median of four values differs by 2 in 1 of 700 cases.
MIN_RUNS_PER_WEEKDAY: Final = 4
MIN_WEEKDAY_EFFECT: Final = 2.0
# New albums come on Fridays: until the weekday effects are known, the highest value may recur.
BURST_FACTOR: Final = 1.5
# If every earlier run had new rows, and a typical one many, a run without any is unusual.
LESS_THAN_ONE_ROW: Final = 0.5
# The MAD of normal values is 0.6745 standard deviations.
MAD_TO_DEVIATION: Final = 1.4826
# A run that follows the previous one after less than half the usual time is not comparable: it may find no
# new rows at all.
MIN_GAP_SHARE: Final = 0.5
LONG_GAP_FACTOR: Final = 1.5


class ExpectedRange(NamedTuple):
    """Limits in the metric's unit, with `low` and `high` inside; `n` is the sample size."""

    median: float
    mad: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class AnomalyResult:
    measure: str
    resource: str
    value: float
    expected: ExpectedRange | None  # None while there are too few runs
    n: int
    verdict: str
    is_anomaly: bool  # whether it opens an incident


def detect_anomalies(
    run_metrics: RunMetrics,
    past: Sequence[RunMetrics],
    resets: Mapping[tuple[str, str], int],
    *,
    k: float = K,
) -> Iterator[AnomalyResult]:
    """Compare each metric of a run with earlier runs.

    Args:
        past: earlier runs, oldest first; those that are not comparable are skipped.
        resets: by metric and resource, the first run of a baseline that a person has reset.
        k: half the width of a range, in robust standard deviations.
    """
    if run_metrics.accept_reset:
        return  # a person accepted a new catalogue, so earlier runs are not comparable
    past = _since_reset([one for one in past if one.is_comparable and _is_recent(one, run_metrics)])
    for rule in ANOMALY_RULES:
        usable = [one for one in past if not (rule.skip_resumed_runs and one.resumed)]
        for resource in rule.resources:
            since = resets.get((rule.measure, resource), 0)
            result = _check_metric(
                rule, resource, run_metrics, [one for one in usable if one.run >= since], k
            )
            if result is not None:
                yield result


def compute_expected_range(
    values: Sequence[float],
    rule: AnomalyRule,
    *,
    k: float = K,
    tolerance: float = 0.0,
    weekday_effects: Sequence[float] = (),
) -> ExpectedRange:
    """The range in which the next value should lie, from at least one past value.

    Args:
        values: adjusted for the trend and the time since the last run.
        tolerance: least distance of the limits from the median, in the metric's unit.
        weekday_effects: of each value, on the rule's scale, followed by today's; empty if unknown.
    """
    scaled = [rule.scale.transform(value) for value in values]
    if weekday_effects:
        scaled = [
            value - effect + weekday_effects[-1]
            for value, effect in zip(scaled, weekday_effects, strict=False)
        ]
    center = median(scaled)
    mad = median(abs(value - center) for value in scaled)
    middle = rule.scale.invert(center)
    deviation = max(MAD_TO_DEVIATION * mad, rule.min_std, rule.min_relative_std * abs(middle))
    half = k * (1 + SMALL_SAMPLE_WIDENING / len(values)) * deviation
    low = min(rule.scale.invert(center - half), middle / rule.min_factor, middle - tolerance)
    high = max(rule.scale.invert(center + half), middle * rule.min_factor, middle + tolerance)
    if middle >= MIN_MEDIAN_FOR_CAP:
        high = min(high, middle * rule.max_factor)
    return ExpectedRange(middle, mad, max(low, 0.0), high, len(values))


def _check_metric(
    rule: AnomalyRule, resource: str, current: RunMetrics, past: list[RunMetrics], k: float
) -> AnomalyResult | None:
    value = current.values.get((rule.measure, resource))
    if value is None or not _is_informative(rule, resource, current, past):
        return None
    if rule.scales_with_gap:
        past = _with_comparable_gaps(past)
    if rule.has_trend:
        past = [one for one in past if one.started_at >= current.started_at - TREND_WINDOW]
    history = [(one, point) for one in past if (point := one.point(rule.measure, resource)) is not None
            and _has_enough_rows(rule, resource, one)]  # fmt: skip
    if len(history) < MIN_RUNS or current.started_at - history[0][1].at < MIN_HISTORY:
        return _check_without_history(rule, resource, current, value, len(history))
    values = _project_to_today(rule, current, history)
    days = [*(point.at.weekday() for _, point in history), current.started_at.weekday()]
    effects = _weekday_effects(rule, days, [rule.scale.transform(one) for one in values])
    if rule.scales_with_gap and (current.gap_seconds or 0.0) > LONG_GAP_FACTOR * _median_gap(past):
        effects = []  # the run also brings the new rows of another weekday
    found = compute_expected_range(
        values, rule, k=k, tolerance=_min_tolerance(rule, resource, current), weekday_effects=effects
    )
    if rule.scales_with_gap:
        found = _adjust_for_arrivals(found, values, knows_weekdays=bool(effects))
    return _compare(rule, resource, value, found)


def _check_without_history(
    rule: AnomalyRule, resource: str, current: RunMetrics, value: float, n: int
) -> AnomalyResult:
    """Report only a value that would be an anomaly at any site (`certain_share`)."""
    known = current.values.get(("received", resource), 0.0) + current.values.get(("missing", resource), 0.0)
    most = max(rule.certain_share * known, rule.min_tolerance) if known else math.inf
    if value <= most:
        return AnomalyResult(rule.measure, resource, value, None, n, Verdict.LEARNING, is_anomaly=False)
    return AnomalyResult(
        rule.measure, resource, value, ExpectedRange(0.0, 0.0, 0.0, most, n), n, Verdict.HIGH, is_anomaly=True
    )


def _adjust_for_arrivals(
    found: ExpectedRange, values: Sequence[float], *, knows_weekdays: bool
) -> ExpectedRange:
    high = found.high if knows_weekdays else max(found.high, BURST_FACTOR * max(values))
    is_daily = min(values) > 0 and found.median >= MIN_MEDIAN_FOR_NONZERO
    low = max(found.low, LESS_THAN_ONE_ROW) if is_daily else found.low
    return ExpectedRange(found.median, found.mad, low, high, found.n)


def _compare(rule: AnomalyRule, resource: str, value: float, found: ExpectedRange) -> AnomalyResult:
    verdict, is_anomaly = Verdict.USUAL, False
    if value < found.low:
        verdict, is_anomaly = Verdict.LOW, rule.alert_low
    elif value > found.high:
        verdict, is_anomaly = Verdict.HIGH, rule.alert_high
    return AnomalyResult(rule.measure, resource, value, found, found.n, verdict, is_anomaly)


def _is_informative(
    rule: AnomalyRule, resource: str, current: RunMetrics, past: Sequence[RunMetrics]
) -> bool:
    if (rule.skip_resumed_runs and current.resumed) or not _has_enough_rows(rule, resource, current):
        return False
    if not rule.scales_with_gap:
        return True
    return current.gap_seconds is not None and current.gap_seconds >= MIN_GAP_SHARE * _median_gap(past)


def _has_enough_rows(rule: AnomalyRule, resource: str, current: RunMetrics) -> bool:
    rows = current.values.get(("new", resource), 0.0) + current.values.get(("changed", resource), 0.0)
    return rows >= rule.min_rows


def _with_comparable_gaps(past: Sequence[RunMetrics]) -> list[RunMetrics]:
    least = max(MIN_GAP_SHARE * _median_gap(past), 1.0)
    return [one for one in past if one.gap_seconds is not None and one.gap_seconds >= least]


def _median_gap(past: Sequence[RunMetrics]) -> float:
    gaps = [one.gap_seconds for one in past if one.gap_seconds is not None]
    return median(gaps) if gaps else 0.0


def _project_to_today(
    rule: AnomalyRule, current: RunMetrics, history: Sequence[tuple[RunMetrics, MetricPoint]]
) -> list[float]:
    values = [point.value for _, point in history]
    if rule.scales_with_gap and current.gap_seconds is not None:
        return [value * current.gap_seconds / (one.gap_seconds or current.gap_seconds)
                for (one, _), value in zip(history, values, strict=True)]  # fmt: skip
    if rule.has_trend:
        ages = [(current.started_at - point.at).total_seconds() for _, point in history]
        scaled = [rule.scale.transform(value) for value in values]
        rate = _median_slope(ages[-MAX_TREND_RUNS:], scaled[-MAX_TREND_RUNS:])
        return [rule.scale.invert(value - rate * age) for value, age in zip(scaled, ages, strict=True)]
    return values


def _median_slope(ages: Sequence[float], values: Sequence[float]) -> float:
    """The median slope over all pairs of points (Theil-Sen): up to 29 % outliers do not change its sign.

    Source: Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 1968.
    """
    pairs = combinations(zip(ages, values, strict=True), 2)
    slopes = [(b - a) / (t - s) for (s, a), (t, b) in pairs if t != s]
    return median(slopes) if slopes else 0.0


def _weekday_effects(rule: AnomalyRule, weekdays: Sequence[int], scaled: Sequence[float]) -> list[float]:
    """The effect of each value's weekday, then today's; empty if a weekday has too few values."""
    groups: defaultdict[int, list[float]] = defaultdict(list)
    for weekday, value in zip(weekdays, scaled, strict=False):
        groups[weekday].append(value)
    if rule.has_trend or len(groups) < 7 or min(map(len, groups.values())) < MIN_RUNS_PER_WEEKDAY:
        return []
    center = median(scaled)
    deviation = max(MAD_TO_DEVIATION * median(abs(value - center) for value in scaled), rule.min_std)
    effects = {weekday: median(values) - center for weekday, values in groups.items()}
    return [effects[day] if abs(effects[day]) > MIN_WEEKDAY_EFFECT * deviation else 0.0 for day in weekdays]


def _min_tolerance(rule: AnomalyRule, resource: str, current: RunMetrics) -> float:
    total = current.values.get(("received" if resource else "requests", resource), 0.0)
    return max(
        rule.min_tolerance,
        rule.min_tolerance_share * total,
        rule.min_tolerance_rows / total if total else 0.0,
    )


def _is_recent(one: RunMetrics, current: RunMetrics) -> bool:
    return one.run < current.run and one.started_at >= current.started_at - HISTORY_WINDOW


def _since_reset(past: Iterable[RunMetrics]) -> list[RunMetrics]:
    kept: list[RunMetrics] = []
    for one in past:
        kept = [one] if one.accept_reset else [*kept, one]
    return kept[-MAX_RUNS:]
