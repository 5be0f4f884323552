"""Is the loop well? Engagement, cohesion, drift and the feed, each with an incident where it is not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import fmean, median, quantiles, stdev
from typing import Any, Final

from django.db.models import Min, Q
from django.urls import reverse

from ingestion.alerts import incidents
from ingestion.alerts.incidents import Condition
from ingestion.models import Incident, Song
from recommender.models import Decision, DriftReport, EngagementDay, Experiment, ModelVersion, Promotion
from recommender.monitoring import catalogue_drift, listening_drift
from recommender.registry.model_loader import ServingModel

WARNING: Final = Incident.Severity.WARNING
# Less than the day between two looks, far more than between two deliveries of one.
ENDED_WITHIN: Final = timedelta(hours=20)
# --- Engagement: the last two days that are known against the days before, whichever version served.
HISTORY_DAYS: Final = 42
MIN_HISTORY_DAYS: Final = 14
CONSECUTIVE_DAYS: Final = 2  # a single odd day is a feast day
DEVIATION_FACTOR: Final = 4.5
MAD_TO_DEVIATION: Final = 1.4826
# --- Cohesion
MIN_VERSIONS: Final = 8
MAX_COHESION_RATIO: Final = 0.9
# --- Drift
# Simulated: 86 of 100 seasons (30 % of the plays at their height) move so alike a year later, and 4 drifts.
SEASONAL_LIKENESS: Final = 0.5
# --- Feed
NEW_SONGS_WINDOW: Final = timedelta(days=7)
MIN_SONGS: Final = 20
MIN_MISSING_SHARE: Final = 0.5
USUAL_MISSING_SHARE: Final = 0.1
OUTLIER_FACTOR: Final = 3.0  # times the middle half's width, as Tukey drew it
MAX_OUTLIER_SHARE: Final = 0.2


@dataclass(frozen=True)
class DailyEngagement:
    """What listeners made within 24 hours of a day's lists, whichever versions made them.

    Attributes:
        versions: labels, the one with most lists first.
        deviation: of the listeners' means.
    """

    day: date
    versions: tuple[str, ...]
    engaged: float
    deviation: float
    listeners: int


@dataclass(frozen=True)
class EngagementRange:
    """Engaged songs a list on the days before: usual is `low` to `high`."""

    center: float
    low: float
    high: float
    n: int


def check_engagement(now: datetime) -> list[Incident]:
    """An incident while two days running are far from the days before, all at the age of 24 hours.

    A day is known at the look two days after it; that of seven days would be known nine days after.
    """
    wrong = list(_engagement_deviations(read_daily_engagement((now - timedelta(days=HISTORY_DAYS)).date())))
    return incidents.sync_scope("engagement_deviates", wrong, now)


def read_daily_engagement(since: date) -> list[DailyEngagement]:
    """The days that are known, in order; what a challenger alone was served to does not count."""
    first = dict(Promotion.objects.values_list("promoted").annotate(Min("at")))
    rows = EngagementDay.objects.filter(early__isnull=False, lists__gt=0, day__gte=since)
    days: dict[date, list[EngagementDay]] = {}
    for row in rows.select_related("version").order_by("day", "-lists"):
        crowned = first.get(row.version_id)
        if crowned is not None and crowned.astimezone(UTC).date() <= row.day:
            days.setdefault(row.day, []).append(row)
    return [_combine_versions(day, rows) for day, rows in days.items()]


def _combine_versions(day: date, rows: Sequence[EngagementDay]) -> DailyEngagement:
    """One day of all versions that were champion on it."""
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
    """Median +- 4.5 robust deviations, and never narrower than the days' own standard errors allow."""
    if len(days) < MIN_HISTORY_DAYS:
        return None
    values = [day.engaged for day in days]
    middle = median(values)
    spread = MAD_TO_DEVIATION * median(abs(value - middle) for value in values)
    # Of a day with few listeners the mean is a matter of chance.
    chance = fmean(day.deviation / max(1, day.listeners) ** 0.5 for day in days)
    half = DEVIATION_FACTOR * max(spread, chance)
    return EngagementRange(middle, max(0.0, middle - half), middle + half, len(days))


