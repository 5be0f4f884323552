"""Cursor pagination of the API's lists."""

from typing import Any, Final

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import QuerySet
from rest_framework import exceptions
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

MAX_PAGE_SIZE: Final = 500  # a page


class OrderedCursorPagination(CursorPagination):
    """Cursor pagination in the queryset's own order; late pages are as fast as the first."""

    page_size = 100
    max_page_size = MAX_PAGE_SIZE
    page_size_query_param = "page_size"
    page_size_query_description = f"Rows per page, from 1 to {MAX_PAGE_SIZE}."
    cursor_query_description = "Start of the page; take it from `next` or `previous`."

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
        if not (asked.isascii() and asked.isdigit() and len(asked) < 4 and 1 <= int(asked) <= MAX_PAGE_SIZE):
            raise exceptions.ValidationError(
                {"page_size": [f"Expected a whole number from 1 to {MAX_PAGE_SIZE}."]}
            )
        return int(asked)

    def decode_cursor(self, request: Request) -> Cursor | None:
        try:
            cursor = super().decode_cursor(request)
            if cursor is not None and cursor.position is not None:
                self._field.to_python(cursor.position)
        except (exceptions.NotFound, DjangoValidationError, ValueError, OverflowError):
            raise exceptions.ValidationError(
                {"cursor": ["This cursor is invalid for this list; take it from `next` or `previous`."]}
            ) from None
        return cursor

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] = {
                    "type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": self.page_size,
                }  # fmt: skip
        return parameters

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }
