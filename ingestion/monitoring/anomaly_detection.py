"""What is usual: a run's numbers against those of the runs before it, median +- k robust deviations.

Each measure is compared on the scale on which its healthy days are alike, and a band is never narrower than
what healthy days differ by whatever the last ones did. `python -m benchmarks bands` lives years through this
code and counts false alarms and found faults; its table stands in docs/decisions.md.
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
# So much wider with few runs: a MAD of eight values is itself off by a third.
SMALL_SAMPLE_WIDENING: Final = 2.0
MIN_RUNS: Final = 8
MIN_HISTORY: Final = timedelta(days=7)
# Six of each weekday; older days are another season.
HISTORY_WINDOW: Final = timedelta(days=42)
# What adds up grows along a curve, which is straight for so long.
TREND_WINDOW: Final = timedelta(days=21)
MAX_RUNS: Final = 400
# Newest runs that a slope is taken from: pairs grow with their square.
MAX_TREND_RUNS: Final = 60
# Values of each weekday before weekdays are told apart; a weekday matters that is so many deviations off: the
# median of four values is off by 2 of them in 1 of 700 cases.
MIN_RUNS_PER_WEEKDAY: Final = 4
MIN_WEEKDAY_EFFECT: Final = 2.0
# Fridays bring albums: before the weekdays are known, what came once may come again.
BURST_FACTOR: Final = 1.5
# Less than one row: where some came on every day, and many on a usual one, none is unusual.
LESS_THAN_ONE_ROW: Final = 0.5
# The MAD of normal values is 0.6745 standard deviations.
MAD_TO_DEVIATION: Final = 1.4826
# A run sooner after another than half the usual time finds another kind of news: half a day's, none.
MIN_GAP_SHARE: Final = 0.5
LONG_GAP_FACTOR: Final = 1.5


class ExpectedRange(NamedTuple):
    """What is usual: from `low` to `high`, both in the measure's unit and usual themselves."""

    median: float
    mad: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class AnomalyResult:
    """One measure of one run; `band` is None while there are too few runs, `is_sure` if it is a trouble."""

    measure: str
    resource: str
    value: float
    expected: ExpectedRange | None
    n: int
    verdict: str
    is_anomaly: bool


def detect_anomalies(
    run_metrics: RunMetrics,
    past: Sequence[RunMetrics],
    resets: Mapping[tuple[str, str], int],
    *,
    k: float = K,
) -> Iterator[AnomalyResult]:
    """Hold a run against the runs before it.

    Args:
        past: those runs, oldest first; which of them can be compared is decided here.
        resets: the first run of the new normal, by measure and resource.
    """
    if run_metrics.accept_reset:
        return  # a person said that nothing is as it was
    past = _since_reset([one for one in past if one.is_comparable and _is_recent(one, run_metrics)])
    for rule in ANOMALY_RULES:
        usable = [one for one in past if not (rule.skip_resumed_runs and one.resumed)]
        for resource in rule.resources:
            since = resets.get((rule.measure, resource), 0)
            judgement = _check_metric(
                rule, resource, run_metrics, [one for one in usable if one.run >= since], k
            )
            if judgement is not None:
                yield judgement


def compute_expected_range(
    values: Sequence[float],
    rule: AnomalyRule,
    *,
    k: float = K,
    tolerance: float = 0.0,
    weekday_effects: Sequence[float] = (),
) -> ExpectedRange:
    """The band of values that are all of the same day, or as they would have been on it.

    Args:
        values: at least one.
        margin: edges are at least so far from the median.
        effects: how much of each value, on the scale, its weekday makes; the last one is for today.
    """
    there = [rule.scale.transform(value) for value in values]
    if weekday_effects:
        there = [
            value - effect + weekday_effects[-1]
            for value, effect in zip(there, weekday_effects, strict=False)
        ]
    centre = median(there)
    mad = median(abs(value - centre) for value in there)
    middle = rule.scale.invert(centre)
    deviation = max(MAD_TO_DEVIATION * mad, rule.min_std, rule.min_relative_std * abs(middle))
    half = k * (1 + SMALL_SAMPLE_WIDENING / len(values)) * deviation
    low = min(rule.scale.invert(centre - half), middle / rule.min_factor, middle - tolerance)
    high = max(rule.scale.invert(centre + half), middle * rule.min_factor, middle + tolerance)
    if middle >= MIN_MEDIAN_FOR_CAP:
        high = min(high, middle * rule.max_factor)
    return ExpectedRange(middle, mad, max(low, 0.0), high, len(values))


def _check_metric(
    rule: AnomalyRule, resource: str, account: RunMetrics, past: list[RunMetrics], k: float
) -> AnomalyResult | None:
    value = account.values.get((rule.measure, resource))
    if value is None or not _is_informative(rule, resource, account, past):
        return None
    if rule.scales_with_gap:
        past = _with_comparable_gaps(past)
    if rule.has_trend:
        past = [one for one in past if one.started_at >= account.started_at - TREND_WINDOW]
    held = [(one, point) for one in past if (point := one.point(rule.measure, resource)) is not None
            and _has_enough_rows(rule, resource, one)]  # fmt: skip
    if len(held) < MIN_RUNS or account.started_at - held[0][1].at < MIN_HISTORY:
        return _check_without_history(rule, resource, account, value, len(held))
    values = _project_to_today(rule, account, held)
    days = [*(point.at.weekday() for _, point in held), account.started_at.weekday()]
    effects = _weekday_effects(rule, days, [rule.scale.transform(one) for one in values])
    if rule.scales_with_gap and (account.gap_seconds or 0.0) > LONG_GAP_FACTOR * _median_gap(past):
        effects = []  # it brings another weekday's news besides its own
    found = compute_expected_range(
        values, rule, k=k, tolerance=_min_tolerance(rule, resource, account), weekday_effects=effects
    )
    if rule.scales_with_gap:
        found = _adjust_for_arrivals(found, values, knows_weekdays=bool(effects))
    return _compare(rule, resource, value, found)