def _engagement_deviations(days: Sequence[DailyEngagement]) -> Iterable[Condition]:
    before, last = days[:-CONSECUTIVE_DAYS], days[-CONSECUTIVE_DAYS:]
    band = expected_range(before)
    if band is None or len(last) < CONSECUTIVE_DAYS:
        return
    values = [day.engaged for day in last]
    verdict = "low" if max(values) < band.low else "high" if min(values) > band.high else ""
    if verdict:
        facts = {
            "version": ", ".join(dict.fromkeys(label for day in last for label in day.versions)),
            "value": round(fmean(values), 3), "verdict": verdict,
            "days": [day.day.isoformat() for day in last],
            "low": round(band.low, 3), "high": round(band.high, 3), "median": round(band.center, 3),
            "n": band.n,
        }  # fmt: skip
        link = reverse("admin:recommender_engagementday_changelist")
        yield Condition("engagement_deviates", "engagement_deviates", WARNING, facts, link=link)


def check_cohesion(now: datetime) -> list[Incident]:
    """An incident while the newest version's clusters hold together far less than those before."""
    rows = ModelVersion.objects.exclude(cohesion={}).order_by("-id")
    newest = rows.first()
    wrong = []
    if newest is not None:
        before = [
            value for version in rows.filter(method=newest.method)[1:53]
            if (value := version.cohesion.get("silhouette_macro")) is not None
        ]  # fmt: skip
        value = newest.cohesion.get("silhouette_macro")
        if value is not None and len(before) >= MIN_VERSIONS:
            mean, deviation = fmean(before), stdev(before)
            low = mean - 3 * deviation
            if value < low and value < MAX_COHESION_RATIO * mean:
                facts = {"version": newest.label, "value": round(value, 4), "mean": round(mean, 4),
                         "low": round(low, 4)}  # fmt: skip
                link = reverse("admin:recommender_modelversion_change", args=[newest.pk])
                wrong.append(Condition("cohesion_deviates", "cohesion_deviates", WARNING, facts, link=link))
    return incidents.sync_scope("cohesion_deviates", wrong, now)


def check_drift(model: ServingModel, now: datetime, *, seed: int = 7) -> list[DriftReport]:
    """Look at the week that is over; an incident while there is an alarm."""
    reports = listening_drift.check_week(model, now, seed=seed)
    of_songs = catalogue_drift.check_new_songs(model, listening_drift.last_full_week(now), now, seed=seed)
    if of_songs is not None:
        reports.insert(0, of_songs)
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
    """Incidents for tests that ended badly, until the next day's look.

    Read from the rows: whoever looks twice finds the same, and ends nothing that was told a moment ago.
    """
    ended = Experiment.objects.filter(ended_at__gt=now - ENDED_WITHIN)
    broken = ended.filter(outcome=Experiment.Outcome.ROLLBACK).exclude(kind=Experiment.Kind.ANCHOR)
    taken_back = Decision.objects.filter(final=True, experiment__in=ended, promotion__rollback=True)
    for kind, severity, told in (
        ("experiment_invalid", WARNING, [(test, {}) for test in ended.filter(outcome="invalid")]),
        ("challenger_failed", WARNING, [(test, {"version": str(test.challenger)}) for test in broken]),
        ("rolled_back", Incident.Severity.CRITICAL, [_rolled_back_versions(one) for one in taken_back]),
    ):
        wrong = [
            Condition(
                f"{kind}:{test.pk}", kind, severity,
                {"experiment": str(test), "reason": test.reason, **facts},
                link=reverse("admin:recommender_experiment_change", args=[test.pk]),
            )
            for test, facts in told
        ]  # fmt: skip
        incidents.sync_scope(kind, wrong, now)


