"""Read-only admin of ingestion runs and rejections, with buttons to start a run and replay rejections."""

import json
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Count, Model, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext
from unfold.admin import TabularInline
from unfold.decorators import action, display

from ingestion.admin.base import (
    STATUS_COLOURS,
    ReadOnlyAdmin,
    ResolutionFilter,
    can_see_personal_data,
    confirm_first,
    link_to_run,
)
from ingestion.alerts.messages.formatting import format_amount
from ingestion.models import IngestionRun, Rejection, ResourceReport
from ingestion.pipeline.run_lifecycle import AlreadyRunning
from ingestion.services import replay_open_rejections
from ingestion.stored_sentences import run_summary
from ingestion.tasks import start_ingestion


class ResourceReportInline(TabularInline):
    model = ResourceReport
    extra = 0
    can_delete = False
    hide_title = True
    # As many as fit into 1280 pixels, in French too; the page of the run shows all.
    fields: ClassVar = [
        "resource", "received", "new", "changed", "unchanged", "rejected", "missing", "time_spent",
        "longest_latency",
    ]  # fmt: skip
    readonly_fields = fields

    @display(description=_lazy("Time reading and writing"))
    def time_spent(self, report: ResourceReport) -> str:
        return _format_measured("seconds", report.seconds)

    @display(description=_lazy("Longest latency"))
    def longest_latency(self, report: ResourceReport) -> str:
        return _format_measured("seconds", report.latency_max)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(IngestionRun)
class IngestionRunAdmin(ReadOnlyAdmin):
    list_display = ("id", "state", "trigger", "started_at", "duration", "received", "new_rows", "changed",
                    "rejected", "missing", "short_error")  # fmt: skip
    list_filter = ("status", "trigger", "dry_run", "started_at")
    search_fields = ("=id", "slot", "error")
    search_help_text = _lazy("Run number, schedule slot (such as 2026-11-23 02:00 UTC) or part of the error")
    when_empty = _lazy("Start the first run with “Run now” above, or with: python manage.py runingest")
    totals: ClassVar = {
        _lazy("Received"): Sum("received"),
        _lazy("New"): Sum("new"),
        _lazy("Changed"): Sum("changed"),
        _lazy("Unchanged"): Sum("unchanged"),
        _lazy("Rejected"): Sum("rejected"),
        _lazy("Missing"): Sum("missing"),
    }
    inlines: ClassVar = [ResourceReportInline]
    actions_list: ClassVar = ["run_now", "replay_rejections"]
    readonly_fields = ("summary_text", "duration", "run_page_link", "rejections_link", "cpu_time", "memory",
                       "bytes_received", "throughput")  # fmt: skip
    fieldsets = (
        (None, {"fields": ("status", "summary_text", "error_kind", "error", "run_page_link",
                           "rejections_link")}),
        (_lazy("When"), {"fields": ("started_at", "finished_at", "duration", "trigger", "slot", "dry_run",
                             "accept_reset")}),
        (_lazy("Rows"), {"fields": (("received", "new", "changed"), ("unchanged", "rejected", "missing"))}),
        (_lazy("Resource use"), {"fields": (("cpu_time", "memory"), ("bytes_received", "throughput"),
                                    ("host", "pid"))}),
    )  # fmt: skip

    @display(description=_lazy("Status"), ordering="status", label=STATUS_COLOURS)
    def state(self, run: IngestionRun) -> tuple[str, str]:
        return run.status, run.get_status_display()

    @display(description=_lazy("Summary"))
    def summary_text(self, run: IngestionRun) -> SafeString | str:
        return run_summary(run.summary) if run.summary else "-"

    @display(description=_lazy("Duration"))
    def duration(self, run: IngestionRun) -> str:
        return format_amount(
            "seconds", ((run.finished_at or timezone.now()) - run.started_at).total_seconds()
        )

    # "Nouveau", the French name of the field, is that of a song.
    @display(description=_lazy("New"), ordering="new")
    def new_rows(self, run: IngestionRun) -> int:
        return run.new

    @display(description=_lazy("CPU time"))
    def cpu_time(self, run: IngestionRun) -> str:
        return format_amount("seconds", run.cpu_seconds)

    @display(description=_lazy("Peak memory"))
    def memory(self, run: IngestionRun) -> str:
        return format_amount("bytes", run.peak_memory)

    @display(description=_lazy("Bytes received"))
    def bytes_received(self, run: IngestionRun) -> str:
        return format_amount("bytes", run.bytes)

    @display(description=_lazy("Throughput"))
    def throughput(self, run: IngestionRun) -> str:
        return _("{value} rows per second").format(value=format_amount("rows", round(run.rows_per_second)))

    @display(description=_lazy("Error"))
    def short_error(self, run: IngestionRun) -> str:
        return run.error[:80] + ("…" if len(run.error) > 80 else "")

    @display(description=_lazy("Details"))
    def run_page_link(self, run: IngestionRun) -> SafeString:
        text = _("Stages, results by resource, rejections, changed fields and anomaly checks")
        return format_html('<a class="mm-link" href="{}">{}</a>', reverse("run", args=[run.pk]), text)

    @display(description=_lazy("Rejections"))
    def rejections_link(self, run: IngestionRun) -> SafeString:
        url = reverse("admin:ingestion_rejection_changelist")
        return format_html(
            '<a href="{}?run_id__lte={}&last_run_id__gte={}">{}</a>',
            url, run.pk, run.pk,
            ngettext(
                "{n} row rejected in this run", "{n} rows rejected in this run", run.rejected
            ).format(n=run.rejected),
        )  # fmt: skip

    @action(description=_lazy("Run now"), permissions=["run"], icon="play_arrow")
    @confirm_first(
        _lazy("Run now"), _lazy("Starts one ingestion run: new and changed rows of the source are imported.")
    )
    def run_now(self, request: HttpRequest) -> HttpResponse:
        start_ingestion()
        messages.info(
            request,
            _("The run has been started. It appears in this list within a few seconds; reload the page."),
        )
        return redirect("admin:ingestion_ingestionrun_changelist")

    @action(description=_lazy("Replay rejections"), permissions=["run"], icon="replay")
    @confirm_first(
        _lazy("Replay rejections"),
        _lazy("Validates every open rejection again and imports the rows that are valid now."),
    )
    def replay_rejections(self, request: HttpRequest) -> HttpResponse:
        try:
            imported = sum(replay_open_rejections().values())
        except AlreadyRunning as busy:
            messages.error(request, str(busy))
        else:
            messages.success(request, _("{imported} rejected rows were imported.").format(imported=imported))
        return redirect("admin:ingestion_ingestionrun_changelist")

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ingestion.add_ingestionrun")


