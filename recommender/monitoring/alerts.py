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
from recommender.registry.model_loader import Model

WARNING: Final = Incident.Severity.WARNING
# Less than the day between two looks, far more than between two deliveries of one.
TOLD_FOR: Final = timedelta(hours=20)
# --- Engagement: the last two days that are known against the days before, whichever version served.
DAYS: Final = 42
FEWEST_DAYS: Final = 14
RUNNING_DAYS: Final = 2  # a single odd day is a feast day
K: Final = 4.5
TO_DEVIATION: Final = 1.4826
# --- Cohesion
FEWEST_VERSIONS: Final = 8
DOWN: Final = 0.9
# --- Drift
# Simulated: 86 of 100 seasons (30 % of the plays at their height) move so alike a year later, and 4 drifts.
SEASON: Final = 0.5
# --- Feed
FRESH: Final = timedelta(days=7)
FEWEST_SONGS: Final = 20
MANY_UNKNOWN: Final = 0.5
FEW_UNKNOWN: Final = 0.1
FAR_OUT: Final = 3.0  # times the middle half's width, as Tukey drew it
MOST_BEYOND: Final = 0.2


@dataclass(frozen=True)
class Served:
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
class Usual:
    """Engaged songs a list on the days before: usual is `low` to `high`."""

    middle: float
    low: float
    high: float
    n: int


def watch_engagement(now: datetime) -> list[Incident]:
    """An incident while two days running are far from the days before, all at the age of 24 hours.

    A day is known at the look two days after it; that of seven days would be known nine days after.
    """
    wrong = list(_deviating(served_days((now - timedelta(days=DAYS)).date())))
    return incidents.settle("engagement_deviates", wrong, now)


def served_days(since: date) -> list[Served]:
    """The days that are known, in order; what a challenger alone was served to does not count."""
    first = dict(Promotion.objects.values_list("promoted").annotate(Min("at")))
    rows = EngagementDay.objects.filter(early__isnull=False, lists__gt=0, day__gte=since)
    days: dict[date, list[EngagementDay]] = {}
    for row in rows.select_related("version").order_by("day", "-lists"):
        crowned = first.get(row.version_id)
        if crowned is not None and crowned.astimezone(UTC).date() <= row.day:
            days.setdefault(row.day, []).append(row)
    return [_together(day, rows) for day, rows in days.items()]


def _together(day: date, rows: Sequence[EngagementDay]) -> Served:
    """One day of all versions that were champion on it."""
    listeners = sum(row.listeners for row in rows)
    weights = [row.listeners / listeners for row in rows]
    early = [row.early or 0.0 for row in rows]
    mean = sum(weight * value for weight, value in zip(weights, early, strict=True))
    variance = sum(
        weight * (row.early_deviation**2 + (value - mean) ** 2)
        for weight, value, row in zip(weights, early, rows, strict=True)
    )
    return Served(day, tuple(row.version.label for row in rows), mean, variance**0.5, listeners)


def usual(days: Sequence[Served]) -> Usual | None:
    """Median +- 4.5 robust deviations, and never narrower than the days' own standard errors allow."""
    if len(days) < FEWEST_DAYS:
        return None
    values = [day.engaged for day in days]
    middle = median(values)
    spread = TO_DEVIATION * median(abs(value - middle) for value in values)
    # Of a day with few listeners the mean is a matter of chance.
    chance = fmean(day.deviation / max(1, day.listeners) ** 0.5 for day in days)
    half = K * max(spread, chance)
    return Usual(middle, max(0.0, middle - half), middle + half, len(days))


def _deviating(days: Sequence[Served]) -> Iterable[Condition]:
    before, last = days[:-RUNNING_DAYS], days[-RUNNING_DAYS:]
    band = usual(before)
    if band is None or len(last) < RUNNING_DAYS:
        return
    values = [day.engaged for day in last]
    verdict = "low" if max(values) < band.low else "high" if min(values) > band.high else ""
    if verdict:
        facts = {
            "version": ", ".join(dict.fromkeys(label for day in last for label in day.versions)),
            "value": round(fmean(values), 3), "verdict": verdict,
            "days": [day.day.isoformat() for day in last],
            "low": round(band.low, 3), "high": round(band.high, 3), "median": round(band.middle, 3),
            "n": band.n,
        }  # fmt: skip
        link = reverse("admin:recommender_engagementday_changelist")
        yield Condition("engagement_deviates", "engagement_deviates", WARNING, facts, link=link)


def watch_cohesion(now: datetime) -> list[Incident]:
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
        if value is not None and len(before) >= FEWEST_VERSIONS:
            mean, deviation = fmean(before), stdev(before)
            low = mean - 3 * deviation
            if value < low and value < DOWN * mean:
                facts = {"version": newest.label, "value": round(value, 4), "mean": round(mean, 4),
                         "low": round(low, 4)}  # fmt: skip
                link = reverse("admin:recommender_modelversion_change", args=[newest.pk])
                wrong.append(Condition("cohesion_deviates", "cohesion_deviates", WARNING, facts, link=link))
    return incidents.settle("cohesion_deviates", wrong, now)


