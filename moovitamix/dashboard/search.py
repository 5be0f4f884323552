"""Search over songs, listeners, runs, incidents and pages: a page, and the window that Ctrl+K opens.

It takes the place of Unfold's search, which reads all matches of a table, answers from a cache that knows
neither permissions nor languages, and needs scripts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _
from unfold.dataclasses import SearchResult

from ingestion.admin import can_see_personal_data
from ingestion.alerts.messages.render import fold_typed_text, render_subject
from ingestion.models import Incident, IngestionRun, Listener, Song
from moovitamix.dashboard.navigation import sidebar_sections

# A search reads at most one row more of each table, so that a large table costs what its own list costs.
ROWS: Final = 6
MAX_CHARS: Final = 200


@dataclass(frozen=True)
class Found:
    """The results of one table, or the pages of the menu."""

    title: str
    results: list[SearchResult]
    more: str  # the list of all matches; empty if all of them are shown


class SearchForm(forms.Form):
    # The name that Unfold's window sends.
    s = forms.CharField(max_length=MAX_CHARS, strip=True)


def search_page(request: HttpRequest) -> HttpResponse:
    """What matches in each table that this person may view, by the fields that they may search."""
    began = perf_counter()
    form = SearchForm(request.GET)
    text = form.cleaned_data["s"] if form.is_valid() else ""
    groups = [group for group in _search(request, text) if group.results] if text else []
    # An empty text is not a mistake.
    mistakes = [str(one) for one in form.errors.get("s", [])] if request.GET.get("s", "").strip() else []
    if "extended" in request.GET:
        return _window(request, text, groups, mistakes, began)
    context = {
        **admin.site.each_context(request),
        "title": _("Search"),
        "text": text,
        "groups": groups,
        "max_chars": MAX_CHARS,
        "mistakes": mistakes,
    }
    return render(request, "operations/search.html", context)


def _window(
    request: HttpRequest, text: str, groups: list[Found], mistakes: list[str], began: float
) -> HttpResponse:
    """The same results for Unfold's window, which shows them while a person types."""
    if mistakes:
        return render(request, "operations/search_mistakes.html", {"mistakes": mistakes})
    results = [result for group in groups for result in group.results]
    links = []
    if any(group.more for group in groups):
        link = f"{reverse('search')}?{urlencode({'s': text})}"
        links.append(SearchResult(_("More results"), _("Search"), link, "search"))
    context = {
        # The template shows how many results the paginator has: the link is none of them.
        "page_obj": Paginator(results, len(results) or 1),
        "results": [*results, *links],
        "page_counter": 0,
        "execution_time": perf_counter() - began,
    }
    return render(request, "unfold/helpers/command_results.html", context)


def _search(request: HttpRequest, text: str) -> list[Found]:
    return [
        *(_search_rows(request, text, *table) for table in TABLES if _may_view(request, table[0])),
        _search_menu(request, text),
    ]


def _search_rows(
    request: HttpRequest,
    text: str,
    model: type[Model],
    name: str,
    icon: str,
    describe: Callable[[HttpRequest, Any], tuple[str, str]],
) -> Found:
    page = admin.site.get_model_admin(model)
    rows, _duplicates = page.get_search_results(request, page.get_queryset(request), text)
    order = ("pk",) if model in {Song, Listener} else ("-pk",)
    found = list(rows.order_by(*order)[: ROWS + 1])
    # A row whose number was entered comes first, although others may have the number in their names.
    if text.isdecimal():
        number = int(text)
        found.sort(key=lambda row: row.pk != number)
        if len(found) > ROWS and found[0].pk != number:
            found = [*rows.filter(pk=number), *found]
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    results = []
    for row in found[:ROWS]:
        title, link = describe(request, row)
        results.append(SearchResult(title, _(name), link, icon))
    return Found(_(name), results, f"{url}?{urlencode({'q': text})}" if len(found) > ROWS else "")


def _search_menu(request: HttpRequest, text: str) -> Found:
    entries = [
        (str(entry["title"]), section, entry)
        for section, entries in ((one["title"], one["items"]) for one in sidebar_sections(request))
        for entry in entries
    ]
    results = [
        SearchResult(title, str(section), entry["link"], entry["icon"])
        for title, section, entry in entries
        if fold_typed_text(text) in fold_typed_text(title)
    ]
    return Found(_("Pages"), results, "")


def _may_view(request: HttpRequest, model: type[Model]) -> bool:
    return bool(admin.site.get_model_admin(model).has_view_permission(request))


def _describe_song(_request: HttpRequest, song: Song) -> tuple[str, str]:
    return str(song), reverse("admin:ingestion_song_change", args=[song.pk])


def _describe_listener(request: HttpRequest, listener: Listener) -> tuple[str, str]:
    name = f"{listener.first_name} {listener.last_name}".strip() if can_see_personal_data(request) else ""
    title = f"{listener}: {name}" if name else str(listener)
    return title, reverse("admin:ingestion_listener_change", args=[listener.pk])


def _describe_run(_request: HttpRequest, run: IngestionRun) -> tuple[str, str]:
    text = f"{_('Run {run}').format(run=run.pk)}, {run.started_at:%Y-%m-%d %H:%M} UTC: "
    return text + run.get_status_display().lower(), reverse("run", args=[run.pk])


def _describe_incident(_request: HttpRequest, incident: Incident) -> tuple[str, str]:
    subject = render_subject(incident, get_language() or settings.LANGUAGE_CODE)
    title = _("Incident {number}: {key}").format(number=incident.pk, key=subject)
    return title, reverse("admin:ingestion_incident_change", args=[incident.pk])


TABLES: Final = (
    (Song, gettext_noop("Songs"), "music_note", _describe_song),
    (Listener, gettext_noop("Listeners"), "group", _describe_listener),
    (IngestionRun, gettext_noop("Ingestion runs"), "history", _describe_run),
    (Incident, gettext_noop("Incidents"), "notification_important", _describe_incident),
)
