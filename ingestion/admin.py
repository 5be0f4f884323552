"""The admin of the ingestion room: what is there, how each run went, what was refused. Read-only."""

import json
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.paginator import InfinitePaginator

from ingestion.configuration import replay_now
from ingestion.models import IngestionRun, Listener, ListeningHistory, Rejection, ResourceReport, Song
from ingestion.runs import AlreadyRunning
from ingestion.tasks import start_by_hand

STATUS_COLOURS = {
    "running": "info",
    "succeeded": "success",
    "partial": "warning",
    "failed": "danger",
    "refused": "danger",
    "abandoned": "warning",
}


# A row may be as large as an answer; the whole of it stands on its own page.
SHOWN_OF_A_ROW = 500


class ReadOnlyAdmin(ModelAdmin):
    """A list to look things up in, at any size: no page counts all rows."""

    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class AvailabilityFilter(admin.SimpleListFilter):
    title = "availability"
    parameter_name = "availability"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("available", "Available"),
            ("missing", "Missed by the last run"),
            ("unavailable", "Unavailable"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "available":
            return queryset.filter(unavailable_at=None)
        if self.value() == "missing":
            return queryset.filter(unavailable_at=None, missing_since__isnull=False)
        return queryset.filter(unavailable_at__isnull=False) if self.value() else queryset


class OpenFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("settled", "Settled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(resolved_at__isnull=self.value() == "open") if self.value() else queryset


@admin.register(Song)
class SongAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "artist", "album", "genres", "release_year", "length", "is_available")
    list_filter = (AvailabilityFilter,)
    search_fields = ("=id", "name", "artist")
    search_help_text = "A song's id, or a part of its name or artist"

    @display(description="Length")
    def length(self, song: Song) -> str:
        minutes, seconds = divmod(int(song.duration.total_seconds()), 60)
        return f"{minutes}:{seconds:02}"

    @display(description="Available", boolean=True)
    def is_available(self, song: Song) -> bool:
        return song.unavailable_at is None


@admin.register(Listener)
class ListenerAdmin(ReadOnlyAdmin):
    list_display = ("id", "first_name", "last_name", "email", "favorite_genres", "updated_at", "is_available")
    list_filter = (AvailabilityFilter,)
    search_fields = ("=id", "last_name", "email")
    search_help_text = "A listener's id, or a part of the last name or e-mail"

    @display(description="Available", boolean=True)
    def is_available(self, listener: Listener) -> bool:
        return listener.unavailable_at is None


@admin.register(ListeningHistory)
class ListeningHistoryAdmin(ReadOnlyAdmin):
    list_display = ("id", "user_link", "created_at", "songs_played", "is_available")
    list_filter = (AvailabilityFilter,)
    search_fields = ("=user__id",)
    search_help_text = "A listener's id"
    readonly_fields = ("played",)

    @display(description="Listener", ordering="user")
    def user_link(self, history: ListeningHistory) -> SafeString:
        url = reverse("admin:ingestion_listener_change", args=[history.user_id])
        return format_html('<a href="{}">{}</a>', url, history.user_id)

    @display(description="Songs played")
    def songs_played(self, history: ListeningHistory) -> int:
        return len(history.items)

    @display(description="Available", boolean=True)
    def is_available(self, history: ListeningHistory) -> bool:
        return history.unavailable_at is None

    @display(description="Songs, in order")
    def played(self, history: ListeningHistory) -> SafeString:
        songs = Song.objects.in_bulk(history.items)
        return format_html_join(
            "", "<div>{}. {}</div>",
            ((place, songs.get(pk, f"unknown song {pk}")) for place, pk in enumerate(history.items, 1)),
        )  # fmt: skip


class ResourceReportInline(TabularInline):
    model = ResourceReport
    extra = 0
    can_delete = False
    fields: ClassVar = [
        "resource", "received", "new", "changed", "unchanged", "rejected", "missing", "duplicates", "pages",
        "requests", "retries", "shifts", "latency_p50", "latency_p95", "errors",
    ]  # fmt: skip
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class RejectionInline(TabularInline):
    model = Rejection
    fk_name = "run"
    extra = 0
    can_delete = False
    verbose_name_plural = "refused rows (first seen in this run)"
    fields: ClassVar = ["resource", "field", "reason", "start_of_row", "resolved_at", "resolution"]
    readonly_fields = fields
    # A run may refuse very many; the link "refused in this run" leads to the list of them all.
    per_page = 20

    @display(description="Row")
    def start_of_row(self, rejection: Rejection) -> str:
        return Truncator(rejection.payload).chars(SHOWN_OF_A_ROW)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(IngestionRun)
class IngestionRunAdmin(ReadOnlyAdmin):
    list_display = ("id", "state", "trigger", "started_at", "took", "received", "new", "changed", "rejected",
                    "missing", "why")  # fmt: skip
    list_filter = ("status", "trigger", "dry_run", "started_at")
    search_fields = ("=id", "slot", "error")
    search_help_text = "A run's number, its slot (daily 2026-11-23) or a part of its error"
    inlines: ClassVar = [ResourceReportInline, RejectionInline]
    actions_list: ClassVar = ["run_now", "replay_rejections"]
    readonly_fields = ("took", "refused_rows")
    fieldsets = (
        (None, {"fields": ("status", "summary", "error_kind", "error", "refused_rows")}),
        ("When", {"fields": ("started_at", "finished_at", "took", "trigger", "slot", "dry_run",
                             "accept_reset")}),
        ("Rows", {"fields": (("received", "new", "changed"), ("unchanged", "rejected", "missing"))}),
        ("Cost", {"fields": (("cpu_seconds", "peak_memory"), ("bytes", "rows_per_second"), ("host", "pid"))}),
    )  # fmt: skip

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def state(self, run: IngestionRun) -> tuple[str, str]:
        return run.status, run.get_status_display()

    @display(description="Duration")
    def took(self, run: IngestionRun) -> str:
        return f"{((run.finished_at or timezone.now()) - run.started_at).total_seconds():.1f} s"

    @display(description="Why")
    def why(self, run: IngestionRun) -> str:
        return run.error[:80] + ("…" if len(run.error) > 80 else "")

    @display(description="Refused rows")
    def refused_rows(self, run: IngestionRun) -> SafeString:
        url = reverse("admin:ingestion_rejection_changelist")
        return format_html(
            '<a href="{}?run_id__lte={}&last_run_id__gte={}">{} refused in this run</a>',
            url, run.pk, run.pk, run.rejected,
        )  # fmt: skip

    @action(description="Run now", permissions=["run"], icon="play_arrow")
    def run_now(self, request: HttpRequest) -> HttpResponse:
        start_by_hand()
        messages.info(
            request, "A run was started. It appears here within a few seconds; reload to follow it."
        )
        return redirect("admin:ingestion_ingestionrun_changelist")

    @action(description="Replay refused rows", permissions=["run"], icon="replay")
    def replay_rejections(self, request: HttpRequest) -> HttpResponse:
        try:
            taken = sum(replay_now().values())
        except AlreadyRunning as busy:
            messages.error(request, str(busy))
        else:
            messages.success(request, f"{taken} refused rows were taken in.")
        return redirect("admin:ingestion_ingestionrun_changelist")

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ingestion.add_ingestionrun")


@admin.register(Rejection)
class RejectionAdmin(ReadOnlyAdmin):
    list_display = ("id", "resource", "field", "reason", "run", "last_run", "resolved_at", "resolution")
    list_filter = (OpenFilter, "resource")
    search_fields = ("=id", "reason", "field")
    list_select_related = ("run", "last_run")
    exclude = ("payload", "fingerprint")
    readonly_fields = ("row",)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        wanted = {"run_id__lte", "last_run_id__gte"}
        return lookup in wanted or super().lookup_allowed(lookup, value, request)

    @display(description="Row, as the source sent it")
    def row(self, rejection: Rejection) -> SafeString:
        text = json.dumps(json.loads(rejection.payload), indent=2)
        return format_html('<pre class="whitespace-pre-wrap">{}</pre>', text)
