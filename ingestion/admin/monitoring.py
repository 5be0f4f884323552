"""Admin of anomaly checks, baseline resets, and the CPU time and memory of Celery tasks."""

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext
from unfold.decorators import display
from unfold.forms import ActionForm
from unfold.widgets import UnfoldAdminTextInputWidget

from ingestion.admin.base import ReadOnlyAdmin, link_to_run
from ingestion.alerts.messages.formatting import format_amount
from ingestion.models import AnomalyCheck, BaselineReset, TaskUsage
from ingestion.monitoring.run_metrics import METRICS
from ingestion.monitoring.run_review import reset_baseline

VERDICT_COLOURS = {"learning": "info", "usual": "success", "low": "warning", "high": "warning"}


class ReasonForm(ActionForm):
    reason = forms.CharField(
        label=_lazy("Reason"),
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget({"placeholder": _lazy("Reason"), "aria-label": _lazy("Reason")}),
    )


@admin.register(AnomalyCheck)
class AnomalyCheckAdmin(ReadOnlyAdmin):
    list_display = ("run_link", "metric", "resource", "value_text", "expected_range", "n", "verdict_label")
    list_display_links = None
    list_filter = ("verdict", ("measure", admin.AllValuesFieldListFilter), "resource")
    search_fields = ("=run__id",)
    search_help_text = _lazy("Run number")
    when_empty = _lazy(
        "Each finished ingestion run is compared with earlier runs. Checks appear here after the first run."
    )
    list_select_related = ("run",)
    ordering = ("-id",)
    fields = ("run", "measure", "resource", "value_text", "expected_range", "median_text", "n", "verdict")
    readonly_fields = ("value_text", "expected_range", "median_text")
    actions = ("reset_expected_range",)
    action_form = ReasonForm

    @display(description=_lazy("Run"), ordering="run")
    def run_link(self, check: AnomalyCheck) -> SafeString | str:
        return link_to_run(check.run_id, "#anomaly-checks")

    @display(description=_lazy("Metric"), ordering="measure")
    def metric(self, check: AnomalyCheck) -> str:
        return _(METRICS[check.measure].label) if check.measure in METRICS else check.measure

    @display(description=_lazy("Value"), ordering="value")
    def value_text(self, check: AnomalyCheck) -> str:
        return format_amount(_unit_of(check), check.value)

    @display(description=_lazy("Expected range"))
    def expected_range(self, check: AnomalyCheck) -> str:
        if check.low is None or check.high is None:
            return "-"
        unit = _unit_of(check)
        return _("{low} to {high}").format(
            low=format_amount(unit, check.low), high=format_amount(unit, check.high)
        )

    @display(description=_lazy("Median of the earlier runs"))
    def median_text(self, check: AnomalyCheck) -> str:
        return "-" if check.median is None else format_amount(_unit_of(check), check.median)

    @display(description=_lazy("Verdict"), ordering="verdict", label=VERDICT_COLOURS)
    def verdict_label(self, check: AnomalyCheck) -> tuple[str, str]:
        return check.verdict, check.get_verdict_display()

    @admin.action(
        description=_lazy("Reset the expected range: learn it again from this run on"), permissions=["handle"]
    )
    def reset_expected_range(self, request: HttpRequest, selected: "QuerySet[AnomalyCheck]") -> None:
        reason, by = request.POST.get("reason", "").strip(), request.user.get_username()
        for check in selected.select_related("run"):
            reset_baseline(check.measure, check.resource, check.run, by, reason, timezone.now())
        self.message_user(
            request,
            ngettext(
                "{n} expected range is learned again from the selected run on; its incidents are resolved.",
                "{n} expected ranges are learned again from the selected runs on; their incidents are "
                "resolved.",
                len(selected),
            ).format(n=len(selected)),
            messages.SUCCESS,
        )

    def has_handle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ingestion.handle_incident")


def _unit_of(check: AnomalyCheck) -> str:
    return METRICS[check.measure].unit if check.measure in METRICS else ""


@admin.register(BaselineReset)
class BaselineResetAdmin(ReadOnlyAdmin):
    list_display = ("at", "measure", "resource", "since", "by", "reason")
    list_filter = (("measure", admin.AllValuesFieldListFilter), "resource")
    search_fields = ("by", "reason")
    list_select_related = ("since",)
    when_empty = _lazy(
        "A row appears when a person chooses “Reset the expected range” in the list of anomaly checks."
    )


@admin.register(TaskUsage)
class TaskUsageAdmin(ReadOnlyAdmin):
    list_display = ("task", "started_at", "succeeded", "duration", "cpu_time", "memory")
    list_filter = (("task", admin.AllValuesFieldListFilter), "succeeded", "started_at")
    search_fields = ("=task_id", "task")
    search_help_text = _lazy("Celery task ID, or part of the task's name")
    when_empty = _lazy(
        "Celery workers add a row for each task that failed or took at least one second, with its CPU time "
        "and peak memory."
    )

    @display(description=_lazy("Duration"), ordering="seconds")
    def duration(self, usage: TaskUsage) -> str:
        return format_amount("seconds", usage.seconds)

    @display(description=_lazy("CPU time"), ordering="cpu_seconds")
    def cpu_time(self, usage: TaskUsage) -> str:
        return format_amount("seconds", usage.cpu_seconds)

    @display(description=_lazy("Peak memory"), ordering="peak_memory")
    def memory(self, usage: TaskUsage) -> str:
        return format_amount("bytes", usage.peak_memory)
