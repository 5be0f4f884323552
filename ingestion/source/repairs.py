"""Converts values that are not in the contract's format, and empties unreadable ones.

Only in rows that fail validation. A field that identifies the row is never emptied, so such a row stays
rejected.
"""

import math
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

MICROSECONDS: Final = 1_000_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Smaller numbers may be a date such as 20261120; their meaning would be a guess.
SMALLEST_EPOCH: Final = 10**8
# From these limits on, numbers are milliseconds, microseconds, or unreadable.
EPOCH_UNITS: Final = ((10**11, MICROSECONDS), (10**14, 1_000), (10**17, 1))
CLOCK: Final = re.compile(r"(?:(\d{1,4}):)?(\d{1,4}):([0-5]\d(?:\.\d{1,9})?)")
ISO_DURATION: Final = re.compile(
    r"P(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,9})?)S)?)?", re.IGNORECASE
)
SECONDS: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
# "3 min 20 s", "1h03m", "200 seconds", "200000 ms".
WITH_UNITS: Final = re.compile(
    r"(?:(\d+)\s*h(?:ours?|rs?)?\s*)?"
    r"(?:(\d+)\s*m(?:in(?:ute)?s?)?\.?\s*)?"
    r"(?:(\d+(?:\.\d{1,9})?)\s*s(?:ec(?:ond)?s?)?\.?)?",
    re.IGNORECASE,
)
IN_MILLISECONDS: Final = re.compile(r"(\d{1,12})\s*(?:ms|milliseconds?)", re.IGNORECASE)
LONGEST_DURATION: Final = 10_000 * 3600
SHORT_TEXT: Final = 20  # characters

Repair = tuple[Any, str]


def read_duration(value: object) -> int | None:
    """Microseconds from "MM:SS", "H:MM:SS", ISO 8601, seconds, or numbers with units; None if unreadable."""
    if isinstance(value, str):
        # Most songs have one of a few hundred durations; longer texts would fill the memory.
        read = _read_known_duration if len(value) < SHORT_TEXT else _read_duration_text
        return read(value.strip())
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LONGEST_DURATION:
        return round(value * MICROSECONDS)
    return None


@lru_cache(maxsize=10_000)
def _read_known_duration(text: str) -> int | None:
    return _read_duration_text(text)


def _read_duration_text(text: str) -> int | None:
    if match := CLOCK.fullmatch(text):
        hours, minutes, seconds = match.groups(default="0")
        return _microseconds(0, hours, minutes, seconds)
    if (match := ISO_DURATION.fullmatch(text)) and text.upper() not in {"P", "PT"}:
        return _microseconds(*match.groups(default="0"))
    if text and (match := WITH_UNITS.fullmatch(text)):
        return _microseconds(0, *match.groups(default="0"))
    if match := IN_MILLISECONDS.fullmatch(text):
        return _microseconds(0, 0, 0, int(match[1]) / 1000)
    return _microseconds(0, 0, 0, text) if SECONDS.fullmatch(text) else None


def read_time(value: object) -> datetime | None:
    """A time from ISO 8601, or seconds, milliseconds or microseconds since 1970; None if unreadable."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            digits = value.strip()
            return _from_epoch(int(digits)) if re.fullmatch(r"-?\d{9,17}", digits) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return _from_epoch(value)
    return None


def read_id(value: object) -> int | None:
    """A 64-bit integer, also from text or a decimal number without a fraction; None if unreadable."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,19}\s*", value, re.ASCII):
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        number = int(value)
    else:
        return None
    return number if -(2**63) <= number < 2**63 else None


def repair_row(
    row: dict[str, Any],
    fields: Collection[str],
    identifying: Collection[str],
    is_representable: Callable[[datetime], bool],
) -> tuple[dict[str, Any], list[str]]:
    """The row in the contract's format if possible, and one text for each repair.

    Args:
        fields: names of the contract's fields.
        identifying: fields that must not be emptied.
        is_representable: whether a time can be stored.
    """
    repaired, notes = dict(row), []
    for name in fields:
        kind = FIELD_READERS.get(name)
        if kind is None:
            continue
        value, note = kind(row.get(name))
        if not note or (name in identifying and note == EMPTIED):
            continue
        repaired[name] = value
        if note == EMPTIED and row.get(name) not in NOTHING:
            note = f"{UNREADABLE}, {EMPTIED}"
        absent = note == EMPTIED and name not in row
        notes.append(f"{name} {ABSENT if absent else note}")
    notes += _repair_times(row, repaired, identifying, is_representable)
    return repaired, notes