def watch_drift(model: Model, now: datetime, *, seed: int = 7) -> list[DriftReport]:
    """Look at the week that is over; an incident while there is an alarm."""
    reports = listening_drift.check(model, now, seed=seed)
    of_songs = catalogue_drift.check_songs(model, listening_drift.monday_before(now), now, seed=seed)
    if of_songs is not None:
        reports.insert(0, of_songs)
    wrong = [
        Condition(
            f"drift_found:{report.kind}", "drift_found", WARNING,
            {"version": model.version.label, "causes": causes_told(report), "value": round(report.effect, 3),
             "limit": round(report.limit, 3)},
            link=reverse("admin:recommender_driftreport_changelist"),
        )
        for report in reports
        if report.alarm
    ]  # fmt: skip
    incidents.settle("drift_found", wrong, now)
    return reports


def watch_tests(now: datetime) -> None:
    """Incidents for tests that ended badly, until the next day's look.

    Read from the rows: whoever looks twice finds the same, and ends nothing that was told a moment ago.
    """
    ended = Experiment.objects.filter(ended_at__gt=now - TOLD_FOR)
    broken = ended.filter(outcome=Experiment.Outcome.ROLLBACK).exclude(kind=Experiment.Kind.ANCHOR)
    taken_back = Decision.objects.filter(final=True, experiment__in=ended, promotion__rollback=True)
    for kind, severity, told in (
        ("experiment_invalid", WARNING, [(test, {}) for test in ended.filter(outcome="invalid")]),
        ("challenger_failed", WARNING, [(test, {"version": str(test.challenger)}) for test in broken]),
        ("rolled_back", Incident.Severity.CRITICAL, [_versions_of(one) for one in taken_back]),
    ):
        wrong = [
            Condition(
                f"{kind}:{test.pk}", kind, severity,
                {"experiment": str(test), "reason": test.reason, **facts},
                link=reverse("admin:recommender_experiment_change", args=[test.pk]),
            )
            for test, facts in told
        ]  # fmt: skip
        incidents.settle(kind, wrong, now)


def _versions_of(decision: Decision) -> tuple[Any, dict[str, Any]]:
    """A test whose verdict brought another champion back, and which versions these were."""
    promotion: Any = decision.promotion
    return decision.experiment, {
        "from_version": str(promotion.replaced), "to_version": str(promotion.promoted)
    }  # fmt: skip


def causes_told(report: DriftReport) -> str:
    """What moved most, in words: "Rock, energetic, 1990s +12 %; ..."; and whether it did so a year ago."""
    told = []
    for cause in report.causes[:3]:
        names = ", ".join(one["name"] for one in cause.get("clusters", ())[:2]) or cause.get("name", "")
        told.append(f"{names} {cause['change']:+.0%}")
    alike = report.season.get("likeness", 0.0)
    if alike >= SEASON:
        told.append(f"the same week a year ago moved alike ({alike:.2f} of 1): perhaps a season")
    return "; ".join(told)


def watch_feed(now: datetime) -> list[Incident]:
    """An incident for each audio feature that is broken in the songs of the last week: never a retrain."""
    fresh, before = _features(now)
    wrong = []
    for name in sorted({*fresh, *before}):
        fault = fault_of(fresh.get(name, []), before.get(name, []))
        if fault:
            facts = {"fault": fault, "n": len(fresh[name])}
            link = reverse("admin:ingestion_song_changelist")
            wrong.append(Condition(f"feed_fault:{name}", "feed_fault", WARNING, facts, link=link))
    return incidents.settle("feed_fault", wrong, now)


def feed_was_broken(now: datetime) -> bool:
    """Whether a feature of the feed is broken, or was within the two weeks whose songs are looked at."""
    broken = Incident.objects.filter(kind="feed_fault")
    return broken.filter(Q(resolved_at=None) | Q(resolved_at__gte=now - 2 * FRESH)).exists()


def fault_of(fresh: Sequence[float | None], before: Sequence[float | None]) -> str:
    """What is wrong with a feature's new values, in words; empty where nothing is.

    Args:
        fresh: of the songs that came or changed this week; None: not sent.
        before: of the others.
    """
    known, usual_ones = [v for v in fresh if v is not None], [v for v in before if v is not None]
    if len(fresh) < FEWEST_SONGS or len(usual_ones) < FEWEST_SONGS:
        return ""
    unknown = 1 - len(known) / len(fresh)
    if unknown > MANY_UNKNOWN and 1 - len(usual_ones) / len(before) < FEW_UNKNOWN:
        return f"{unknown:.0%} of {len(fresh)} new values are empty"
    low, high = min(usual_ones), max(usual_ones)
    if known and len(set(known)) == 1 and low < high and len(set(usual_ones)) > 2:
        return f"all {len(known)} new values are {known[0]:g}"
    # Quartiles: a fault of last week, or one absurd value of long ago, must not stretch what is usual.
    first, _, third = quantiles(usual_ones, n=4)
    reach = FAR_OUT * (third - first)
    beyond = sum(not first - reach <= value <= third + reach for value in known)
    if reach and known and beyond / len(known) > MOST_BEYOND:
        return f"{beyond} of {len(known)} new values are far beyond {first:g} to {third:g}"
    return ""


def _features(now: datetime) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Each feature's values among the songs of the last week, and among the others."""
    rows: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    songs = Song.objects.filter(unavailable_at=None).values_list("updated_at", "created_at", "audio_features")
    for updated, created, features in songs.iterator(chunk_size=5_000):
        rows[max(updated, created) < now - FRESH].append(features or {})
    names = {name for part in rows for features in part for name in features}
    fresh, before = (
        {name: [_number(features.get(name)) for features in part] for name in names} for part in rows
    )
    return fresh, before


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
