"""Daily and weekly checks that open incidents: engagement, cohesion, experiments, drift, audio features."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import fmean, median, quantiles, stdev
from typing import Any, Final

from django.db.models import Min, Q
from django.urls import reverse

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.models import Incident, Song, numeric_features
from ingestion.monitoring.anomaly_detection import MAD_TO_DEVIATION
from ingestion.monitoring.anomaly_detection import K as DEVIATION_FACTOR
from recommender.models import Decision, DriftReport, EngagementDay, Experiment, ModelVersion, Promotion
from recommender.monitoring import catalogue_drift, listening_drift
from recommender.monitoring.drift_reports import last_full_week
from recommender.registry.model_loader import ServingModel

WARNING: Final = Incident.Severity.WARNING
# Incidents of ended experiments stay open this long: until the next daily review, which runs 24 hours later.
ENDED_WITHIN: Final = timedelta(hours=20)
# --- Engagement: the last two complete days against the days before, over all champions.
HISTORY_DAYS: Final = 42
MIN_HISTORY_DAYS: Final = 14
CONSECUTIVE_DAYS: Final = 2  # one unusual day may be a public holiday
# --- Cohesion
MIN_VERSIONS: Final = 8
MAX_COHESION_RATIO: Final = 0.9
# --- Drift
# Cosine similarity with last year's change. In simulations 86 of 100 seasonal changes (at most 30 % of the
# plays) and 4 of 100 real drifts reach it.
SEASONAL_LIKENESS: Final = 0.5
# --- Audio features of new songs
NEW_SONGS_WINDOW: Final = timedelta(days=7)
MIN_SONGS: Final = 20
MIN_MISSING_SHARE: Final = 0.5
USUAL_MISSING_SHARE: Final = 0.1
OUTLIER_FACTOR: Final = 3.0  # times the interquartile range: Tukey's "far out"
MAX_OUTLIER_SHARE: Final = 0.2


@dataclass(frozen=True)
class DailyEngagement:
    """Engaged songs per list within 24 hours of one day's lists, over all champions."""

    day: date
    versions: tuple[str, ...]  # version labels, most lists first
    engaged: float  # mean over listeners
    deviation: float  # standard deviation over listeners
    listeners: int


@dataclass(frozen=True)
class EngagementRange:
    center: float
    low: float
    high: float
    n: int


def check_engagement(now: datetime) -> list[Incident]:
    """Keep an incident open while both of the last two days are outside the expected range."""
    # Only complete days count: engagement within 24 hours is complete two days after the lists.
    days = read_daily_engagement((now - timedelta(days=HISTORY_DAYS)).date())
    return incidents.sync_scope("engagement_deviates", list(_engagement_deviations(days)), now)


def read_daily_engagement(since: date) -> list[DailyEngagement]:
    """Complete days, oldest first; a version counts from its first day as champion."""
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


def expected_range(days: Sequence[DailyEngagement]) -> EngagementRange | None:
    """Median +- 4.5 robust standard deviations; None with fewer than `MIN_HISTORY_DAYS` days."""
    # The range is at least +- 4.5 standard errors of a day's mean, since the means of few listeners differ
    # by chance.
    if len(days) < MIN_HISTORY_DAYS:
        return None
    values = [day.engaged for day in days]
    center = median(values)
    deviation = MAD_TO_DEVIATION * median(abs(value - center) for value in values)
    standard_error = fmean(day.deviation / max(1, day.listeners) ** 0.5 for day in days)
    half = DEVIATION_FACTOR * max(deviation, standard_error)
    return EngagementRange(center, max(0.0, center - half), center + half, len(days))


def _engagement_deviations(days: Sequence[DailyEngagement]) -> Iterable[Condition]:
    before, last = days[:-CONSECUTIVE_DAYS], days[-CONSECUTIVE_DAYS:]
    expected = expected_range(before)
    if expected is None or len(last) < CONSECUTIVE_DAYS:
        return
    values = [day.engaged for day in last]
    verdict = "low" if max(values) < expected.low else "high" if min(values) > expected.high else ""
    if verdict:
        facts = {
            "version": ", ".join(dict.fromkeys(label for day in last for label in day.versions)),
            "value": round(fmean(values), 3), "verdict": verdict,
            "days": [day.day.isoformat() for day in last],
            "low": round(expected.low, 3), "high": round(expected.high, 3),
            "median": round(expected.center, 3), "n": expected.n,
        }  # fmt: skip
        link = reverse("admin:recommender_engagementday_changelist")
        yield Condition("engagement_deviates", "engagement_deviates", WARNING, facts, link=link)


def check_cohesion(now: datetime) -> list[Incident]:
    """Keep an incident open while the newest version's silhouette is far below that of earlier versions.

    Far below means lower than the mean of earlier versions with the same method by more than three standard
    deviations and by more than a tenth.
    """
    return incidents.sync_scope("cohesion_deviates", list(_cohesion_deviations()), now)