EMPTIED: Final = "left empty"
ABSENT: Final = "absent, left empty"
UNREADABLE: Final = "unreadable"
TAKEN_FROM: Final = "taken from"
# Values that mean no value.
NOTHING: Final[tuple[Any, ...]] = (None, "", [], {})
FROM_TEXT: Final = "read from text"
CLEANED: Final = "cleaned of unreadable parts"
FROM_NUMBER: Final = "read from a number"
FROM_LIST: Final = "read from a list"


def _text(value: object) -> Repair:
    if isinstance(value, str):
        cleaned = value.replace("\0", "").encode("utf-8", "ignore").decode()
        return cleaned, "" if cleaned == value else CLEANED
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value), FROM_NUMBER
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return _text(", ".join(value))[0], FROM_LIST
    return "", EMPTIED


def _required_text(value: object) -> Repair:
    """Text, also from numbers and lists; not cleaned, which would alter the identity."""
    repaired = _text(value)
    return repaired if repaired[1] in {FROM_NUMBER, FROM_LIST} else (value, "")


def _id(value: object) -> Repair:
    read = read_id(value)
    if read is None:
        return value, ""
    return read, "" if type(value) is int else (FROM_TEXT if isinstance(value, str) else FROM_NUMBER)


def _duration(value: object) -> Repair:
    # A song without a duration gets duration 0, which the training treats as unknown.
    return (value, "") if read_duration(value) is not None else ("00:00", EMPTIED)


def _features(value: object) -> Repair:
    if value is None:
        return None, ""
    if not isinstance(value, dict):
        return None, EMPTIED
    readable = {
        name: number if _is_feature(number) else None
        for name, number in value.items()
        if _text(name) == (name, "")
    }
    return readable, "" if readable == value else CLEANED


def _is_feature(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _year(value: object) -> Repair:
    read = read_id(value)
    if value is None:
        return None, ""
    if read is None or not 0 <= read <= 9999:
        return None, EMPTIED
    return read, "" if type(value) is int else FROM_TEXT


def _items(value: object) -> Repair:
    if not isinstance(value, list):
        return [], EMPTIED
    read = [read_id(item) for item in value]
    readable = [item for item in read if item is not None]
    if len(readable) < len(value):
        return readable, CLEANED if readable else EMPTIED
    return readable, "" if all(type(item) is int for item in value) else FROM_TEXT


FIELD_READERS: Final[dict[str, Callable[[object], Repair]]] = {
    "id": _id, "user_id": _id, "name": _required_text, "artist": _required_text,
    "songwriters": _text, "genres": _text, "album": _text, "duration": _duration,
    "audio_features": _features, "release_year": _year,
    "first_name": _text, "last_name": _text, "email": _text, "gender": _text, "favorite_genres": _text,
    "items": _items,
}  # fmt: skip


def _repair_times(
    row: dict[str, Any],
    repaired: dict[str, Any],
    identifying: Collection[str],
    is_representable: Callable[[datetime], bool],
) -> list[str]:
    readable = {}
    for name in ("created_at", "updated_at"):
        moment = read_time(row.get(name))
        readable[name] = moment is not None and is_representable(moment)
    for name, other in (("created_at", "updated_at"), ("updated_at", "created_at")):
        if not readable[name] and readable[other] and name not in identifying:
            repaired[name] = row[other]
            why = "" if row.get(name) in NOTHING else f"{UNREADABLE}, "
            return [f"{name} {why}{TAKEN_FROM} {other}"]
    return []


def _microseconds(days: object, hours: object, minutes: object, seconds: object) -> int | None:
    whole = int(str(days)) * 86_400 + int(str(hours)) * 3600 + int(str(minutes)) * 60
    total = whole + float(str(seconds))
    return round(total * MICROSECONDS) if total < LONGEST_DURATION else None


def _from_epoch(value: float) -> datetime | None:
    if abs(value) < SMALLEST_EPOCH:
        return None
    for limit, microseconds in EPOCH_UNITS:
        if abs(value) < limit:
            try:
                return EPOCH + timedelta(microseconds=round(value * microseconds))
            except OverflowError:
                return None
    return None
