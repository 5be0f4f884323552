"""Read-only admin of songs, listeners and listening sessions."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.decorators import display

from ingestion.admin.base import can_see_personal_data, computed_once, may_see_personal_data
from ingestion.admin.export import ExportAdmin
from ingestion.admin.numbers import format_length
from ingestion.api.serializers import (
    PERSONAL_FIELDS,
    ListeningHistorySerializer,
    PersonalUserSerializer,
    SongSerializer,
    UserSerializer,
)
from ingestion.models import Listener, ListeningHistory, Song


class AvailabilityFilter(admin.SimpleListFilter):
    title = _lazy("availability")
    parameter_name = "availability"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("available", _("Available")),
            ("missing", _("Missing in the latest run")),
            ("unavailable", _("Unavailable")),
            *([("expired", _("Expired at the source"))] if model_admin.model is ListeningHistory else []),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "available":
            return queryset.filter(unavailable_at=None)
        if self.value() == "expired":
            return queryset.filter(unavailable_at=None, expired_at__isnull=False)
        if self.value() == "missing":
            return queryset.filter(unavailable_at=None, missing_since__isnull=False)
        return queryset.filter(unavailable_at__isnull=False) if self.value() else queryset


@admin.register(Song)
class SongAdmin(ExportAdmin):
    export_name = "songs"
    list_display = ("id", "name", "artist", "album", "genres", "release_year", "length", "is_available")
    list_filter = (AvailabilityFilter,)
    search_fields = ("=id", "name", "artist")
    search_help_text = _lazy("Song ID, or part of the name or artist")
    when_empty = _lazy("Songs appear here after the first ingestion run: python manage.py runingest")

    def export_serializer(self, request: HttpRequest) -> type[SongSerializer]:
        return SongSerializer

    @display(description=_lazy("Length"))
    def length(self, song: Song) -> str:
        return format_length(song.duration)

    @display(description=_lazy("Available"), boolean=True)
    def is_available(self, song: Song) -> bool:
        return song.unavailable_at is None


@admin.register(Listener)
class ListenerAdmin(ExportAdmin):
    """Admin of listeners; shows personal data only to users with the permission for it."""

    list_filter = (AvailabilityFilter,)
    search_fields = ("=id",)
    search_help_text = _lazy(
        "Listener ID. Users who may see personal data can also enter part of a last name or e-mail address."
    )
    when_empty = _lazy("Listeners appear here after the first ingestion run: python manage.py runingest")

    export_name = "listeners"

    def export_serializer(self, request: HttpRequest) -> type[UserSerializer]:
        return PersonalUserSerializer if can_see_personal_data(request) else UserSerializer

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        personal = ("first_name", "last_name", "email") if can_see_personal_data(request) else ()
        return ["id", *personal, "favorite_genres", "updated_at", "is_available"]

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        # Not recorded as a read: the pages that show the listeners that are found record it.
        return ("=id", "last_name", "email") if may_see_personal_data(request) else ("=id",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Listener], search_term: str
    ) -> tuple[QuerySet[Listener], bool]:
        if request.path == reverse("admin:autocomplete"):
            # It answers with IDs alone, but tells whose name or address a text is a part of.
            can_see_personal_data(request)
        return super().get_search_results(request, queryset, search_term)

    def can_save(self, query: QueryDict) -> bool:
        # Any other search is part of a name or of an e-mail address.
        return all(one.strip().removeprefix("-").isdecimal() for one in query.getlist(SEARCH_VAR) if one)

    def get_exclude(self, request: HttpRequest, obj: Listener | None = None) -> tuple[str, ...]:
        return () if can_see_personal_data(request) else PERSONAL_FIELDS

    @display(description=_lazy("Available"), boolean=True)
    def is_available(self, listener: Listener) -> bool:
        return listener.unavailable_at is None


@admin.register(ListeningHistory)
class ListeningHistoryAdmin(ExportAdmin):
    export_name = "listening-sessions"
    list_display = ("id", "user_link", "created_at", "songs_played", "is_available")
    list_filter = (AvailabilityFilter,)
    search_fields = ("=user__id",)
    link_lookups = ("user__id__exact",)
    search_help_text = _lazy("Listener ID")
    when_empty = _lazy(
        "Listening sessions appear here after the first ingestion run: python manage.py runingest"
    )
    readonly_fields = ("played",)
    # The songs stand in `played` by name.
    exclude = ("items",)

    def export_serializer(self, request: HttpRequest) -> type[ListeningHistorySerializer]:
        return ListeningHistorySerializer

    @display(description=_lazy("Listener"), ordering="user")
    def user_link(self, history: ListeningHistory) -> SafeString:
        url = reverse("admin:ingestion_listener_change", args=[history.user_id])
        return format_html('<a href="{}">{}</a>', url, history.user_id)

    @display(description=_lazy("Songs played"))
    def songs_played(self, history: ListeningHistory) -> int:
        return len(history.items)

    @display(description=_lazy("Available"), boolean=True)
    def is_available(self, history: ListeningHistory) -> bool:
        return history.unavailable_at is None

    def get_object(self, request: HttpRequest, *key: Any) -> ListeningHistory | None:
        history: ListeningHistory | None = super().get_object(request, *key)
        if history is not None:
            # `played` does not get the request.
            history.__dict__["may_view_songs"] = request.user.has_perm("ingestion.view_song")
        return history

    @display(description=_lazy("Songs in playing order"))
    @computed_once
    def played(self, history: ListeningHistory) -> SafeString:
        songs = Song.objects.in_bulk(history.items)
        show = _link_to_song if history.__dict__.get("may_view_songs") else str
        return format_html_join(
            "", "<div>{}. {}</div>",
            ((position, show(songs[pk]) if pk in songs else _("unknown song {pk}").format(pk=pk))
             for position, pk in enumerate(history.items, 1)),
        )  # fmt: skip


def _link_to_song(song: Song) -> SafeString:
    url = reverse("admin:ingestion_song_change", args=[song.pk])
    return format_html('<a class="mm-link" href="{}">{}</a>', url, song)
