"""Query parameters of the API: declared once, read strictly, and documented from the same declaration."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError

# What a BigIntegerField, and so an id, can hold.
LARGEST_ID: Final = 2**63 - 1
# Far enough from the ends of the calendar that every time zone can say it.
YEARS: Final = range(1900, 9000)


class Kind(NamedTuple):
    """How a parameter is read, which raises ValueError with what was expected, and its JSON schema."""

    read: Callable[[str], Any]
    schema: dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    name: str
    kind: Kind
    says: str
    default: Any = None


def read(query: Mapping[str, str], parameters: Iterable[Parameter]) -> dict[str, Any]:
    """The value of each parameter; one that was not sent, or sent empty, has its default.

    Raises:
        ValidationError: names every parameter that can't be read, with what was expected.
    """
    values, mistakes = {}, {}
    for parameter in parameters:
        raw = query.get(parameter.name, "")
        try:
            values[parameter.name] = parameter.kind.read(raw) if raw else parameter.default
        except ValueError as error:
            mistakes[parameter.name] = [str(error)]
    if mistakes:
        raise ValidationError(mistakes)
    return values


def documented(parameters: Iterable[Parameter]) -> list[OpenApiParameter]:
    """The same parameters for the OpenAPI schema."""
    return [
        OpenApiParameter(
            parameter.name,
            type={**parameter.kind.schema, **_default_of(parameter)},
            description=parameter.says,
        )
        for parameter in parameters
    ]


def whole(least: int = 0, most: int = LARGEST_ID) -> Kind:
    def parse(raw: str) -> int:
        # Not int(): that takes "1_000" and the digits of other scripts.
        digits = raw.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and least <= int(raw) <= most):
            raise ValueError(f"Expected a whole number from {least} to {most}.")
        return int(raw)

    return Kind(parse, {"type": "integer", "minimum": least, "maximum": most})


def number(least: float, most: float) -> Kind:
    def parse(raw: str) -> float:
        try:
            value = float(raw)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise ValueError(f"Expected a number from {least:g} to {most:g}.")
        return value

    return Kind(parse, {"type": "number", "minimum": least, "maximum": most})


def text(most: int = 200) -> Kind:
    def parse(raw: str) -> str:
        # PostgreSQL stores neither, and says so only when it is asked.
        if len(raw) > most or "\0" in raw or (not raw.isascii() and _has_half_a_pair(raw)):
            raise ValueError(f"Expected a text of at most {most} characters, all of them valid Unicode.")
        return raw

    return Kind(parse, {"type": "string", "maxLength": most})


def among(*choices: str) -> Kind:
    def parse(raw: str) -> str:
        if raw not in choices:
            raise ValueError(f"Expected one of {', '.join(choices)}.")
        return raw

    return Kind(parse, {"type": "string", "enum": list(choices)})


def flag() -> Kind:
    def parse(raw: str) -> bool:
        if raw.lower() not in {"true", "1", "false", "0"}:
            raise ValueError("Expected true or false.")
        return raw.lower() in {"true", "1"}

    return Kind(parse, {"type": "boolean"})


def moment() -> Kind:
    """A day or a time; without a zone it is in UTC."""

    def parse(raw: str) -> datetime:
        try:
            # A + that was sent as it is arrives as a space: 10:00:00 02:00 was +02:00.
            value = datetime.fromisoformat(raw.replace(" ", "+") if raw.count("T") else raw)
        except ValueError:
            value = datetime.min  # noqa: DTZ901
        if value.year not in YEARS:
            raise ValueError("Expected a day or a time, such as 2026-11-01 or 2026-11-01T10:00:00Z.")
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    return Kind(parse, {"type": "string", "format": "date-time"})


def ids(most: int) -> Kind:
    """Ids with commas between them."""
    one = whole()

    def parse(raw: str) -> list[int]:
        parts = [part for part in raw.split(",") if part.strip()]
        try:
            found = [one.read(part.strip()) for part in parts]
        except ValueError:
            raise ValueError("Expected ids with commas between them, such as 12,7.") from None
        if len(found) > most:
            raise ValueError(f"Expected at most {most} ids.")
        return found

    return Kind(parse, {"type": "string", "pattern": r"^\d+(,\d+)*$", "example": "12,7"})


def identifier() -> Kind:
    def parse(raw: str) -> UUID:
        try:
            return UUID(raw)
        except ValueError:
            raise ValueError("Expected a UUID.") from None

    return Kind(parse, {"type": "string", "format": "uuid"})


def _has_half_a_pair(raw: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in raw)


def _default_of(parameter: Parameter) -> dict[str, Any]:
    return {} if parameter.default is None else {"default": parameter.default}
