"""Stores weekly drift reports, and finds the report of the week before."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from recommender.engine.drift import ListeningChange, PopulationShift, is_alarm
from recommender.models import DriftReport, ModelVersion

WEEK: Final = timedelta(days=7)


def last_full_week(now: datetime) -> date:
    today = now.astimezone(UTC).date()
    return today - timedelta(days=today.weekday() + 7)


def week_start(week: date) -> datetime:
    return datetime(week.year, week.month, week.day, tzinfo=UTC)


def previous_report(kind: str, week: date) -> DriftReport | None:
    """The report of the week before, for any version: most weeks bring a new version."""
    return DriftReport.objects.filter(kind=kind, week=week - WEEK).order_by("-pk").first()


def save_report(
    version: ModelVersion,
    kind: str,
    week: date,
    now: datetime,
    change: ListeningChange | PopulationShift,
    **measured: Any,
) -> DriftReport:
    """Store a report, in place of an earlier one of the same version, kind and week.

    Args:
        measured: the fields that depend on the kind of change.
    """
    before = previous_report(kind, week)
    alarm = is_alarm(change, drifted_before=before is not None and before.drifted)
    report, _ = DriftReport.objects.update_or_create(
        version=version, kind=kind, week=week,
        defaults={"at": now, "drifted": change.is_drift, "alarm": alarm, **measured},
    )  # fmt: skip
    return report
