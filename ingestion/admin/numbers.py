"""Numbers of read-only admin pages by their unit: durations, bytes, shares, and floats without noise."""

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.utils import prettify_json

from ingestion.alerts.messages.formatting import format_amount

EMPTY: Final = "-"
# The unit of a stored number, by the name of its field; others are counts.
UNITS: Final = {
    "seconds": "seconds",
    "cpu_seconds": "seconds",
    "milliseconds": "milliseconds",
    "challenger_milliseconds": "milliseconds",
    "peak_memory": "bytes",
    "discovery": "share",
    "repeats": "share",
}
# Numbers that name something: without separators.
NAMES: Final = {"id", "pid", "key_id", "seed", "number", "occurrence", "release_year", "process_started"}
SIGNIFICANT_DIGITS: Final = 4
NUMBERS: Final = (models.IntegerField, models.FloatField, models.DurationField, models.JSONField)


class FormattedNumbersMixin(ModelAdmin):
    """Shows the model's own numbers by their unit, and a dash for none."""

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [self._formatted(name) for name in super().get_list_display(request)]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            (title, {**options, "fields": self._formatted_fields(options["fields"])})
            for title, options in super().get_fieldsets(request, obj)
        ]

    def _formatted_fields(self, fields: Iterable[Any]) -> list[Any]:
        return [
            self._formatted_fields(one) if isinstance(one, list | tuple) else self._formatted(one)
            for one in fields
        ]

    def _formatted(self, name: Any) -> Any:
        """The field's name, or a column that formats its value."""
        try:
            field = self.model._meta.get_field(name)
        except (FieldDoesNotExist, TypeError):
            return name
        is_formatted = isinstance(field, NUMBERS) and not (field.primary_key or field.is_relation)
        return _column(field) if is_formatted else name


def _column(field: Any) -> Callable[[Any], Any]:
    def column(row: Any) -> str | SafeString:
        return format_stored(field, getattr(row, field.attname))

    column.__name__ = field.name
    column.short_description = field.verbose_name  # type: ignore[attr-defined]
    column.admin_order_field = field.name  # type: ignore[attr-defined]
    return column


def format_stored(field: Any, value: Any) -> str | SafeString:
    """A stored value as text; the name of its field says its unit."""
    if isinstance(field, models.JSONField):
        return _format_json(value)
    if value is None:
        return EMPTY
    if isinstance(value, timedelta):
        return format_length(value)
    return _format_number(field.name, value)


def _format_number(name: str, value: float) -> str:
    if name in NAMES:
        return f"{value:.0f}"
    unit = UNITS.get(name, "")
    if unit == "milliseconds":
        return format_amount("seconds", value / 1000)
    if unit:
        return format_amount(unit, value)
    is_count = isinstance(value, int)
    return number_format(
        value if is_count else float(f"{value:.{SIGNIFICANT_DIGITS}g}"), force_grouping=is_count
    )


def format_length(duration: timedelta) -> str:
    """A song's length as players show it: 3:20."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    return f"{minutes}:{seconds:02}"


def _format_json(value: Any) -> str | SafeString:
    if value in (None, {}, [], ""):
        return EMPTY
    rounded = json.loads(json.dumps(value), parse_float=_round)
    return prettify_json(rounded, None) or json.dumps(rounded, indent=2, ensure_ascii=False)


def _round(digits: str) -> float:
    return float(f"{float(digits):.6g}")
