"""Daily and weekly checks that open incidents."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import repeat
from statistics import fmean, stdev
from typing import Any, Final

import numpy as np
from django.db.models import Min, Q
from django.urls import reverse
from numpy.typing import NDArray
from scipy.special import bdtrc

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.models import Incident, Song, numeric_features
from recommender import catalogue_generation
from recommender.engine.evaluation.yardstick import WeeklyLead, find_fall
from recommender.engine.experiments.decision_thresholds import DEFAULT_RULES
from recommender.experiments import refresh_limits
from recommender.models import (
    Decision,
    DriftReport,
    EngagementDay,
    Experiment,
    ModelVersion,
    Promotion,
    TrainingRun,
)
from recommender.monitoring import catalogue_drift, listening_drift
from recommender.monitoring.drift_reports import last_full_week
from recommender.monitoring.engagement_range import (
    CONSECUTIVE_DAYS,
    HISTORY_DAYS,
    DailyEngagement,
    find_engagement_deviation,
)
from recommender.registry import registry
from recommender.registry.cohesion import FAR_BELOW, compare_cohesion, far_less_cohesive
from recommender.registry.model_loader import ServingModel

WARNING: Final = Incident.Severity.WARNING
NOTICE: Final = Incident.Severity.NOTICE
# Incidents of ended experiments stay open this long: until the next daily review, which runs 24 hours later.
ENDED_WITHIN: Final = timedelta(hours=20)
# --- Cohesion
MIN_VERSIONS: Final = 8
MAX_COHESION_RATIO: Final = 0.9
# --- Lead over RP3beta
YARDSTICK_MEMORY: Final = timedelta(days=365)
# --- Drift
# Cosine similarity with last year's change. In simulations 86 of 100 seasonal changes (at most 30 % of the
# plays) and 4 of 100 real drifts reach it.
SEASONAL_LIKENESS: Final = 0.5
# --- Audio features of new songs
NEW_SONGS_WINDOW: Final = timedelta(days=7)
# A small catalogue has few new songs a week, so those of four weeks are checked too.
SMALL_CATALOGUE_WINDOW: Final = timedelta(days=28)
MIN_SONGS: Final = 20  # known songs that new ones are compared with
# Largest probability of so many odd values by chance. A dozen features are checked every day of the year.
MAX_CHANCE: Final = 1e-4
MIN_CONSTANT_SHARE: Final = 0.9
MIN_MISSING_SHARE: Final = 0.5
USUAL_MISSING_SHARE: Final = 0.1
OUTLIER_FACTOR: Final = 3.0  # times the interquartile range: Tukey's "far out"
MAX_OUTLIER_SHARE: Final = 0.2


def check_engagement(now: datetime) -> list[Incident]:
    """Open an incident while both of the last two days are outside the expected range."""
    # Only complete days count: engagement within 24 hours is complete two days after the lists.
    days = read_daily_engagement((now - timedelta(days=HISTORY_DAYS)).date())
    return incidents.sync_scope("engagement_deviates", list(_engagement_deviations(days)), now)


def read_daily_engagement(since: date) -> list[DailyEngagement]:
    """Engagement of complete days, oldest first; a version counts from its first day as champion."""
    promoted_at = dict(Promotion.objects.values_list("promoted").annotate(Min("at")))
    rows = EngagementDay.objects.filter(early__isnull=False, lists__gt=0, day__gte=since)
    days: dict[date, list[EngagementDay]] = {}
    for row in rows.select_related("version").order_by("day", "-lists"):
        first = promoted_at.get(row.version_id)
        if first is not None and first.astimezone(UTC).date() <= row.day:
            days.setdefault(row.day, []).append(row)
    return [_combine_versions(day, rows) for day, rows in days.items()]


def _combine_versions(day: date, rows: Sequence[EngagementDay]) -> DailyEngagement:
    listeners = sum(row.listeners for row in rows)
    weights = [row.listeners / listeners for row in rows]
    early = [row.early or 0.0 for row in rows]
    mean = sum(weight * value for weight, value in zip(weights, early, strict=True))
    variance = sum(
        weight * (row.early_deviation**2 + (value - mean) ** 2)
        for weight, value, row in zip(weights, early, rows, strict=True)
    )
    return DailyEngagement(day, tuple(row.version.label for row in rows), mean, variance**0.5, listeners)


def _engagement_deviations(days: Sequence[DailyEngagement]) -> Iterable[Condition]:
    found = find_engagement_deviation(days)
    if found is None:
        return
    last, expected = days[-CONSECUTIVE_DAYS:], found.expected
    facts = {
        "version": ", ".join(dict.fromkeys(label for day in last for label in day.versions)),
        "value": round(fmean(day.engaged for day in last), 3), "verdict": found.verdict,
        "days": [day.day.isoformat() for day in last],
        "low": round(expected.low, 3), "high": round(expected.high, 3),
        "median": round(expected.center, 3), "n": expected.n,
    }  # fmt: skip
    link = reverse("admin:recommender_engagementday_changelist")
    yield Condition("engagement_deviates", "engagement_deviates", WARNING, facts, link=link)


def check_cohesion(now: datetime) -> list[Incident]:
    """Open an incident while the newest version's silhouette is far below that of earlier versions.

    Far below: by more than three standard deviations and more than a tenth of the mean for the same method.
    """
    return incidents.sync_scope("cohesion_deviates", list(_cohesion_deviations()), now)


def _cohesion_deviations() -> Iterable[Condition]:
    rows = ModelVersion.objects.exclude(cohesion={}).order_by("-id")
    newest = rows.first()
    value = newest.cohesion.get("silhouette_macro") if newest else None
    if newest is None or value is None:
        return
    champion = registry.current_champion()
    if champion is not None and champion != newest:
        pair = compare_cohesion(newest, champion)
        if far_less_cohesive(pair):
            other = champion.cohesion.get("silhouette_macro") or 0.0
            yield _cohesion_condition(newest, value, other, FAR_BELOW * other)
            return
    before = [
        earlier for version in rows.filter(method=newest.method)[1:53]
        if (earlier := version.cohesion.get("silhouette_macro")) is not None
    ]  # fmt: skip
    if len(before) < MIN_VERSIONS:
        return
    mean = fmean(before)
    low = mean - 3 * stdev(before)
    if value < low and value < MAX_COHESION_RATIO * mean:
        yield _cohesion_condition(newest, value, mean, low)


def _cohesion_condition(version: ModelVersion, value: float, mean: float, low: float) -> Condition:
    facts = {"version": version.label, "value": round(value, 4), "mean": round(mean, 4), "low": round(low, 4)}
    link = reverse("admin:recommender_modelversion_change", args=[version.pk])
    return Condition("cohesion_deviates", "cohesion_deviates", WARNING, facts, link=link)


def check_yardstick(now: datetime) -> list[Incident]:
    """Open an incident while new versions lead RP3beta by far less than earlier ones did.

    Only versions trained on the current catalogue since the last full training are compared.
    """
    # Trained versions, not champions: a version is measured on the week before its training ends.
    rows = catalogue_generation.trained_on_current(ModelVersion.objects.filter(
        method=ModelVersion.Method.MIX, created_at__gt=now - YARDSTICK_MEMORY, created_at__lte=now,
        metrics__against_baselines__rp3beta__isnull=False,
    )).order_by("pk")  # fmt: skip
    full = TrainingRun.objects.filter(full=True, status=TrainingRun.Status.SUCCEEDED, finished_at__lte=now)
    last_full = full.order_by("-finished_at").first()
    if last_full is not None:
        rows = rows.filter(created_at__gte=last_full.started_at)
    leads = []
    for label, metrics in rows.values_list("label", "metrics"):
        pair = metrics["against_baselines"]["rp3beta"]
        leads.append(WeeklyLead.from_interval(label, pair["difference"], pair["low"], pair["high"]))
    fall = find_fall(leads)
    wrong = []
    if fall is not None:
        facts = {"value": round(fall.now, 4), "best": round(fall.best, 4), "version": fall.best_from}
        wrong.append(Condition("yardstick_fell", "yardstick_fell", WARNING, facts, link=reverse("models")))
    return incidents.sync_scope("yardstick_fell", wrong, now)


def check_drift(model: ServingModel, now: datetime, *, seed: int = 7) -> list[DriftReport]:
    """Measure last week's drift of songs, listening and feedback; each alarm opens an incident."""
    songs = catalogue_drift.check_new_songs(model, last_full_week(now), now, seed=seed)
    reports = listening_drift.check_week(model, now, seed=seed)
    if songs is not None:
        reports.insert(0, songs)
    wrong = [
        Condition(
            f"drift_found:{report.kind}",
            "drift_found",
            WARNING,
            {
                "version": model.version.label,
                "causes": describe_causes(report),
                "value": round(report.effect, 3),
                "limit": round(report.limit, 3),
            },
            link=reverse("admin:recommender_driftreport_changelist"),
        )
        for report in reports
        if report.alarm
    ]
    incidents.sync_scope("drift_found", wrong, now)
    return reports


