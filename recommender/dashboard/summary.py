"""The models page in three plain sentences: what serves, whether it beats the baselines, what is tested."""

from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as _n

from recommender.dashboard.formatting import format_count, format_decimal, format_signed
from recommender.dashboard.tables import read_metric
from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES, DecisionRules
from recommender.models import Experiment, ModelVersion

BASELINE_NAMES: Final = {"popularity": _n("popular songs"), "rp3beta": _n("RP3beta")}
Kind = Experiment.Kind


def summarize(champion: ModelVersion | None, experiments: Sequence[Experiment]) -> list[str]:
    """The sentences for the models page.

    `experiments`: unfinished ones, annotated with `last_rules` and `last_unproven` of their last check.
    """
    if champion is None:
        return [_("No model serves: listeners get popular songs. Train one: python manage.py retrain")]
    tested = next((one for one in experiments if one.started_at and one.kind != Kind.HOLDBACK), None)
    return [_describe_champion(champion), _compare_with_baselines(champion), _describe_test(tested)]


def _describe_champion(champion: ModelVersion) -> str:
    return _(
        "{version} serves. It has learned from {plays} plays of {songs} songs by {listeners} listeners."
    ).format(
        version=champion.label, plays=format_count(champion.n_plays), songs=format_count(champion.n_songs),
        listeners=format_count(champion.n_listeners),
    )  # fmt: skip


def _compare_with_baselines(champion: ModelVersion) -> str:
    ours = read_metric(champion, champion.method)
    against = champion.metrics.get("against_baselines") or {}
    if ours is None or not against:
        return _("It has not been compared with the baselines yet; the next training compares its version.")
    # PostgreSQL does not keep the order of a JSON object's keys.
    parts = [
        _compare_with(name, against[name], ours, read_metric(champion, name))
        for name in BASELINE_NAMES
        if name in against
    ]
    return _("On the week after its training data it {results}.").format(
        results=parts[0]
        if len(parts) == 1
        else _("{first}, and {second}").format(first=parts[0], second=parts[1])
    )


def _compare_with(baseline: str, pair: Mapping[str, float], ours: float, theirs: float | None) -> str:
    text = (
        _("beats {baseline} ({numbers})")
        if pair["low"] > 0
        else _("is worse than {baseline} ({numbers})")
        if pair["high"] < 0
        else _("does not clearly beat {baseline} ({numbers})")
    )
    bounds = {name: format_signed(pair[name], 4) for name in ("difference", "low", "high")}
    numbers = (
        _("NDCG@20 {difference}, {ratio} times as high; 95 % {low} to {high}").format(
            ratio=format_decimal(ours / theirs, 1), **bounds
        )
        if theirs
        else _("NDCG@20 {difference}; 95 % {low} to {high}").format(**bounds)
    )
    return text.format(baseline=_(BASELINE_NAMES[baseline]), numbers=numbers)


def _describe_test(experiment: Experiment | None) -> str:
    if experiment is None:
        return _("Nothing is being tested. On Sundays a version is trained if there is new data, and tested.")
    # The last check's rules are those that decide.
    stored = getattr(experiment, "last_rules", None)
    rules = DecisionRules(**stored) if stored else DEFAULT_RULES
    unproven = int(getattr(experiment, "last_unproven", None) or 0)
    if experiment.kind == Kind.AA_TEST:
        return _(
            "Two copies of {version} are compared, which must come out equal; this ends on {day}."
        ).format(version=experiment.champion, day=_day(experiment, rules.equals_days))
    tested = {"version": experiment.challenger, "since": _day(experiment, 0)}
    if experiment.kind == Kind.REFRESH:
        days = rules.refresh_days + rules.extra_days(unproven)
        return _("{version} is tested against it since {since}; this is decided on {day}.").format(
            day=_day(experiment, days), **tested
        )
    return _(
        "{version} is tested against it since {since}; this is decided between {first} and {last}, and "
        "earlier only if it is worse."
    ).format(first=_day(experiment, rules.change_days), last=_day(experiment, rules.deadline), **tested)


def _day(experiment: Experiment, days: int) -> str:
    start = experiment.started_at or experiment.created_at
    return f"{(start + timedelta(days=days)).astimezone(UTC):%Y-%m-%d}"
