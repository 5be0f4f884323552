"""Base class, decorators and permissions of read-only admin pages."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, NoReturn

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, ValidationError
from django.db.models import Model, Q, QuerySet, TextChoices
from django.db.models.constants import LOOKUP_SEP
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import smart_split, unescape_string_literal
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from kombu.exceptions import OperationalError
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from ingestion.admin.numbers import FormattedNumbersMixin
from ingestion.admin.saved_filters import SavedFiltersMixin
from ingestion.admin.totals import TotalsMixin
from ingestion.api.views import PERSONAL_DATA_PERMISSION
from ingestion.audit import record_personal_data_read

logger = logging.getLogger(__name__)

STATUS_COLOURS = {
    "running": "info",
    "succeeded": "success",
    "partial": "warning",
    "failed": "danger",
    "refused": "danger",
    "abandoned": "warning",
    "stopped": "warning",
}

# Suffixes that Django's filters append to a field's name: choices, dates, empty values, related rows.
FILTER_SUFFIXES = ("", "__exact", "__gte", "__lt", "__isnull", "__id__exact")

# One and a half screens; each row adds a twentieth to the rendering time of an empty page.
ROWS_PER_PAGE = 25


def translated_choices(choices: type[TextChoices]) -> list[tuple[str, Any]]:
    """The choices for a form's field, with labels that follow the active language."""
    return [(str(one.value), _lazy(str(one.label))) for one in choices]


class ListedLookups(SavedFiltersMixin):
    """Allows only the query parameters of the page's own filters and links, and ids of rows that exist.

    Django allows every lookup of the model's own fields: `?email__gte=` could read e-mail addresses letter by
    letter, and `?email__regex=` could keep SQLite busy for hours. It answers 500 to an action on a row whose
    id can't be one, and leads from the page of a row that does not exist to the first page of the admin.

    Attributes:
        link_lookups: lookups in links from other pages to this list.
    """

    link_lookups: ClassVar[tuple[str, ...]] = ()
    model: Any
    list_filter: ClassVar[Any]
    get_list_filter: Any
    get_object: Any

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in self.link_lookups or lookup in self._filter_lookups(request)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *rest: Any, **options: Any
    ) -> HttpResponse | None:
        try:
            for row in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.model._meta.pk.clean(row, None)
        except ValidationError:
            raise BadRequest("A selected row has an impossible id.") from None
        answer: HttpResponse | None = super().response_action(  # type: ignore[misc]
            request, queryset, *rest, **options
        )
        return answer

    def find_row(self, request: HttpRequest, object_id: object) -> Any:
        """The row of a button's address.

        Raises:
            Http404: no row has this id, or it can't be an id.
        """
        row = self.get_object(request, str(object_id))
        if row is None:
            raise Http404
        return row

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> NoReturn:
        raise Http404

    def _filter_lookups(self, request: HttpRequest | None) -> set[str]:
        filters = self.list_filter if request is None else self.get_list_filter(request)
        names = [one if isinstance(one, str) else one[0] for one in filters if isinstance(one, str | tuple)]
        own = {getattr(one, "parameter_name", "") for one in filters if isinstance(one, type)}
        return own | {f"{name}{suffix}" for name in names for suffix in FILTER_SUFFIXES}


class ReadOnlyAdmin(ListedLookups, TotalsMixin, FormattedNumbersMixin):
    """An admin page without add, change and delete. It counts few rows, so large tables open fast.

    `when_empty` is the text of an empty list: when rows appear there, or what to do first.
    """

    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = ROWS_PER_PAGE
    when_empty: object = ""  # a text or its lazy translation

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search as Django does, but compare "=id" with the value, so that an index finds it."""
        fields = self.get_search_fields(request)
        for word in smart_split(search_term) if fields else ():
            matches = [_search_by(queryset.model, str(field), _unquote(word)) for field in fields]
            found = [match for match in matches if match is not None]
            queryset = queryset.filter(Q(*found, _connector=Q.OR)) if found else queryset.none()
        # No field is behind a relation to many rows, which would find a row twice.
        return queryset, False


def _search_by(model: type[Model], search_field: str, word: str) -> Q | None:
    """The condition that finds the word in the field; None if the field can't hold such a value."""
    if not search_field.startswith("="):
        return Q((f"{search_field}__icontains", word))
    name = search_field.removeprefix("=")
    field: Any = None
    for part in name.split(LOOKUP_SEP):
        field = (model if field is None else field.related_model)._meta.get_field(part)
    try:
        return Q((name, field.to_python(word)))
    except ValidationError:
        return None


def _unquote(word: str) -> str:
    is_quoted = word[0] in "\"'" and word[0] == word[-1] and len(word) > 1
    return unescape_string_literal(word) if is_quoted else word


def may_see_personal_data(request: HttpRequest) -> bool:
    return request.user.has_perm(PERSONAL_DATA_PERMISSION)


def can_see_personal_data(request: HttpRequest) -> bool:
    """Whether the page may show personal data; if so, this is recorded as a read of it."""
    allowed = may_see_personal_data(request)
    if allowed:
        record_personal_data_read(request.user.get_username())
    return allowed


def link_to_run(run: int | None, anchor: str = "") -> SafeString | str:
    if run is None:
        return ""
    return format_html(
        '<a class="mm-link mm-nowrap" href="{}{}">{}</a>',
        reverse("run", args=[run]),
        anchor,
        _("Run {run}").format(run=run),
    )


def computed_once(field: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Compute a read-only field once per page: Unfold calls each field five times."""

    @wraps(field)
    def cached(self: Any, row: Any) -> Any:
        # The row object exists only during the request.
        values = row.__dict__.setdefault("_computed_fields", {})
        if field.__name__ not in values:
            values[field.__name__] = field(self, row)
        return values[field.__name__]

    return cached


def confirm_first(
    title: object, text: object
) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """Ask before an action: GET shows a page with `text` and a button, POST performs the action.

    Browsers and crawlers may request any link, so a GET must change nothing.
    """

    def decorate(act: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(act)
        def ask_or_act(self: ModelAdmin, request: HttpRequest, *args: Any, **named: Any) -> HttpResponse:
            options = self.model._meta
            back = reverse(f"admin:{options.app_label}_{options.model_name}_changelist")
            if request.method == "POST":
                try:
                    return act(self, request, *args, **named)
                except OperationalError as error:
                    # A task that can't be sent.
                    logger.warning("task_not_sent action=%s reason=%r", act.__name__, str(error))
                    messages.error(request, _("Nothing was started: Redis does not answer. Try again later."))
                    return redirect(back)
            context = {
                **self.admin_site.each_context(request),
                "title": str(title),
                "text": str(text),
                "back": back,
            }
            return render(request, "admin/confirm.html", context)

        return ask_or_act

    return decorate


class ResolutionFilter(admin.SimpleListFilter):
    title = _lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", _("Open")), ("settled", _("Resolved"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(resolved_at__isnull=self.value() == "open") if self.value() else queryset