def check_experiments(now: datetime) -> None:
    """Open an incident for each experiment that ended badly, until the next daily review."""
    # The incidents follow from the stored rows, so a second check on the same day changes nothing.
    ended = Experiment.objects.filter(ended_at__gt=now - ENDED_WITHIN)
    broken = ended.filter(outcome=Experiment.Outcome.ROLLBACK).exclude(kind=Experiment.Kind.HOLDBACK)
    rollbacks = Decision.objects.filter(final=True, experiment__in=ended, promotion__rollback=True)
    for kind, severity, experiments in (
        ("experiment_invalid", WARNING, [(one, {}) for one in ended.filter(outcome="invalid")]),
        ("challenger_failed", WARNING, [(one, {"version": str(one.challenger)}) for one in broken]),
        ("rolled_back", Incident.Severity.CRITICAL, [_rolled_back_versions(one) for one in rollbacks]),
    ):
        wrong = [
            Condition(
                f"{kind}:{experiment.pk}", kind, severity,
                {"experiment": str(experiment), "reason": experiment.reason, **facts},
                link=reverse("admin:recommender_experiment_change", args=[experiment.pk]),
            )
            for experiment, facts in experiments
        ]  # fmt: skip
        incidents.sync_scope(kind, wrong, now)
    incidents.sync_scope("experiment_waits", list(_experiments_without_listening()), now)
    check_refreshes(now)


