"""What every list to look things up in has in common."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from ingestion.api.views import PERSONAL_DATA_PERMISSION

STATUS_COLOURS = {
    "running": "info",
    "succeeded": "success",
    "partial": "warning",
    "failed": "danger",
    "refused": "danger",
    "abandoned": "warning",
}


# A screen and a half. A row costs as much as a twentieth of a page without any.
ROWS_PER_PAGE = 25


class ReadOnlyAdmin(ModelAdmin):
    """A list to look things up in, at any size: no page counts all rows."""

    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = ROWS_PER_PAGE

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def can_see_personal_data(request: HttpRequest) -> bool:
    """Whether who asks may see listeners' names, e-mail addresses and genders."""
    return request.user.has_perm(PERSONAL_DATA_PERMISSION)


def computed_once(shown: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """For a field of a page that asks the database or draws a table: Unfold wants each five times."""

    @wraps(shown)
    def remembered(self: Any, row: Any) -> Any:
        # On the row itself, which lives as long as the request.
        made = row.__dict__.setdefault("_made_once", {})
        if shown.__name__ not in made:
            made[shown.__name__] = shown(self, row)
        return made[shown.__name__]

    return remembered


def confirm_first(
    title: str, text: str
) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """An action that a button does: its link, which anything may follow or fetch in advance, only asks."""

    def asking(act: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(act)
        def asked(self: ModelAdmin, request: HttpRequest, *args: Any, **named: Any) -> HttpResponse:
            if request.method == "POST":
                return act(self, request, *args, **named)
            options = self.model._meta
            back = reverse(f"admin:{options.app_label}_{options.model_name}_changelist")
            context = {**self.admin_site.each_context(request), "title": title, "text": text, "back": back}
            return render(request, "admin/ask.html", context)

        return asked

    return asking


class ResolutionFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("settled", "Settled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(resolved_at__isnull=self.value() == "open") if self.value() else queryset
