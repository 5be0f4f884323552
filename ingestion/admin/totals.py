"""Totals of the rows that an admin list shows, as filtered and searched for."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.db.models import Aggregate, Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _lazy

# Counted in 7 ms. A list of more rows needs a filter first, so that no page reads a large table.
MAX_ROWS: Final = 20_000


class TotalsMixin:
    """Shows the totals of all rows of the list, not only of the present page, above it.

    Attributes:
        totals: aggregates by their label, a lazy translation.
    """

    totals: ClassVar[Mapping[Any, Aggregate]] = {}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        answer: Any = super().changelist_view(request, extra_context)  # type: ignore[misc]
        context = getattr(answer, "context_data", None)
        # A list without rows has read the whole table already to find none.
        if self.totals and context and "cl" in context and context["cl"].result_list:
            context["totals"] = read_totals(context["cl"].queryset, self.totals)
            context["most_rows"] = number_format(MAX_ROWS, force_grouping=True)
        page: HttpResponse = answer
        return page


def read_totals(rows: "QuerySet[Any]", totals: Mapping[Any, Aggregate]) -> list[tuple[Any, str]] | None:
    """Each label with its total, all by one query that reads at most `MAX_ROWS`; None for more rows."""
    asked = {f"total_{n}": aggregate for n, aggregate in enumerate(totals.values())}
    # Without the list's order, the database can stop at the limit.
    found = rows.order_by()[: MAX_ROWS + 1].aggregate(n_rows=Count("pk"), **asked)
    if found["n_rows"] > MAX_ROWS:
        return None
    values = [found["n_rows"], *(found[name] or 0 for name in asked)]
    return [
        (label, number_format(value, force_grouping=True))
        for label, value in zip((_lazy("Rows in this list"), *totals), values, strict=True)
    ]
