"""Comparison of any two versions by what was measured on the same weeks and lists."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recommender.dashboard.formatting import format_count, format_decimal, format_percent, format_signed
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
        return _(
            "{first} and {second} were never measured on the same week. To measure both on the latest "
            "week: python manage.py evaluate {first} --against {second}"
        ).format(first=first.label, second=second.label)
    leaders = {row.leader for row in direct} - {0}
    if len(leaders) > 1:
        return _("The measurements contradict each other: neither version is clearly better.")
    if not leaders:
        return _("On the same weeks and lists, neither version is clearly better.")
    better, other = (first, second) if leaders == {1} else (second, first)
    return _("On the same weeks and lists, {better} is clearly better than {other}.").format(
        better=better.label, other=other.label
    )


def _paired_rows(first: ModelVersion, second: ModelVersion) -> list[ComparisonRow]:
    """Each version compared with the champion of its time, listener by listener."""
    rows = []
    for newer, older, sign in ((first, second, 1), (second, first, -1)):
        pair = newer.metrics.get("against_champion") or {}
        if pair.get("champion") == older.label:
            rows.append(
                _pair_row(_("{week}, paired by listener").format(week=_week(newer)), _signed(pair, sign))
            )
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
            _("{week}, not paired").format(week=_week(first)),
            f"NDCG@20 {format_decimal(ours, 4)} : {format_decimal(theirs, 4)}",
            _count_listeners(listeners), 0,
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
    result = _("{won} : {lost} rounds, {share} ({low} to {high})").format(
        won=format_count(won),
        lost=format_count(lost),
        share=format_percent(round(won / (won + lost), 3)),
        low=format_percent(round(low, 3)),
        high=format_percent(round(high, 3)),
    )
    state = experiment.get_outcome_display() or experiment.get_status_display()
    listeners = evidence.get("listeners", 0)
    # Rounds of one listener depend on each other: a leader needs enough listeners who agree.
    agree = listeners >= DEFAULT_RULES.fewest_listeners and abs(evidence.get("z") or 0.0) >= Z_OF_95_PERCENT
    return ComparisonRow(
        _("Experiment {experiment}, the same lists ({state})").format(experiment=experiment.pk, state=state),
        result,
        _("{rounds} decisive rounds of {listeners} listeners").format(
            rounds=format_count(won + lost), listeners=format_count(listeners)
        ),
        _leader(low - 0.5, high - 0.5) if agree else 0,
    )  # fmt: skip


def _reference_rows(first: ModelVersion, second: ModelVersion) -> list[ComparisonRow]:
    """Each version's lead over RP3beta, which is fitted anew for each week."""
    rows = []
    for version in (first, second):
        pair = (version.metrics.get("against_baselines") or {}).get(REFERENCE)
        if pair:
            row = _pair_row(
                _("{week}, {version} against RP3beta").format(week=_week(version), version=version.label),
                pair,
                is_same_week=False,
            )
            rows.append(row)
    return rows if len(rows) == 2 else []


def _pair_row(where: str, pair: dict[str, Any], *, is_same_week: bool = True) -> ComparisonRow:
    result = _("NDCG@20 {difference} ({low} to {high})").format(
        difference=format_signed(pair["difference"], 4), low=format_signed(pair["low"], 4),
        high=format_signed(pair["high"], 4),
    )  # fmt: skip
    listeners = _count_listeners(pair["listeners"])
    return ComparisonRow(where, result, listeners, _leader(pair["low"], pair["high"]), is_same_week)


def _signed(pair: dict[str, Any], sign: int) -> dict[str, Any]:
    if sign > 0:
        return pair
    return {**pair, "difference": -pair["difference"], "low": -pair["high"], "high": -pair["low"]}


def _count_listeners(n: int) -> str:
    return ngettext("{n} listener", "{n} listeners", n).format(n=format_count(n))


def _leader(low: float, high: float) -> int:
    return 1 if low > 0 else -1 if high < 0 else 0


def _week(version: ModelVersion) -> str:
    return _("Week {first:%Y-%m-%d} to {last:%Y-%m-%d}").format(
        first=version.cut_off - EVALUATED_WEEK, last=version.cut_off
    )
