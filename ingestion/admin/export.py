"""Downloads of the rows of an admin list, as CSV or as JSON lines."""

import csv
import io
from collections.abc import Iterator
from datetime import tzinfo
from typing import Any, Final

import orjson
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from rest_framework.serializers import ModelSerializer

from ingestion.admin.base import ReadOnlyAdmin

BATCH: Final = 1_000  # rows a query: each stays short, however large the table is
MEDIA_TYPES: Final = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
# A spreadsheet takes a text that begins like this for a formula.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


class ExportAdmin(ReadOnlyAdmin):
    """An admin list whose rows, as filtered and searched for, can be downloaded in the API's format."""

    list_before_template = "admin/export.html"
    export_name = ""

    def export_serializer(self, request: HttpRequest) -> type[ModelSerializer[Any]]:
        """The fields of a row that this person may see."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        options = self.model._meta
        view = self.admin_site.admin_view(self.export_rows)
        name = f"{options.app_label}_{options.model_name}_export"
        return [path("export/<str:kind>/", view, name=name), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        options = self.model._meta
        query = request.GET.urlencode()
        links = {
            kind: f"{reverse(f'admin:{options.app_label}_{options.model_name}_export', args=[kind])}?{query}"
            for kind in MEDIA_TYPES
        }
        page: HttpResponse = super().changelist_view(request, {**(extra_context or {}), "export": links})
        return page

    def export_rows(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if kind not in MEDIA_TYPES:
            raise BadRequest("Rows are exported as csv or ndjson.")
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            raise BadRequest("The list has no such filter.") from None
        records = _read_records(rows, self.export_serializer(request))
        parts = _as_csv(records) if kind == "csv" else (orjson.dumps(one) + b"\n" for one in records)
        return StreamingHttpResponse(
            parts,
            content_type=MEDIA_TYPES[kind],
            headers={"Content-Disposition": f'attachment; filename="{self.export_name}.{kind}"'},
        )


def _read_records(rows: "QuerySet[Any]", serializer: type[ModelSerializer[Any]]) -> Iterator[dict[str, Any]]:
    # The rows are read when the request's time zone, which can express every time, is no longer active.
    zone = timezone.get_current_timezone()
    return _read_pages(rows.order_by("pk"), serializer, zone)


def _read_pages(
    rows: "QuerySet[Any]", serializer: type[ModelSerializer[Any]], zone: tzinfo
) -> Iterator[dict[str, Any]]:
    page = list(rows[:BATCH])
    while page:
        with timezone.override(zone):
            records = serializer(page, many=True).data
        yield from records
        page = list(rows.filter(pk__gt=page[-1].pk)[:BATCH])


def _as_csv(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    for number, record in enumerate(records):
        if not number:
            yield _csv_line(list(record))
        yield _csv_line([_cell(value) for value in record.values()])


def _csv_line(values: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    # Quoted the way spreadsheets do it; a reader of CSV sees one more apostrophe.
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