def _cohesion_deviations() -> Iterable[Condition]:
    rows = ModelVersion.objects.exclude(cohesion={}).order_by("-id")
    newest = rows.first()
    value = newest.cohesion.get("silhouette_macro") if newest else None
    if newest is None or value is None:
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
        facts = {"version": newest.label, "value": round(value, 4), "mean": round(mean, 4),
                 "low": round(low, 4)}  # fmt: skip
        link = reverse("admin:recommender_modelversion_change", args=[newest.pk])
        yield Condition("cohesion_deviates", "cohesion_deviates", WARNING, facts, link=link)


def check_drift(model: ServingModel, now: datetime, *, seed: int = 7) -> list[DriftReport]:
    """Report last week's drift of songs, listening and feedback; each alarm opens an incident."""
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
    """Keep an incident open for each experiment that ended badly, until the next daily review."""
    # The incidents follow from the stored rows, so a second check on the same day changes nothing.
    ended = Experiment.objects.filter(ended_at__gt=now - ENDED_WITHIN)
    broken = ended.filter(outcome=Experiment.Outcome.ROLLBACK).exclude(kind=Experiment.Kind.ANCHOR)
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


def _rolled_back_versions(decision: Decision) -> tuple[Any, dict[str, Any]]:
    promotion: Any = decision.promotion
    return decision.experiment, {
        "from_version": str(promotion.replaced), "to_version": str(promotion.promoted)
    }  # fmt: skip


def describe_causes(report: DriftReport) -> str:
    """The largest changes, such as "Rock, energetic, 1990s +12 %; ...", and whether they look seasonal."""
    texts = []
    for cause in report.causes[:3]:
        names = ", ".join(one["name"] for one in cause.get("clusters", ())[:2]) or cause.get("name", "")
        texts.append(f"{names} {cause['change']:+.0%}")
    likeness = report.season.get("likeness", 0.0)
    if likeness >= SEASONAL_LIKENESS:
        texts.append(f"possibly seasonal: the same week last year changed alike (similarity {likeness:.2f})")
    return "; ".join(texts)


def check_feed(now: datetime) -> list[Incident]:
    """Keep an incident open for each audio feature whose values in last week's songs look broken."""
    new, old = _read_feature_values(now)
    wrong = []
    for name in sorted({*new, *old}):
        fault = find_feature_fault(new.get(name, []), old.get(name, []))
        if fault:
            facts = {"fault": fault, "n": len(new[name])}
            link = reverse("admin:ingestion_song_changelist")
            wrong.append(Condition(f"feed_fault:{name}", "feed_fault", WARNING, facts, link=link))
    return incidents.sync_scope("feed_fault", wrong, now)


def was_feed_faulty(now: datetime) -> bool:
    """Whether an audio feature is broken, or was in the two weeks that a drift check compares."""
    broken = Incident.objects.filter(kind="feed_fault")
    return broken.filter(Q(resolved_at=None) | Q(resolved_at__gte=now - 2 * NEW_SONGS_WINDOW)).exists()


def find_feature_fault(new_values: Sequence[float | None], old_values: Sequence[float | None]) -> str:
    """Phrase that says what is wrong with a feature's new values; "" if nothing is wrong.

    Args:
        new_values: values of songs that were added or changed in the last week; None if missing.
        old_values: values of all other songs.
    """
    new, old = [v for v in new_values if v is not None], [v for v in old_values if v is not None]
    if len(new_values) < MIN_SONGS or len(old) < MIN_SONGS:
        return ""
    missing = 1 - len(new) / len(new_values)
    if missing > MIN_MISSING_SHARE and 1 - len(old) / len(old_values) < USUAL_MISSING_SHARE:
        return f"{missing:.0%} of {len(new_values)} new values are missing"
    low, high = min(old), max(old)
    if new and len(set(new)) == 1 and low < high and len(set(old)) > 2:
        return f"all {len(new)} new values are {new[0]:g}"
    # Quartiles, because one absurd old value or last week's fault must not widen the expected range.
    first, _, third = quantiles(old, n=4)
    reach = OUTLIER_FACTOR * (third - first)
    outliers = sum(not first - reach <= value <= third + reach for value in new)
    if reach and new and outliers / len(new) > MAX_OUTLIER_SHARE:
        return f"{outliers} of {len(new)} new values are far outside {first:g} to {third:g}"
    return ""


def _read_feature_values(now: datetime) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    new: list[dict[str, float]] = []
    old: list[dict[str, float]] = []
    names: set[str] = set()
    songs = Song.objects.filter(unavailable_at=None).values_list("updated_at", "created_at", "audio_features")
    for updated, created, features in songs.iterator(chunk_size=5_000):
        is_old = max(updated, created) < now - NEW_SONGS_WINDOW
        (old if is_old else new).append(numeric_features(features))
        names.update(features or {})
    new_values, old_values = (
        {name: [features.get(name) for features in songs] for name in names} for songs in (new, old)
    )
    return new_values, old_values
