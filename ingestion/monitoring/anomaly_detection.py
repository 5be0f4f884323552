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
from ingestion.monitoring.anomaly_rules import MANY, RULES, SEVERAL, Rule
from ingestion.monitoring.run_metrics import Account, Point

Verdict = AnomalyCheck.Verdict
K: Final = 4.5
# So much wider with few runs: a MAD of eight values is itself off by a third.
FEW: Final = 2.0
LEAST_RUNS: Final = 8
LEAST_SPAN: Final = timedelta(days=7)
# Six of each weekday; older days are another season.
WINDOW: Final = timedelta(days=42)
# What adds up grows along a curve, which is straight for so long.
STRAIGHT: Final = timedelta(days=21)
MOST_RUNS: Final = 400
# Newest runs that a slope is taken from: pairs grow with their square.
SLOPE_RUNS: Final = 60
# Values of each weekday before weekdays are told apart; a weekday matters that is so many deviations off: the
# median of four values is off by 2 of them in 1 of 700 cases.
LEAST_OF_A_WEEKDAY: Final = 4
MATTERS: Final = 2.0
# Fridays bring albums: before the weekdays are known, what came once may come again.
ONCE_MORE: Final = 1.5
# Less than one row: where some came on every day, and many on a usual one, none is unusual.
LITTLE: Final = 0.5
# The MAD of normal values is 0.6745 standard deviations.
TO_DEVIATION: Final = 1.4826
# A run sooner after another than half the usual time finds another kind of news: half a day's, none.
LEAST_GAP: Final = 0.5
TWO_DAYS: Final = 1.5


class Band(NamedTuple):
    """What is usual: from `low` to `high`, both in the measure's unit and usual themselves."""

    median: float
    mad: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Judgement:
    """One measure of one run; `band` is None while there are too few runs, `is_sure` if it is a trouble."""

    measure: str
    resource: str
    value: float
    band: Band | None
    n: int
    verdict: str
    is_sure: bool


def judge_account(
    account: Account, past: Sequence[Account], resets: Mapping[tuple[str, str], int], *, k: float = K
) -> Iterator[Judgement]:
    """Hold a run against the runs before it.

    Args:
        past: those runs, oldest first; which of them can be compared is decided here.
        resets: the first run of the new normal, by measure and resource.
    """
    if account.accept_reset:
        return  # a person said that nothing is as it was
    past = _since_reset([one for one in past if one.is_comparable and _is_recent(one, account)])
    for rule in RULES:
        usable = [one for one in past if not (rule.of_work and one.resumed)]
        for resource in rule.resources:
            since = resets.get((rule.measure, resource), 0)
            judgement = _judge(rule, resource, account, [one for one in usable if one.run >= since], k)
            if judgement is not None:
                yield judgement


def band(
    values: Sequence[float], rule: Rule, *, k: float = K, margin: float = 0.0, effects: Sequence[float] = ()
) -> Band:
    """The band of values that are all of the same day, or as they would have been on it.

    Args:
        values: at least one.
        margin: edges are at least so far from the median.
        effects: how much of each value, on the scale, its weekday makes; the last one is for today.
    """
    there = [rule.scale.there(value) for value in values]
    if effects:
        there = [value - effect + effects[-1] for value, effect in zip(there, effects, strict=False)]
    centre = median(there)
    mad = median(abs(value - centre) for value in there)
    middle = rule.scale.back(centre)
    deviation = max(TO_DEVIATION * mad, rule.floor, rule.relative * abs(middle))
    half = k * (1 + FEW / len(values)) * deviation
    low = min(rule.scale.back(centre - half), middle / rule.factor, middle - margin)
    high = max(rule.scale.back(centre + half), middle * rule.factor, middle + margin)
    if middle >= SEVERAL:
        high = min(high, middle * rule.most)
    return Band(middle, mad, max(low, 0.0), high, len(values))


def _judge(rule: Rule, resource: str, account: Account, past: list[Account], k: float) -> Judgement | None:
    value = account.values.get((rule.measure, resource))
    if value is None or not _says_something(rule, resource, account, past):
        return None
    if rule.is_news:
        past = _with_like_gaps(past)
    if rule.trend:
        past = [one for one in past if one.started_at >= account.started_at - STRAIGHT]
    held = [(one, point) for one in past if (point := one.point(rule.measure, resource)) is not None
            and _has_rows(rule, resource, one)]  # fmt: skip
    if len(held) < LEAST_RUNS or account.started_at - held[0][1].at < LEAST_SPAN:
        return _while_learning(rule, resource, account, value, len(held))
    values = _as_today(rule, account, held)
    days = [*(point.at.weekday() for _, point in held), account.started_at.weekday()]
    effects = _weekdays(rule, days, [rule.scale.there(one) for one in values])
    if rule.is_news and (account.gap or 0.0) > TWO_DAYS * _usual_gap(past):
        effects = []  # it brings another weekday's news besides its own
    found = band(values, rule, k=k, margin=_margin(rule, resource, account), effects=effects)
    if rule.is_news:
        found = _of_news(found, values, knows_weekdays=bool(effects))
    return _against(rule, resource, value, found)


