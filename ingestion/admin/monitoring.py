"""What each run was held against, what a person called the new normal, and what background tasks took."""

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display
from unfold.forms import ActionForm
from unfold.widgets import UnfoldAdminTextInputWidget

from ingestion.admin.base import ReadOnlyAdmin
from ingestion.models import AnomalyCheck, BaselineReset, TaskUsage
from ingestion.monitoring.run_review import reset_baseline

VERDICT_COLOURS = {"learning": "info", "usual": "success", "low": "warning", "high": "warning"}


class ReasonForm(ActionForm):
    """An action, and why somebody does it."""

    reason = forms.CharField(
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget({"placeholder": "Why", "aria-label": "Why"}),
    )


@admin.register(AnomalyCheck)
class AnomalyCheckAdmin(ReadOnlyAdmin):
    list_display = ("run", "measure", "resource", "shown_value", "usual_range", "n", "how")
    list_filter = ("verdict", ("measure", admin.AllValuesFieldListFilter), "resource")
    search_fields = ("=run__id",)
    search_help_text = "A run's number"
    list_select_related = ("run",)
    ordering = ("-id",)
    actions = ("call_it_the_new_normal",)
    action_form = ReasonForm

    @display(description="Value", ordering="value")
    def shown_value(self, check: AnomalyCheck) -> str:
        return f"{check.value:,.6g}"

    @display(description="Usual")
    def usual_range(self, check: AnomalyCheck) -> str:
        return "" if check.low is None or check.high is None else f"{check.low:,.6g} to {check.high:,.6g}"

    @display(description="Verdict", ordering="verdict", label=VERDICT_COLOURS)
    def how(self, check: AnomalyCheck) -> tuple[str, str]:
        return check.verdict, check.get_verdict_display()

    @admin.action(description="This is the new normal: learn anew from this run on", permissions=["handle"])
    def call_it_the_new_normal(self, request: HttpRequest, chosen: "QuerySet[AnomalyCheck]") -> None:
        reason, by = request.POST.get("reason", "").strip(), request.user.get_username()
        for check in chosen.select_related("run"):
            reset_baseline(check.measure, check.resource, check.run, by, reason, timezone.now())
        self.message_user(
            request,
            f"{len(chosen)} measures are learnt anew from the chosen runs on; their incidents are over.",
            messages.SUCCESS,
        )

    def has_handle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ingestion.handle_incident")


@admin.register(BaselineReset)
class BaselineResetAdmin(ReadOnlyAdmin):
    list_display = ("at", "measure", "resource", "since", "by", "reason")
    list_filter = (("measure", admin.AllValuesFieldListFilter), "resource")
    search_fields = ("by", "reason")
    list_select_related = ("since",)


@admin.register(TaskUsage)
class TaskUsageAdmin(ReadOnlyAdmin):
    list_display = ("task", "started_at", "succeeded", "seconds", "cpu_seconds", "memory")
    list_filter = (("task", admin.AllValuesFieldListFilter), "succeeded", "started_at")
    search_fields = ("=task_id", "task")

    @display(description="Peak memory", ordering="peak_memory")
    def memory(self, use: TaskUsage) -> str:
        return f"{use.peak_memory / 1e6:,.0f} MB"
