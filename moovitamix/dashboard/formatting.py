"""Formats numbers, durations and times on the operations pages, in the active language."""

from collections.abc import Iterable
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final

from django.utils import timezone
from django.utils.dates import WEEKDAYS
from django.utils.formats import get_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext
from django_celery_beat.models import CrontabSchedule

# Name, seconds, and the count at which the next larger unit begins: 89 s, but 1.5 min.
DURATION_UNITS: Final = (
    ("s", 1.0, 90.0),
    ("min", 60.0, 90.0),
    ("h", 3600.0, 48.0),
    ("days", 86400.0, float("inf")),
)
BYTE_UNITS: Final = (
    gettext_noop("B"), gettext_noop("kB"), gettext_noop("MB"), gettext_noop("GB"), gettext_noop("TB")
)  # fmt: skip
THIN_SPACE: Final = "\N{NARROW NO-BREAK SPACE}"
NOT_MEASURED: Final = gettext_noop("not measured")


def format_measure(value: float | None, unit: str) -> str:
    """A value with its unit; `unit` is seconds, bytes, share (0 to 1), rows/s or a noun."""
    if value is None:
        return _(NOT_MEASURED)
    if unit == "seconds":
        return format_duration(value)
    if unit == "bytes":
        return format_bytes(value)
    if unit == "share":
        return format_percent(value)
    return f"{format_number(value)}{THIN_SPACE}{_('rows/s')}" if unit == "rows/s" else format_number(value)


def format_number(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}".removesuffix(".0")
    return localize_decimals(text.replace(",", THIN_SPACE))


def localize_decimals(text: str) -> str:
    """The text of a number with the language's decimal separator."""
    return text.replace(".", str(get_format("DECIMAL_SEPARATOR")))


def format_percent(share: float) -> str:
    """A share as a percentage: 0.125 gives 12.5 %; a share above zero never gives 0 %."""
    if 0 < share < 0.001:
        return f"< {localize_decimals('0.1')}{THIN_SPACE}%"
    text = localize_decimals(f"{100 * share:.1f}".removesuffix(".0"))
    return f"{text}{THIN_SPACE}%"


def format_bytes(count: float) -> str:
    for unit in BYTE_UNITS[:-1]:
        if abs(count) < 1000:
            return f"{format_number(count)}{THIN_SPACE}{_(unit)}"
        count /= 1000
    return f"{format_number(count)}{THIN_SPACE}{_(BYTE_UNITS[-1])}"


def format_duration(seconds: float) -> str:
    """A duration in the unit that suits its size: 21 ms, 0.42 s, 12.5 s, 3.2 min, 5 h."""
    if 0 < abs(seconds) < 0.1:
        return f"{format_number(1000 * seconds)}{THIN_SPACE}ms"
    if 0 < abs(seconds) < 10:
        return f"{localize_decimals(f'{seconds:.2g}')}{THIN_SPACE}s"
    unit, length, _end = _duration_unit(seconds)
    return f"{format_number(seconds / length)}{THIN_SPACE}{_('days') if unit == 'days' else unit}"


def format_age(seconds: float) -> str:
    """A duration in whole units as words: 1 second, 4 minutes, 6 hours."""
    unit, length, _end = _duration_unit(max(seconds, 0.0))
    return _count_units(unit, int(max(seconds, 0.0) / length))


def format_time_ago(moment: datetime, now: datetime) -> str:
    return _("{age} ago").format(age=format_age((now - moment).total_seconds()))


def format_time_until(moment: datetime, now: datetime) -> str:
    return _("in {age}").format(age=format_age((moment - now).total_seconds()))


def format_clock(moment: datetime, now: datetime) -> str:
    """The time in TIME_ZONE, with the date unless it is today."""
    local = timezone.localtime(moment)
    is_today = local.date() == timezone.localtime(now).date()
    return f"{local:%H:%M}" if is_today else f"{local:%Y-%m-%d %H:%M}"


def format_datetime(moment: datetime) -> str:
    return _format_datetime(moment, timezone.get_current_timezone())


def format_datetimes(moments: Iterable[datetime]) -> list[str]:
    zone = timezone.get_current_timezone()
    return [_format_datetime(moment, zone) for moment in moments]


@lru_cache(maxsize=1024)
def _format_datetime(moment: datetime, zone: tzinfo) -> str:
    # Cached: a run page formats the same sixty times about three thousand times.
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"


def count_runs(n: int) -> str:
    """1 run, 2 runs."""
    return ngettext("{n} run", "{n} runs", n).format(n=format_number(n))


def format_interval(seconds: float) -> str:
    """A repetition in words: every minute, every 15 minutes, every 90 seconds."""
    for unit, length, _end in reversed(DURATION_UNITS):
        if seconds >= length and seconds % length == 0:
            times = round(seconds / length)
            if times > 1:
                return _("every {duration}").format(duration=_count_units(unit, times))
            return {"s": _("every second"), "min": _("every minute"), "h": _("every hour")}.get(
                unit, _("every day")
            )
    return _("every {n} seconds").format(n=format_number(seconds))


def capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count_units(unit: str, n: int) -> str:
    if unit == "s":
        return ngettext("{n} second", "{n} seconds", n).format(n=n)
    if unit == "min":
        return ngettext("{n} minute", "{n} minutes", n).format(n=n)
    if unit == "h":
        return ngettext("{n} hour", "{n} hours", n).format(n=n)
    return ngettext("{n} day", "{n} days", n).format(n=n)


def _duration_unit(seconds: float) -> tuple[str, float, float]:
    return next(unit for unit in DURATION_UNITS if abs(seconds) < unit[1] * unit[2])


def describe_crontab(schedule: CrontabSchedule) -> SafeString | str:
    """When the crontab is due: "every day at 02:00 UTC"; a rarer form as its package words it, in English."""
    is_at_one_time = schedule.minute.isdecimal() and schedule.hour.isdecimal()
    is_in_all_months = schedule.day_of_month == schedule.month_of_year == "*"
    if is_at_one_time and is_in_all_months:
        time = f"{int(schedule.hour):02}:{int(schedule.minute):02} {schedule.timezone}"
        if schedule.day_of_week == "*":
            return _("every day at {time}").format(time=time)
        if schedule.day_of_week.isdecimal():
            # Sunday is 0 or 7 there, and 6 here.
            day = WEEKDAYS[(int(schedule.day_of_week) - 1) % 7]
            return _("every {weekday} at {time}").format(weekday=day, time=time)
    return format_html('<span lang="en">{}</span>', schedule.human_readable)
