"""Formats numbers, durations and times on the operations pages.

Always in English, even if LANGUAGE_CODE is French, because only alerts are translated.
"""

from collections.abc import Iterable
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final

from django.utils import timezone

# Name, seconds, and the count at which the next larger unit begins: 89 s, but 1.5 min.
DURATION_UNITS: Final = (
    ("s", 1.0, 90.0),
    ("min", 60.0, 90.0),
    ("h", 3600.0, 48.0),
    ("days", 86400.0, float("inf")),
)
UNIT_NAMES: Final = {"s": "second", "min": "minute", "h": "hour", "days": "day"}
BYTE_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
THIN_SPACE: Final = "\N{NARROW NO-BREAK SPACE}"
NOT_MEASURED: Final = "not measured"


def format_measure(value: float | None, unit: str) -> str:
    """A value with its unit; `unit` is seconds, bytes, share (0 to 1), rows/s or a noun."""
    if value is None:
        return NOT_MEASURED
    if unit == "seconds":
        return format_duration(value)
    if unit == "bytes":
        return format_bytes(value)
    if unit == "share":
        return format_percent(value)
    return f"{format_number(value)}{THIN_SPACE}{unit}" if unit == "rows/s" else format_number(value)


def format_number(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}".removesuffix(".0")
    return text.replace(",", THIN_SPACE)


def format_percent(share: float) -> str:
    """A share as a percentage: 0.125 gives 12.5 %; a share above zero never gives 0 %."""
    if 0 < share < 0.001:
        return f"< 0.1{THIN_SPACE}%"
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{text}{THIN_SPACE}%"


def format_bytes(count: float) -> str:
    for unit in BYTE_UNITS[:-1]:
        if abs(count) < 1000:
            return f"{format_number(count)}{THIN_SPACE}{unit}"
        count /= 1000
    return f"{format_number(count)}{THIN_SPACE}{BYTE_UNITS[-1]}"


def format_duration(seconds: float) -> str:
    """A duration in the unit that suits its size: 21 ms, 0.42 s, 12.5 s, 3.2 min, 5 h."""
    if 0 < abs(seconds) < 0.1:
        return f"{format_number(1000 * seconds)}{THIN_SPACE}ms"
    if 0 < abs(seconds) < 10:
        return f"{seconds:.2g}{THIN_SPACE}s"
    unit, length, _ = _duration_unit(seconds)
    return f"{format_number(seconds / length)}{THIN_SPACE}{unit}"


def format_age(seconds: float) -> str:
    """A duration in whole units as words: 1 second, 4 minutes, 6 hours."""
    unit, length, _ = _duration_unit(max(seconds, 0.0))
    count = int(max(seconds, 0.0) / length)
    return f"{count} {UNIT_NAMES[unit]}{'' if count == 1 else 's'}"


def format_time_ago(moment: datetime, now: datetime) -> str:
    return f"{format_age((now - moment).total_seconds())} ago"


def format_time_until(moment: datetime, now: datetime) -> str:
    return f"in {format_age((moment - now).total_seconds())}"


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


def format_count(n: int, noun: str) -> str:
    """A count with its noun, in the plural if needed: 1 run, 2 runs."""
    return f"{format_number(n)} {noun}{'' if n == 1 else 's'}"


def format_interval(seconds: float) -> str:
    """A repetition in words: every minute, every 15 minutes, every 90 seconds."""
    for unit, length, _ in reversed(DURATION_UNITS):
        if seconds >= length and seconds % length == 0:
            times = round(seconds / length)
            return f"every {UNIT_NAMES[unit]}" if times == 1 else f"every {times} {UNIT_NAMES[unit]}s"
    return f"every {format_number(seconds)} seconds"


def capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _duration_unit(seconds: float) -> tuple[str, float, float]:
    return next(unit for unit in DURATION_UNITS if abs(seconds) < unit[1] * unit[2])
