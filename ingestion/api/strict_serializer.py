"""Serializers of request bodies: unknown fields are rejected, and numbers are plain decimal numbers."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from rest_framework import serializers

from ingestion.api.query_params import DECIMAL_NUMBER, refuse_unknown

# A body of megabytes may have a hundred thousand unknown fields; looking for names like theirs takes time.
MOST_UNKNOWN: Final = 5


class StrictSerializer(serializers.Serializer[Any]):
    """Rejects unknown fields, so that a misspelt `occurred_at` is not an event with the time of the request.

    An unknown field is reported before any error of a known one: a required field is often missing because
    its name is misspelt. The schema says so: see `moovitamix.api.schema.close_bodies`.
    """

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = islice((name for name in data if name not in self.fields), MOST_UNKNOWN)
            refuse_unknown(unknown, self.fields, noun="field")
        return super().to_internal_value(data)


class StrictIntegerField(serializers.IntegerField):
    def to_internal_value(self, data: Any) -> int:
        # int() alone accepts "1_000" and the digits of other scripts.
        if isinstance(data, str) and not _is_decimal(data):
            self.fail("invalid")
        number: int = super().to_internal_value(data)
        return number


class StrictFloatField(serializers.FloatField):
    def to_internal_value(self, data: Any) -> float:
        # float() alone accepts booleans, "1_0", " 1" and the digits of other scripts.
        if isinstance(data, bool) or (isinstance(data, str) and not _is_decimal(data)):
            self.fail("invalid")
        number: float = super().to_internal_value(data)
        return number


def _is_decimal(text: str) -> bool:
    return DECIMAL_NUMBER.fullmatch(text) is not None