@admin.register(Rejection)
class RejectionAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "resource",
        "field",
        "reason",
        "first_run",
        "newest_run",
        "resolved_at",
        "resolution",
    )
    list_filter = (ResolutionFilter, "resource")
    search_fields = ("=id", "reason", "field")
    search_help_text = _lazy("Rejection number, or part of the reason or field")
    when_empty = _lazy("No row of the source has failed validation yet.")
    totals: ClassVar = {
        _lazy("Open rejections"): Count("pk", filter=Q(resolved_at=None)),
        _lazy("Songs"): Count("pk", filter=Q(resource="songs")),
        _lazy("Listeners"): Count("pk", filter=Q(resource="users")),
        _lazy("Listening sessions"): Count("pk", filter=Q(resource="listening_history")),
    }
    link_lookups = ("run_id__lte", "last_run_id__gte")
    exclude = ("payload", "fingerprint")
    readonly_fields = ("row", "hidden_row")

    def get_fields(self, request: HttpRequest, obj: Rejection | None = None) -> Any:
        personal = obj is not None and obj.resource == "users" and not can_see_personal_data(request)
        hidden = "row" if personal else "hidden_row"
        return [name for name in super().get_fields(request, obj) if name != hidden]

    @display(description=_lazy("First rejected in"), ordering="run")
    def first_run(self, rejection: Rejection) -> SafeString | str:
        return link_to_run(rejection.run_id)

    @display(description=_lazy("Last rejected in"), ordering="last_run")
    def newest_run(self, rejection: Rejection) -> SafeString | str:
        return link_to_run(rejection.last_run_id)

    @display(description=_lazy("Row as the source sent it"))
    def row(self, rejection: Rejection) -> SafeString:
        text = json.dumps(json.loads(rejection.payload), indent=2, ensure_ascii=False)
        return format_html('<pre class="whitespace-pre-wrap">{}</pre>', text)

    @display(description=_lazy("Row as the source sent it"))
    def hidden_row(self, rejection: Rejection) -> str:
        return _("Hidden: you need the permission to see names, e-mail addresses and genders of listeners.")


def _format_measured(unit: str, value: float | None) -> str:
    return _("not measured") if value is None else format_amount(unit, value)