def check_refreshes(now: datetime) -> None:
    """Open incidents while refreshes are frozen, and while the latest ones were promoted without a win."""
    link = reverse("admin:recommender_experiment_changelist")
    reason = refresh_limits.why_frozen(now)
    frozen = [Condition("refreshes_frozen", "refreshes_frozen", WARNING, {"reason": reason}, link=link)]
    incidents.sync_scope("refreshes_frozen", frozen if reason else [], now)
    unproven = refresh_limits.unproven_refreshes(now)
    versions = ", ".join(str(one.promotion.promoted) for one in reversed(unproven) if one.promotion)
    facts = {"number": len(unproven), "versions": versions}
    # A notice: with refreshes of equal quality this is the usual state, so nobody is notified.
    many = [Condition("refreshes_unproven", "refreshes_unproven", NOTICE, facts, link=link)]
    incidents.sync_scope(
        "refreshes_unproven", many if len(unproven) >= DEFAULT_RULES.unproven_most else [], now
    )


def _experiments_without_listening() -> Iterable[Condition]:
    """Running experiments whose last check gave no verdict because listening is not imported."""
    for experiment in Experiment.objects.filter(status=Experiment.Status.RUNNING).order_by("pk"):
        last = experiment.decisions.order_by("-at", "-pk").first()
        if last is not None and last.evidence.get("feed"):
            yield Condition(
                f"experiment_waits:{experiment.pk}", "experiment_waits", WARNING,
                {"experiment": str(experiment), "reason": last.evidence["feed"]},
                link=reverse("admin:recommender_experiment_change", args=[experiment.pk]),
            )  # fmt: skip


def _rolled_back_versions(decision: Decision) -> tuple[Any, dict[str, Any]]:
    promotion: Any = decision.promotion
    return decision.experiment, {
        "from_version": str(promotion.replaced), "to_version": str(promotion.promoted)
    }  # fmt: skip


def describe_causes(report: DriftReport) -> str:
    """The causes as text, such as "Rock, energetic, 1990s +12 %; ...", and whether they look seasonal."""
    texts = []
    for cause in report.causes[:3]:
        names = ", ".join(one["name"] for one in cause.get("clusters", ())[:2]) or cause.get("name", "")
        texts.append(f"{names} {cause['change']:+.0%}")
    likeness = report.season.get("likeness", 0.0)
    if likeness >= SEASONAL_LIKENESS:
        texts.append(f"possibly seasonal: the same week last year changed alike (similarity {likeness:.2f})")
    return "; ".join(texts)