def _while_learning(rule: Rule, resource: str, account: Account, value: float, n: int) -> Judgement:
    """Nobody can say yet what is usual; what is certain all the same is told."""
    known = account.values.get(("received", resource), 0.0) + account.values.get(("missing", resource), 0.0)
    most = max(rule.certain * known, rule.absolute) if known else math.inf
    if value <= most:
        return Judgement(rule.measure, resource, value, None, n, Verdict.LEARNING, is_sure=False)
    return Judgement(
        rule.measure, resource, value, Band(0.0, 0.0, 0.0, most, n), n, Verdict.HIGH, is_sure=True
    )


def _of_news(found: Band, values: Sequence[float], *, knows_weekdays: bool) -> Band:
    high = found.high if knows_weekdays else max(found.high, ONCE_MORE * max(values))
    is_daily = min(values) > 0 and found.median >= MANY
    low = max(found.low, LITTLE) if is_daily else found.low
    return Band(found.median, found.mad, low, high, found.n)


def _against(rule: Rule, resource: str, value: float, found: Band) -> Judgement:
    verdict, is_sure = Verdict.USUAL, False
    if value < found.low:
        verdict, is_sure = Verdict.LOW, rule.lows
    elif value > found.high:
        verdict, is_sure = Verdict.HIGH, rule.highs
    return Judgement(rule.measure, resource, value, found, found.n, verdict, is_sure)


def _says_something(rule: Rule, resource: str, account: Account, past: Sequence[Account]) -> bool:
    if (rule.of_work and account.resumed) or not _has_rows(rule, resource, account):
        return False
    if not rule.is_news:
        return True
    return account.gap is not None and account.gap >= LEAST_GAP * _usual_gap(past)


def _has_rows(rule: Rule, resource: str, account: Account) -> bool:
    rows = account.values.get(("new", resource), 0.0) + account.values.get(("changed", resource), 0.0)
    return rows >= rule.least_rows


def _with_like_gaps(past: Sequence[Account]) -> list[Account]:
    """Without the first run ever, and those that somebody started soon after another."""
    least = max(LEAST_GAP * _usual_gap(past), 1.0)
    return [one for one in past if one.gap is not None and one.gap >= least]


def _usual_gap(past: Sequence[Account]) -> float:
    gaps = [one.gap for one in past if one.gap is not None]
    return median(gaps) if gaps else 0.0


def _as_today(rule: Rule, account: Account, held: Sequence[tuple[Account, Point]]) -> list[float]:
    """The values as they would be if the days went on as they did."""
    values = [point.value for _, point in held]
    if rule.is_news and account.gap is not None:
        return [value * account.gap / (one.gap or account.gap)
                for (one, _), value in zip(held, values, strict=True)]  # fmt: skip
    if rule.trend:
        ages = [(account.started_at - point.at).total_seconds() for _, point in held]
        there = [rule.scale.there(value) for value in values]
        rate = _slope(ages[-SLOPE_RUNS:], there[-SLOPE_RUNS:])
        return [rule.scale.back(value - rate * age) for value, age in zip(there, ages, strict=True)]
    return values


def _slope(ages: Sequence[float], values: Sequence[float]) -> float:
    """Median of the slopes of all pairs: three wrong days in ten do not turn it.

    Source: Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 1968.
    """
    pairs = combinations(zip(ages, values, strict=True), 2)
    slopes = [(b - a) / (t - s) for (s, a), (t, b) in pairs if t != s]
    return median(slopes) if slopes else 0.0


def _weekdays(rule: Rule, weekdays: Sequence[int], there: Sequence[float]) -> list[float]:
    """How much of each value its weekday makes, then today's; nothing while there are too few of each."""
    groups: defaultdict[int, list[float]] = defaultdict(list)
    for weekday, value in zip(weekdays, there, strict=False):
        groups[weekday].append(value)
    if rule.trend or len(groups) < 7 or min(map(len, groups.values())) < LEAST_OF_A_WEEKDAY:
        return []
    centre = median(there)
    deviation = max(TO_DEVIATION * median(abs(value - centre) for value in there), rule.floor)
    effects = {weekday: median(values) - centre for weekday, values in groups.items()}
    return [effects[day] if abs(effects[day]) > MATTERS * deviation else 0.0 for day in weekdays]


def _margin(rule: Rule, resource: str, account: Account) -> float:
    """How far edges are from the median at least, in the measure's unit."""
    wholes = account.values.get(("received" if resource else "requests", resource), 0.0)
    return max(rule.absolute, rule.of_rows * wholes, rule.rows / wholes if wholes else 0.0)


def _is_recent(one: Account, account: Account) -> bool:
    return one.run < account.run and one.started_at >= account.started_at - WINDOW


def _since_reset(past: Iterable[Account]) -> list[Account]:
    """From the last run on that took in another catalogue, at most so many."""
    kept: list[Account] = []
    for one in past:
        kept = [one] if one.accept_reset else [*kept, one]
    return kept[-MOST_RUNS:]
