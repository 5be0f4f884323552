"""The models page in three plain sentences: what serves, whether it beats the baselines, what is tested."""

from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Final

from recommender.dashboard.formatting import format_count
from recommender.dashboard.tables import read_metric
from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES, DecisionRules
from recommender.models import Experiment, ModelVersion

BASELINE_NAMES: Final = {"popularity": "popular songs", "rp3beta": "RP3beta"}
Kind = Experiment.Kind


def summarize(champion: ModelVersion | None, experiments: Sequence[Experiment]) -> list[str]:
    """The sentences for the models page.

    `experiments`: unfinished ones, annotated with `last_rules` and `last_unproven` of their last check.
    """
    if champion is None:
        return ["No model serves: listeners get popular songs. Train one: python manage.py retrain"]
    tested = next((one for one in experiments if one.started_at and one.kind != Kind.HOLDBACK), None)
    return [_describe_champion(champion), _compare_with_baselines(champion), _describe_test(tested)]


def _describe_champion(champion: ModelVersion) -> str:
    return (
        f"{champion.label} serves. It has learned from {format_count(champion.n_plays)} plays of "
        f"{format_count(champion.n_songs)} songs by {format_count(champion.n_listeners)} listeners."
    )


def _compare_with_baselines(champion: ModelVersion) -> str:
    ours = read_metric(champion, champion.method)
    against = champion.metrics.get("against_baselines") or {}
    if ours is None or not against:
        return "It has not been compared with the baselines yet; the next training compares its version."
    parts = []
    # PostgreSQL does not keep the order of a JSON object's keys.
    for name, pair in ((name, against[name]) for name in BASELINE_NAMES if name in against):
        floor = read_metric(champion, name)
        times = f", {ours / floor:.1f} times as high" if floor else ""
        verb = (
            "beats" if pair["low"] > 0 else "is worse than" if pair["high"] < 0 else "does not clearly beat"
        )
        parts.append(
            f"{verb} {BASELINE_NAMES[name]} (NDCG@20 {pair['difference']:+.4f}{times}; 95 % "
            f"{pair['low']:+.4f} to {pair['high']:+.4f})"
        )
    return f"On the week after its training data it {', and '.join(parts)}."


def _describe_test(experiment: Experiment | None) -> str:
    if experiment is None:
        return "Nothing is being tested. On Sundays a version is trained if there is new data, and tested."
    # The last check's rules are those that decide.
    stored = getattr(experiment, "last_rules", None)
    rules = DecisionRules(**stored) if stored else DEFAULT_RULES
    unproven = int(getattr(experiment, "last_unproven", None) or 0)
    if experiment.kind == Kind.AA_TEST:
        return (
            f"Two copies of {experiment.champion} are compared, which must come out equal; this ends on "
            f"{_day(experiment, rules.equals_days)}."
        )
    tested = f"{experiment.challenger} is tested against it since {_day(experiment, 0)}"
    if experiment.kind == Kind.REFRESH:
        days = rules.refresh_days + rules.extra_days(unproven)
        return f"{tested}; this is decided on {_day(experiment, days)}."
    return (
        f"{tested}; this is decided between {_day(experiment, rules.change_days)} and "
        f"{_day(experiment, rules.deadline)}, and earlier only if it is worse."
    )


def _day(experiment: Experiment, days: int) -> str:
    start = experiment.started_at or experiment.created_at
    return f"{(start + timedelta(days=days)).astimezone(UTC):%Y-%m-%d}"
