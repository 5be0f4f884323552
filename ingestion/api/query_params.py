"""Query parameters and ids of the API: one declaration validates and documents a parameter."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.http import QueryDict
from django.urls import register_converter
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError

# The limits of a BigIntegerField, and so of an id. Sources may number their rows below 0.
SMALLEST_ID: Final = -(2**63)
LARGEST_ID: Final = 2**63 - 1
# float() alone accepts "0_1", " 0.1", "nan" and the digits of other scripts.
DECIMAL_NUMBER: Final = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
# REST framework reads this parameter itself: `format=json` instead of the browsable page.
FORMAT_PARAMETER: Final = "format"
# Far enough from the ends of the calendar to convert to every time zone.
ALLOWED_YEARS: Final = range(1900, 9000)


class ParameterType(NamedTuple):
    parse: Callable[[str], Any]  # raises ValueError with a description of valid values
    schema: dict[str, Any]  # JSON schema of the value


@dataclass(frozen=True)
class QueryParameter:
    name: str
    type: ParameterType
    description: str
    default: Any = None
    repeats: bool = False  # whether it may be sent several times; commas then join its values


MAX_ID_DIGITS: Final = 19  # 2 ** 63 - 1 has as many


class IdConverter:
    """Path converter for ids: accepts any whole number; views answer 404 beyond 64 bits."""

    regex = "-?[0-9]{1,100}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


register_converter(IdConverter, "id")


def is_possible_id(number: int) -> bool:
    """Whether the number fits into 64 bits; SQLite raises an error for others."""
    return SMALLEST_ID <= number <= LARGEST_ID


def parse_row_id(text: str) -> int | None:
    """The id of a row in an address; None if no row can have it."""
    # Python refuses to read numbers of thousands of digits.
    if not text.isdecimal() or len(text) > MAX_ID_DIGITS:
        return None
    number = int(text)
    return number if is_possible_id(number) else None


MAX_NAME_TOLD: Final = 60  # characters of an unknown name that an answer repeats


def refuse_unknown(sent: Iterable[str], known: Iterable[str], *, noun: str = "parameter") -> None:
    """Raise `ValidationError` that names each unknown parameter, its nearest match and all known ones."""
    names = sorted(known)
    unknown = sorted(set(sent).difference(names))
    if unknown:
        hint = f"Known {noun}s: {', '.join(names)}." if names else f"This endpoint has no {noun}s."
        raise ValidationError(
            {
                name[:MAX_NAME_TOLD]: [f"Unknown {noun}. {_did_you_mean(name, names)}{hint}"]
                for name in unknown
            }
        )


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    # `occurred_at` has few letters in common with `at`, but a whole word.
    words = name.lower().split("_")
    nearest = get_close_matches(name.lower(), known, n=1) or [one for one in known if one in words]
    return f"Did you mean {nearest[0]}? " if nearest else ""


def parse_query(query: Mapping[str, str], parameters: Iterable[QueryParameter]) -> dict[str, Any]:
    """The parameters' values by name; a missing or empty parameter has its default.

    Raises:
        ValidationError: names every invalid parameter and describes its valid values.
    """
    values, mistakes = {}, {}
    for parameter in parameters:
        try:
            raw = _sent_value(query, parameter)
            values[parameter.name] = parameter.type.parse(raw) if raw else parameter.default
        except ValueError as error:
            mistakes[parameter.name] = [str(error)]
    if mistakes:
        raise ValidationError(mistakes)
    return values


def _sent_value(query: Mapping[str, str], parameter: QueryParameter) -> str:
    sent = query.getlist(parameter.name) if isinstance(query, QueryDict) else [query.get(parameter.name, "")]
    if parameter.repeats:
        return ",".join(sent)
    if len(sent) > 1:
        raise ValueError("Send this parameter only once.")
    return sent[0] if sent else ""


def openapi_parameters(parameters: Iterable[QueryParameter]) -> list[OpenApiParameter]:
    return [
        OpenApiParameter(
            parameter.name,
            type={**parameter.type.schema, **_default_of(parameter)},
            description=parameter.description,
        )
        for parameter in parameters
    ]


def integer_type(least: int = 0, most: int = LARGEST_ID) -> ParameterType:
    def parse(raw: str) -> int:
        # int() alone accepts "1_000" and the digits of other scripts.
        digits = raw.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and least <= int(raw) <= most):
            raise ValueError(f"Expected a whole number from {least} to {most}.")
        return int(raw)

    return ParameterType(parse, {"type": "integer", "minimum": least, "maximum": most})


def id_type() -> ParameterType:
    return integer_type(SMALLEST_ID, LARGEST_ID)


def number_type(least: float, most: float) -> ParameterType:
    """The type of decimal numbers from `least` to `most`, such as 0.3, .3 or 3e-1."""

    def parse(raw: str) -> float:
        if not DECIMAL_NUMBER.fullmatch(raw) or not least <= float(raw) <= most:
            raise ValueError(f"Expected a number from {least:g} to {most:g}.")
        return float(raw)

    return ParameterType(parse, {"type": "number", "minimum": least, "maximum": most})


def text_type(most: int = 200) -> ParameterType:
    def parse(raw: str) -> str:
        # PostgreSQL can store neither NUL nor a lone surrogate, and fails only at the query.
        if len(raw) > most or "\0" in raw or (not raw.isascii() and _has_lone_surrogate(raw)):
            raise ValueError(f"Expected a text of at most {most} characters, all of them valid Unicode.")
        return raw

    return ParameterType(parse, {"type": "string", "maxLength": most})


def choice_type(*choices: str) -> ParameterType:
    def parse(raw: str) -> str:
        if raw not in choices:
            raise ValueError(f"Expected one of {', '.join(choices)}.")
        return raw

    return ParameterType(parse, {"type": "string", "enum": list(choices)})


def boolean_type() -> ParameterType:
    def parse(raw: str) -> bool:
        if raw.lower() not in {"true", "1", "false", "0"}:
            raise ValueError("Expected true or false.")
        return raw.lower() in {"true", "1"}

    return ParameterType(parse, {"type": "boolean"})


def datetime_type() -> ParameterType:
    def parse(raw: str) -> datetime:
        try:
            # A "+" that the client did not escape arrives as a space: "10:00:00 02:00" means +02:00.
            value = datetime.fromisoformat(raw.replace(" ", "+") if raw.count("T") else raw)
        except ValueError:
            value = datetime.min  # noqa: DTZ901
        if value.year not in ALLOWED_YEARS:
            raise ValueError("Expected a day or a time, such as 2026-11-01 or 2026-11-01T10:00:00Z.")
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    return ParameterType(parse, {"type": "string", "format": "date-time"})


def id_list_type(most: int) -> ParameterType:
    one = id_type()

    def parse(raw: str) -> list[int]:
        parts = [part for part in raw.split(",") if part.strip()]
        try:
            found = [one.parse(part.strip()) for part in parts]
        except ValueError:
            raise ValueError("Expected ids with commas between them, such as 12,7.") from None
        if len(found) > most:
            raise ValueError(f"Expected at most {most} ids.")
        return found

    return ParameterType(parse, {"type": "string", "pattern": r"^-?\d+(,-?\d+)*$", "example": "12,7"})


def uuid_type() -> ParameterType:
    def parse(raw: str) -> UUID:
        try:
            return UUID(raw)
        except ValueError:
            raise ValueError("Expected a UUID.") from None

    return ParameterType(parse, {"type": "string", "format": "uuid"})


def _has_lone_surrogate(raw: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in raw)


def _default_of(parameter: QueryParameter) -> dict[str, Any]:
    return {} if parameter.default is None else {"default": parameter.default}
