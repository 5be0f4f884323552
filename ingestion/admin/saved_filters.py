"""Filters that staff save under a name: links above an admin list, for their owner only."""

from typing import Any, Final

from django import forms
from django.contrib import messages
from django.contrib.admin.options import IS_POPUP_VAR, TO_FIELD_VAR
from django.contrib.admin.views.main import ALL_VAR, ERROR_FLAG, ORDER_VAR, PAGE_VAR, SEARCH_VAR
from django.core.exceptions import PermissionDenied, TooManyFieldsSent
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from ingestion.api.query_params import parse_row_id
from ingestion.models import SavedFilter
from ingestion.models.saved_filters import MAX_QUERY_CHARS

# Parameters of a list's address that are no part of what it shows.
LEFT_OUT: Final = (PAGE_VAR, IS_POPUP_VAR, TO_FIELD_VAR, ERROR_FLAG)
# Parameters of every list: search and order.
OF_LISTS: Final = (SEARCH_VAR, ORDER_VAR, ALL_VAR)
# More links would push the list from the screen.
MAX_FILTERS: Final = 20


class SaveFilterForm(forms.Form):
    name = forms.CharField(max_length=60)
    query = forms.CharField(max_length=MAX_QUERY_CHARS)

    def clean_query(self) -> str:
        try:
            query = describe_list(QueryDict(self.cleaned_data["query"]))
        except TooManyFieldsSent as error:
            raise forms.ValidationError("too many parameters") from error
        # Measured as it is stored: "é" becomes six characters.
        if not 0 < len(query) <= MAX_QUERY_CHARS:
            raise forms.ValidationError("empty or too long")
        return query


class SavedFiltersMixin:
    """Lets each person save the list's present filter and search under a name."""

    model: Any
    admin_site: Any
    has_view_permission: Any
    lookup_allowed: Any

    def can_save(self, query: QueryDict) -> bool:
        """Whether the filter may be stored; a list whose search is personal data refuses it."""
        return True

    def get_urls(self) -> list[URLPattern]:
        route = path(
            "saved-filters/", self.admin_site.admin_view(self.change_filters), name=f"{self._name}_filters"
        )
        urls: list[URLPattern] = super().get_urls()  # type: ignore[misc]
        return [route, *urls]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        answer: Any = super().changelist_view(request, extra_context)  # type: ignore[misc]
        context = getattr(answer, "context_data", None)
        # Actions show other pages, and a list for choosing a row has no links.
        if context and "cl" in context and not context.get("is_popup"):
            context["saved_filters"] = self._context(request)
        page: HttpResponse = answer
        return page

    @method_decorator(require_POST)
    def change_filters(self, request: HttpRequest) -> HttpResponse:
        """Save the filter of the form, or delete the one that it names."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self._delete(request) if "delete" in request.POST else self._save(request)

    @property
    def _name(self) -> str:
        return f"{self.model._meta.app_label}_{self.model._meta.model_name}"

    @property
    def _list(self) -> str:
        return reverse(f"admin:{self._name}_changelist")

    @property
    def _page(self) -> str:
        label: str = self.model._meta.label_lower
        return label

    def _own(self, request: HttpRequest) -> Any:
        user: Any = request.user  # staff: the view requires a login
        return SavedFilter.objects.filter(user=user, page=self._page)

    def _context(self, request: HttpRequest) -> dict[str, Any]:
        present = describe_list(request.GET)
        own = list(self._own(request))
        active = next((one for one in own if one.query == present), None)
        is_new = bool(present) and active is None and len(present) <= MAX_QUERY_CHARS
        return {
            "own": own,
            "active": active,
            "present": present if is_new and self._may_save(request, QueryDict(present)) else "",
            "url": reverse(f"admin:{self._name}_filters"),
        }

    def _may_save(self, request: HttpRequest, query: QueryDict) -> bool:
        """Whether the list itself would take these parameters, and allows to store them."""
        filters = ((name, value) for name in query for value in query.getlist(name) if name not in OF_LISTS)
        return self.can_save(query) and all(self.lookup_allowed(*one, request) for one in filters)

    def _save(self, request: HttpRequest) -> HttpResponse:
        form, own = SaveFilterForm(request.POST), self._own(request)
        if not form.is_valid():
            text = _("The filter was not saved: it is empty, or it or its name is too long.")
            messages.error(request, text)
            return redirect(self._list)
        name, query = form.cleaned_data["name"], form.cleaned_data["query"]
        if not self._may_save(request, QueryDict(query)):
            text = _(
                "The filter was not saved: it has personal data, or parameters that this list does not have."
            )
            messages.error(request, text)
            return redirect(self._list)
        if own.exclude(name=name).count() >= MAX_FILTERS:
            text = _("You have {n} filters for this list. Delete one first.").format(n=MAX_FILTERS)
            messages.error(request, text)
        else:
            user: Any = request.user
            SavedFilter.objects.update_or_create(
                user=user, page=self._page, name=name, defaults={"query": query}
            )
            messages.success(request, _("Saved as “{name}”.").format(name=name))
        return redirect(f"{self._list}?{query}")

    def _delete(self, request: HttpRequest) -> HttpResponse:
        chosen = get_object_or_404(self._own(request), pk=parse_row_id(request.POST["delete"]))
        chosen.delete()
        messages.success(request, _("Deleted the filter “{name}”.").format(name=chosen.name))
        return redirect(self._list)


def describe_list(parameters: QueryDict) -> str:
    """The parameters that decide what a list shows, in one order, as in an address."""
    kept = QueryDict(mutable=True)
    for name in sorted(set(parameters) - set(LEFT_OUT)):
        values = [value for value in parameters.getlist(name) if value or name != SEARCH_VAR]
        if values:
            kept.setlist(name, values)
    return kept.urlencode()