def _rolled_back_versions(decision: Decision) -> tuple[Any, dict[str, Any]]:
    """A test whose verdict brought another champion back, and which versions these were."""
    promotion: Any = decision.promotion
    return decision.experiment, {
        "from_version": str(promotion.replaced), "to_version": str(promotion.promoted)
    }  # fmt: skip


def describe_causes(report: DriftReport) -> str:
    """What moved most, in words: "Rock, energetic, 1990s +12 %; ..."; and whether it did so a year ago."""
    told = []
    for cause in report.causes[:3]:
        names = ", ".join(one["name"] for one in cause.get("clusters", ())[:2]) or cause.get("name", "")
        told.append(f"{names} {cause['change']:+.0%}")
    alike = report.season.get("likeness", 0.0)
    if alike >= SEASONAL_LIKENESS:
        told.append(f"the same week a year ago moved alike ({alike:.2f} of 1): perhaps a season")
    return "; ".join(told)


def check_feed(now: datetime) -> list[Incident]:
    """An incident for each audio feature that is broken in the songs of the last week: never a retrain."""
    fresh, before = _read_feature_values(now)
    wrong = []
    for name in sorted({*fresh, *before}):
        fault = find_feature_fault(fresh.get(name, []), before.get(name, []))
        if fault:
            facts = {"fault": fault, "n": len(fresh[name])}
            link = reverse("admin:ingestion_song_changelist")
            wrong.append(Condition(f"feed_fault:{name}", "feed_fault", WARNING, facts, link=link))
    return incidents.sync_scope("feed_fault", wrong, now)


def was_feed_faulty(now: datetime) -> bool:
    """Whether a feature of the feed is broken, or was within the two weeks whose songs are looked at."""
    broken = Incident.objects.filter(kind="feed_fault")
    return broken.filter(Q(resolved_at=None) | Q(resolved_at__gte=now - 2 * NEW_SONGS_WINDOW)).exists()


def find_feature_fault(new_values: Sequence[float | None], old_values: Sequence[float | None]) -> str:
    """What is wrong with a feature's new values, in words; empty where nothing is.

    Args:
        fresh: of the songs that came or changed this week; None: not sent.
        before: of the others.
    """
    known, usual_ones = [v for v in new_values if v is not None], [v for v in old_values if v is not None]
    if len(new_values) < MIN_SONGS or len(usual_ones) < MIN_SONGS:
        return ""
    unknown = 1 - len(known) / len(new_values)
    if unknown > MIN_MISSING_SHARE and 1 - len(usual_ones) / len(old_values) < USUAL_MISSING_SHARE:
        return f"{unknown:.0%} of {len(new_values)} new values are empty"
    low, high = min(usual_ones), max(usual_ones)
    if known and len(set(known)) == 1 and low < high and len(set(usual_ones)) > 2:
        return f"all {len(known)} new values are {known[0]:g}"
    # Quartiles: a fault of last week, or one absurd value of long ago, must not stretch what is usual.
    first, _, third = quantiles(usual_ones, n=4)
    reach = OUTLIER_FACTOR * (third - first)
    beyond = sum(not first - reach <= value <= third + reach for value in known)
    if reach and known and beyond / len(known) > MAX_OUTLIER_SHARE:
        return f"{beyond} of {len(known)} new values are far beyond {first:g} to {third:g}"
    return ""


def _read_feature_values(now: datetime) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Each feature's values among the songs of the last week, and among the others."""
    rows: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    songs = Song.objects.filter(unavailable_at=None).values_list("updated_at", "created_at", "audio_features")
    for updated, created, features in songs.iterator(chunk_size=5_000):
        rows[max(updated, created) < now - NEW_SONGS_WINDOW].append(features or {})
    names = {name for part in rows for features in part for name in features}
    fresh, before = (
        {name: [_number(features.get(name)) for features in part] for name in names} for part in rows
    )
    return fresh, before


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