def check_feed(now: datetime) -> list[Incident]:
    """Open an incident for each audio feature whose values in new songs look broken."""
    faults: dict[str, tuple[str, int]] = {}
    changed_at, features = _read_feature_values()
    for window in (NEW_SONGS_WINDOW, SMALL_CATALOGUE_WINDOW):
        is_old = changed_at < (now - window).timestamp()
        n_new = int(np.count_nonzero(~is_old))
        for name, values in sorted(features.items()):
            fault = find_feature_fault(values[~is_old], values[is_old])
            if fault:
                faults.setdefault(name, (fault, n_new))
    link = reverse("admin:ingestion_song_changelist")
    wrong = [
        Condition(f"feed_fault:{name}", "feed_fault", WARNING, {"fault": fault, "n": n}, link=link)
        for name, (fault, n) in sorted(faults.items())
    ]
    return incidents.sync_scope("feed_fault", wrong, now)


def was_feed_faulty(now: datetime) -> bool:
    """Whether the feed is faulty now, or was in the two weeks that a drift check compares."""
    broken = Incident.objects.filter(kind="feed_fault")
    return broken.filter(Q(resolved_at=None) | Q(resolved_at__gte=now - 2 * NEW_SONGS_WINDOW)).exists()


def find_feature_fault(new_values: NDArray[np.float64], old_values: NDArray[np.float64]) -> str:
    """What is wrong with a feature's new values, beyond chance; "" if nothing.

    Args:
        new_values: the feature's values in songs added or changed lately; NaN for a missing value.
        old_values: the feature's values in all other songs.
    """
    new, old = new_values[~np.isnan(new_values)], old_values[~np.isnan(old_values)]
    if not len(new_values) or len(old) < MIN_SONGS:
        return ""
    return (
        _missing_fault(len(new_values), len(new), len(old_values), len(old))
        or _constant_fault(new, old)
        or _outlier_fault(new, old)
    )


def _missing_fault(n_new: int, present_new: int, n_old: int, present_old: int) -> str:
    missing, usual = n_new - present_new, n_old - present_old
    if (
        missing > MIN_MISSING_SHARE * n_new
        and usual < USUAL_MISSING_SHARE * n_old
        and _is_no_chance(missing, n_new, usual, n_old)
    ):
        return f"{missing / n_new:.0%} of {n_new} new values are missing"
    return ""


def _constant_fault(new: NDArray[np.float64], old: NDArray[np.float64]) -> str:
    if not len(new) or np.all((old == old.min()) | (old == old.max())):
        return ""
    values, counts = np.unique(new, return_counts=True)
    value, count = float(values[counts.argmax()]), int(counts.max())
    if count < MIN_CONSTANT_SHARE * len(new) or not _is_no_chance(
        count, len(new), int(np.count_nonzero(old == value)), len(old)
    ):
        return ""
    amount = f"all {count}" if count == len(new) else f"{count} of {len(new)}"
    return f"{amount} new values are {value:g}"


def _outlier_fault(new: NDArray[np.float64], old: NDArray[np.float64]) -> str:
    # Quartiles, because one absurd old value or last week's fault must not widen the expected range.
    first, third = np.quantile(old, (0.25, 0.75), method="weibull")
    reach = OUTLIER_FACTOR * (third - first)
    low, high = first - reach, third + reach
    outliers, usual = (int(np.count_nonzero(~((low <= values) & (values <= high)))) for values in (new, old))
    if (
        reach
        and outliers > MAX_OUTLIER_SHARE * len(new)
        and _is_no_chance(outliers, len(new), usual, len(old))
    ):
        return f"{outliers} of {len(new)} new values are far outside {first:.3g} to {third:.3g}"
    return ""


def _is_no_chance(odd: int, n: int, usual_odd: int, usual_n: int) -> bool:
    """Whether `odd` of `n` values are too many for chance, by an exact binomial test."""
    return float(bdtrc(odd - 1, n, (usual_odd + 0.5) / (usual_n + 1))) <= MAX_CHANCE


def _read_feature_values() -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """When each available song was added or changed, and its audio features; NaN if missing.

    8 bytes for each number, because a large catalogue has millions of them.
    """
    songs = Song.objects.filter(unavailable_at=None).values_list("updated_at", "created_at", "audio_features")
    changed_at = array("d")
    columns: dict[str, array[float]] = defaultdict(lambda: array("d"))
    for updated, created, features in songs.iterator(chunk_size=5_000):
        for name, value in numeric_features(features).items():
            column = columns[name]
            column.extend(repeat(np.nan, len(changed_at) - len(column)))
            column.append(value)
        changed_at.append(max(updated, created).timestamp())
    for column in columns.values():
        column.extend(repeat(np.nan, len(changed_at) - len(column)))
    return np.asarray(changed_at), {name: np.asarray(column) for name, column in columns.items()}
