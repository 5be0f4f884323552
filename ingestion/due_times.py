"""Computes when a Celery Beat entry is due, or why it never will be."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext_noop
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

# A crontab for 29 February is due within eight years, or never (2096 to 2104).
HORIZON_DAYS: Final = 9 * 366
MAX_INTERVAL: Final = timedelta(days=366)
# Start of the intervals of an entry that has no start time.
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# Why an entry would never run: stored as the reason of an incident, so never renamed.
PROBLEMS: Final = {
    "no_schedule": gettext_noop("It has no schedule. Choose a crontab or an interval."),
    "solar_schedule": gettext_noop("Solar schedules are not supported. Choose a crontab or an interval."),
    "never_matches": gettext_noop("No date in the next nine years matches this crontab."),
    "interval_too_long": gettext_noop("An interval may not be longer than 366 days."),
    "expired": gettext_noop("It has expired, or it expires before it is due."),
    "runs_once": gettext_noop(
        "A clocked or one-off schedule runs once and is then disabled; this task must repeat."
    ),
}


def find_problem(entry: PeriodicTask, now: datetime, *, must_repeat: bool = False) -> str:
    """Why the entry would never run, as a key of `PROBLEMS`; empty if it will.

    Args:
        must_repeat: a schedule that runs only once is a problem, too.
    """
    if must_repeat and (entry.one_off or entry.clocked is not None):
        return "runs_once"
    if entry.clocked is not None or next_due_at(entry, now) is not None:
        return ""
    if entry.solar is not None:
        # Celery needs the package ephem for them, and Beat stops without it.
        return "solar_schedule"
    if entry.crontab is not None:
        return "never_matches" if next_match(entry.crontab, now) is None else "expired"
    if entry.interval is not None:
        return "interval_too_long" if interval_length(entry.interval) is None else "expired"
    return "no_schedule"


def last_due_at(entry: PeriodicTask, now: datetime) -> datetime | None:
    """The entry's last due time up to now, in UTC; None if it was not due since its start."""
    if entry.crontab is not None:
        at = latest_due_at(entry.crontab, now)
    else:
        at = _interval_time(entry, now, steps_ahead=0)
    if at is None or (entry.start_time and at < entry.start_time) or (entry.expires and at >= entry.expires):
        return None
    return at


def next_due_at(entry: PeriodicTask, now: datetime) -> datetime | None:
    """The entry's next due time after now, in UTC; None if it is never due again."""
    # The start time itself counts as a due time.
    start = max(now, entry.start_time - timedelta(microseconds=1)) if entry.start_time else now
    if entry.crontab is not None:
        at = next_match(entry.crontab, start)
    else:
        at = _interval_time(entry, start, steps_ahead=1)
    return None if at is None or (entry.expires and at >= entry.expires) else at


def latest_due_at(crontab: CrontabSchedule, now: datetime) -> datetime | None:
    """The last time up to now that the crontab matches, in UTC.

    A time that daylight saving time skips is due an hour later. A time that occurs twice is due at the first,
    but at both if the crontab runs every hour.
    """
    schedule, zone = _read_crontab(crontab), _zone(crontab)
    today = now.astimezone(zone).date()
    for days_ago in range(HORIZON_DAYS):
        due = [at for at in _matches_on(schedule, today - timedelta(days=days_ago), zone) if at <= now]
        if due:
            return max(due)
    return None


def next_match(crontab: CrontabSchedule, now: datetime) -> datetime | None:
    schedule, zone = _read_crontab(crontab), _zone(crontab)
    today = now.astimezone(zone).date()
    for ahead in range(HORIZON_DAYS):
        due = [at for at in _matches_on(schedule, today + timedelta(days=ahead), zone) if at > now]
        if due:
            return min(due)
    return None


def interval_length(interval: IntervalSchedule) -> timedelta | None:
    try:
        length = timedelta(**{interval.period: interval.every})
    except OverflowError:
        return None
    return length if length <= MAX_INTERVAL else None


def slot_name(entry: PeriodicTask, at: datetime) -> str:
    zone = UTC if entry.crontab is None else _zone(entry.crontab)
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def old_slot_name(entry: PeriodicTask, at: datetime) -> str:
    zone = UTC if entry.crontab is None else _zone(entry.crontab)
    return f"daily {at.astimezone(zone):%Y-%m-%d}"


def _read_crontab(crontab: CrontabSchedule) -> Any:
    try:
        return crontab.schedule
    except ValueError:
        return None


def _zone(crontab: CrontabSchedule) -> ZoneInfo:
    return ZoneInfo(str(crontab.timezone))


def _matches_on(schedule: Any, day: date, zone: ZoneInfo) -> list[datetime]:
    matches = schedule is not None and (
        day.isoweekday() % 7 in schedule.day_of_week
        and day.day in schedule.day_of_month
        and day.month in schedule.month_of_year
    )
    if not matches:
        return []
    # A crontab for every hour would otherwise pause for the hour that occurs twice.
    folds = (0, 1) if len(schedule.hour) == 24 else (0,)
    # In UTC, because local times in a repeated hour do not compare with other zones (PEP 495).
    return [
        datetime.combine(day, time(hour, minute, fold=fold), zone).astimezone(UTC)
        for hour in schedule.hour
        for minute in schedule.minute
        for fold in folds
    ]


def _interval_time(entry: PeriodicTask, now: datetime, *, steps_ahead: int) -> datetime | None:
    """The last due time up to now (`steps_ahead` 0) or the first one after it (1)."""
    length = interval_length(entry.interval) if entry.interval is not None else None
    if not length:
        return None
    start = (entry.start_time or EPOCH).astimezone(UTC)
    return start + ((now - start) // length + steps_ahead) * length
