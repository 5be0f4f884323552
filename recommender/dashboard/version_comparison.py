"""Comparison of any two versions by what was measured on the same weeks and lists."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from recommender.dashboard.formatting import format_count, format_percent
from recommender.dashboard.tables import read_metric
from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES
from recommender.engine.experiments.sequential import win_share_interval
from recommender.models import Experiment, ModelVersion

ExperimentKind = Experiment.Kind
EVALUATED_WEEK: Final = timedelta(days=7)  # before the end of a version's data
REFERENCE: Final = "rp3beta"
Z_OF_95_PERCENT: Final = 1.96


@dataclass(frozen=True)
class ComparisonRow:
    where: str  # the week, or the experiment
    result: str
    sample: str
    leader: int  # 1 if the first version is clearly better, -1 if the second is, 0 if neither is
    is_same_week: bool = True  # False: each version on a week of its own, so it only hints


@dataclass(frozen=True)
class VersionComparison:
    first: ModelVersion
    second: ModelVersion
    rows: list[ComparisonRow]
    sentence: str


def compare_two_versions(first: ModelVersion, second: ModelVersion) -> VersionComparison:
    rows = [
        *_paired_rows(first, second), *_rows_of_same_data(first, second), *_experiment_rows(first, second),
        *_reference_rows(first, second),
    ]  # fmt: skip
    return VersionComparison(first, second, rows, _summarize(first, second, rows))


def _summarize(first: ModelVersion, second: ModelVersion, rows: list[ComparisonRow]) -> str:
    direct = [row for row in rows if row.is_same_week]
    if not direct:
        return (
            f"{first.label} and {second.label} were never measured on the same week. To measure both on the "
            f"latest week: python manage.py evaluate {first.label} --against {second.label}"
        )
    leaders = {row.leader for row in direct} - {0}
    if len(leaders) > 1:
        return "The measurements contradict each other: neither version is clearly better."
    if not leaders:
        return "On the same weeks and lists, neither version is clearly better."
    better, other = (first, second) if leaders == {1} else (second, first)
    return f"On the same weeks and lists, {better.label} is clearly better than {other.label}."


def _paired_rows(first: ModelVersion, second: ModelVersion) -> list[ComparisonRow]:
    """Each version compared with the champion of its time, listener by listener."""
    rows = []
    for newer, older, sign in ((first, second, 1), (second, first, -1)):
        pair = newer.metrics.get("against_champion") or {}
        if pair.get("champion") == older.label:
            rows.append(_pair_row(f"{_week(newer)}, paired by listener", _signed(pair, sign)))
    return rows


def _rows_of_same_data(first: ModelVersion, second: ModelVersion) -> list[ComparisonRow]:
    if first.cut_off != second.cut_off:
        return []
    ours, theirs = (read_metric(one, one.method) for one in (first, second))
    if ours is None or theirs is None:
        return []
    listeners = first.metrics[first.method]["listeners"]
    return [
        ComparisonRow(
            f"{_week(first)}, not paired", f"NDCG@20 {ours:.4f} : {theirs:.4f}",
            f"{format_count(listeners)} listeners", 0,
        )
    ]  # fmt: skip


def _experiment_rows(first: ModelVersion, second: ModelVersion) -> list[ComparisonRow]:
    rows = []
    for challenger, champion, is_first in ((first, second, True), (second, first, False)):
        experiments = Experiment.objects.filter(
            challenger=challenger, champion=champion,
            kind__in=(ExperimentKind.REFRESH, ExperimentKind.CHANGE),
        )  # fmt: skip
        for experiment in experiments.order_by("pk"):
            last = experiment.decisions.order_by("-at", "-pk").first()
            won, lost = (last.evidence["wins"], last.evidence["losses"]) if last else (0, 0)
            if last is not None and won + lost:
                rounds = (won, lost) if is_first else (lost, won)
                rows.append(_experiment_row(experiment, *rounds, last.evidence))
    return rows


def _experiment_row(experiment: Experiment, won: int, lost: int, evidence: dict[str, Any]) -> ComparisonRow:
    low, high = win_share_interval(won, lost)
    result = (
        f"{format_count(won)} : {format_count(lost)} rounds, {format_percent(round(won / (won + lost), 3))} "
        f"({format_percent(round(low, 3))} to {format_percent(round(high, 3))})"
    )
    state = experiment.get_outcome_display() or experiment.get_status_display()
    listeners = evidence.get("listeners", 0)
    # Rounds of one listener depend on each other: a leader needs enough listeners who agree.
    agree = listeners >= DEFAULT_RULES.fewest_listeners and abs(evidence.get("z") or 0.0) >= Z_OF_95_PERCENT
    return ComparisonRow(
        f"Experiment {experiment.pk}, the same lists ({state})", result,
        f"{format_count(won + lost)} decisive rounds of {format_count(listeners)} listeners",
        _leader(low - 0.5, high - 0.5) if agree else 0,
    )  # fmt: skip


def _reference_rows(first: ModelVersion, second: ModelVersion) -> list[ComparisonRow]:
    """Each version's lead over RP3beta, which is fitted anew for each week."""
    rows = []
    for version in (first, second):
        pair = (version.metrics.get("against_baselines") or {}).get(REFERENCE)
        if pair:
            row = _pair_row(f"{_week(version)}, {version.label} against RP3beta", pair, is_same_week=False)
            rows.append(row)
    return rows if len(rows) == 2 else []


def _pair_row(where: str, pair: dict[str, Any], *, is_same_week: bool = True) -> ComparisonRow:
    result = f"NDCG@20 {pair['difference']:+.4f} ({pair['low']:+.4f} to {pair['high']:+.4f})"
    listeners = f"{format_count(pair['listeners'])} listeners"
    return ComparisonRow(where, result, listeners, _leader(pair["low"], pair["high"]), is_same_week)


def _signed(pair: dict[str, Any], sign: int) -> dict[str, Any]:
    if sign > 0:
        return pair
    return {**pair, "difference": -pair["difference"], "low": -pair["high"], "high": -pair["low"]}


def _leader(low: float, high: float) -> int:
    return 1 if low > 0 else -1 if high < 0 else 0


def _week(version: ModelVersion) -> str:
    return f"Week {version.cut_off - EVALUATED_WEEK:%Y-%m-%d} to {version.cut_off:%Y-%m-%d}"