def _check_without_history(
    rule: AnomalyRule, resource: str, account: RunMetrics, value: float, n: int
) -> AnomalyResult:
    """Nobody can say yet what is usual; what is certain all the same is told."""
    known = account.values.get(("received", resource), 0.0) + account.values.get(("missing", resource), 0.0)
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
    verdict, is_sure = Verdict.USUAL, False
    if value < found.low:
        verdict, is_sure = Verdict.LOW, rule.alert_low
    elif value > found.high:
        verdict, is_sure = Verdict.HIGH, rule.alert_high
    return AnomalyResult(rule.measure, resource, value, found, found.n, verdict, is_sure)


def _is_informative(
    rule: AnomalyRule, resource: str, account: RunMetrics, past: Sequence[RunMetrics]
) -> bool:
    if (rule.skip_resumed_runs and account.resumed) or not _has_enough_rows(rule, resource, account):
        return False
    if not rule.scales_with_gap:
        return True
    return account.gap_seconds is not None and account.gap_seconds >= MIN_GAP_SHARE * _median_gap(past)


def _has_enough_rows(rule: AnomalyRule, resource: str, account: RunMetrics) -> bool:
    rows = account.values.get(("new", resource), 0.0) + account.values.get(("changed", resource), 0.0)
    return rows >= rule.min_rows


def _with_comparable_gaps(past: Sequence[RunMetrics]) -> list[RunMetrics]:
    """Without the first run ever, and those that somebody started soon after another."""
    least = max(MIN_GAP_SHARE * _median_gap(past), 1.0)
    return [one for one in past if one.gap_seconds is not None and one.gap_seconds >= least]


def _median_gap(past: Sequence[RunMetrics]) -> float:
    gaps = [one.gap_seconds for one in past if one.gap_seconds is not None]
    return median(gaps) if gaps else 0.0


def _project_to_today(
    rule: AnomalyRule, account: RunMetrics, held: Sequence[tuple[RunMetrics, MetricPoint]]
) -> list[float]:
    """The values as they would be if the days went on as they did."""
    values = [point.value for _, point in held]
    if rule.scales_with_gap and account.gap_seconds is not None:
        return [value * account.gap_seconds / (one.gap_seconds or account.gap_seconds)
                for (one, _), value in zip(held, values, strict=True)]  # fmt: skip
    if rule.has_trend:
        ages = [(account.started_at - point.at).total_seconds() for _, point in held]
        there = [rule.scale.transform(value) for value in values]
        rate = _median_slope(ages[-MAX_TREND_RUNS:], there[-MAX_TREND_RUNS:])
        return [rule.scale.invert(value - rate * age) for value, age in zip(there, ages, strict=True)]
    return values


def _median_slope(ages: Sequence[float], values: Sequence[float]) -> float:
    """Median of the slopes of all pairs: three wrong days in ten do not turn it.

    Source: Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 1968.
    """
    pairs = combinations(zip(ages, values, strict=True), 2)
    slopes = [(b - a) / (t - s) for (s, a), (t, b) in pairs if t != s]
    return median(slopes) if slopes else 0.0


def _weekday_effects(rule: AnomalyRule, weekdays: Sequence[int], there: Sequence[float]) -> list[float]:
    """How much of each value its weekday makes, then today's; nothing while there are too few of each."""
    groups: defaultdict[int, list[float]] = defaultdict(list)
    for weekday, value in zip(weekdays, there, strict=False):
        groups[weekday].append(value)
    if rule.has_trend or len(groups) < 7 or min(map(len, groups.values())) < MIN_RUNS_PER_WEEKDAY:
        return []
    centre = median(there)
    deviation = max(MAD_TO_DEVIATION * median(abs(value - centre) for value in there), rule.min_std)
    effects = {weekday: median(values) - centre for weekday, values in groups.items()}
    return [effects[day] if abs(effects[day]) > MIN_WEEKDAY_EFFECT * deviation else 0.0 for day in weekdays]


def _min_tolerance(rule: AnomalyRule, resource: str, account: RunMetrics) -> float:
    """How far edges are from the median at least, in the measure's unit."""
    wholes = account.values.get(("received" if resource else "requests", resource), 0.0)
    return max(
        rule.min_tolerance,
        rule.min_tolerance_share * wholes,
        rule.min_tolerance_rows / wholes if wholes else 0.0,
    )


def _is_recent(one: RunMetrics, account: RunMetrics) -> bool:
    return one.run < account.run and one.started_at >= account.started_at - HISTORY_WINDOW


def _since_reset(past: Iterable[RunMetrics]) -> list[RunMetrics]:
    """From the last run on that took in another catalogue, at most so many."""
    kept: list[RunMetrics] = []
    for one in past:
        kept = [one] if one.accept_reset else [*kept, one]
    return kept[-MAX_RUNS:]
