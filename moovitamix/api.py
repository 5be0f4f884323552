"""How the API takes and gives what it speaks of: JSON, pages by cursor, in UTC, for one caller alone."""

import json
from collections.abc import Callable
from datetime import UTC
from typing import Any, Final

import orjson
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from rest_framework import exceptions
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

API: Final = "/api/"
MOST_ROWS: Final = 500  # a page


class OrjsonRenderer(JSONRenderer):  # type: ignore[misc]
    """JSON by orjson, which took 1/6 of json's time for a list of 20 recommendations."""

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        if data is None:
            return b""
        try:
            # The pages that staff browse ask for it.
            indented = orjson.OPT_INDENT_2 if (renderer_context or {}).get("indent") else 0
            return orjson.dumps(data, default=_plain, option=indented)
        except orjson.JSONEncodeError:
            # Whole numbers beyond 64 bits and halves of surrogate pairs, which a client may have sent us.
            return json.dumps(data, default=_plain).encode()


class OrjsonParser(JSONParser):  # type: ignore[misc]
    """JSON by orjson, which refuses what json breaks at or lets by: 100 000 brackets, NaN."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            return orjson.loads(stream.read())
        except orjson.JSONDecodeError as error:
            raise exceptions.ParseError(f"This is no JSON: {error}.") from None


class CursorPages(CursorPagination):  # type: ignore[misc]
    """Pages in the queryset's own order, each as fast as the first; `next` reads on where this one ended."""

    page_size = 100
    max_page_size = MOST_ROWS
    page_size_query_param = "page_size"
    page_size_query_description = f"Rows a page, from 1 to {MOST_ROWS}."
    cursor_query_description = "Where to read on; take it from `next` or `previous`."

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> tuple[str, ...]:
        return tuple(str(name) for name in queryset.query.order_by)

    def paginate_queryset(
        self, queryset: QuerySet[Any], request: Request, view: Any = None
    ) -> list[Any] | None:
        self._field = queryset.model._meta.get_field(str(queryset.query.order_by[0]).lstrip("-"))
        rows: list[Any] | None = super().paginate_queryset(queryset, request, view)
        return rows

    def get_page_size(self, request: Request) -> int:
        asked = request.query_params.get(self.page_size_query_param) or str(self.page_size)
        if not (asked.isascii() and asked.isdigit() and len(asked) < 4 and 1 <= int(asked) <= MOST_ROWS):
            raise exceptions.ValidationError(
                {"page_size": [f"Expected a whole number from 1 to {MOST_ROWS}."]}
            )
        return int(asked)

    def decode_cursor(self, request: Request) -> Cursor | None:
        try:
            cursor = super().decode_cursor(request)
            if cursor is not None and cursor.position is not None:
                self._field.to_python(cursor.position)
        except (exceptions.NotFound, DjangoValidationError, ValueError, OverflowError):
            raise exceptions.ValidationError(
                {"cursor": ["This is no cursor of this list; take it from `next` or `previous`."]}
            ) from None
        return cursor

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] = {
                    "type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": self.page_size,
                }  # fmt: skip
        return parameters

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }


def private_answers(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Middleware: the API's times are in UTC, and no cache may hand one caller's answer to another."""

    def answer(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(API):
            return get_response(request)
        # TIME_ZONE is the schedule's, and the admin's.
        with timezone.override(UTC):
            response = get_response(request)
        response.headers.setdefault("Cache-Control", "private, no-store")
        patch_vary_headers(response, ("Authorization", "Cookie"))
        return response

    return answer


def _plain(value: Any) -> Any:
    """What orjson does not know: lazy texts, decimals, durations."""
    return str(value)
