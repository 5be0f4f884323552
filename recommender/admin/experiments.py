"""Tests between versions, and what staff do about them."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import action, display

from ingestion.admin import ReadOnlyAdmin, confirm_first
from recommender import services
from recommender.admin.decisions import OUTCOME_COLOURS
from recommender.admin.forms import ReasonForm, TrafficSplitForm
from recommender.dashboard.experiment_report import build_report, outcome_label
from recommender.engine.artifact import ArtifactError
from recommender.experiments import eligibility, lifecycle
from recommender.models import Experiment
from recommender.registry.registry import RegistryError

JUDGE_NOW_HELP = "Every running test is looked at, as each day: who has won or broken is promoted or dropped."


@admin.register(Experiment)
class ExperimentAdmin(ReadOnlyAdmin):
    list_display = ("id", "state", "kind", "challenger", "champion", "started_at", "ended_at", "short_reason")
    list_filter = ("status", "kind", "outcome", "started_at")
    search_fields = ("=id", "challenger__label", "champion__label", "reason")
    search_help_text = "A test's number, a version's label or a part of the reason"
    list_before_template = "admin/recommender/about_tests.html"
    when_empty = (
        "A new version is proposed every Sunday, where something new has come in, once a champion serves. "
        "“Start a test” on a version's page tests that one; “Start an A/A test” the champion against itself."
    )
    change_form_before_template = "admin/recommender/experiment.html"
    actions_list: ClassVar = ["start_equals", "set_split", "judge_all"]
    actions_detail: ClassVar = ["judge", "promote", "reject", "stop"]
    readonly_fields = ("list_share_text", "split_share_text", "planned_listeners_text")
    fieldsets = (
        ("Who", {"fields": (("challenger", "champion"), ("kind", "by"), "purpose")}),
        ("Plan", {"fields": (("list_share_text", "split_share_text"), "planned_listeners_text")}),
        ("When", {"fields": (("created_at", "started_at"), "ended_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Experiment]:
        # For the page of a test too, which `list_select_related` leaves alone.
        tests: QuerySet[Experiment] = super().get_queryset(request)
        return tests.select_related("champion", "challenger")

    @display(description="State", ordering="status", label=OUTCOME_COLOURS)
    def state(self, test: Experiment) -> tuple[str, str]:
        return (test.outcome, outcome_label(test.outcome)) if test.outcome else (test.status, test.status)

    @display(description="Lists that mix both")
    def list_share_text(self, test: Experiment) -> str:
        return f"{test.list_share:.0%} of all lists"

    @display(description="A/B split")
    def split_share_text(self, test: Experiment) -> str:
        if not test.split_share:
            return "none: nobody is served by one of the two alone"
        half = test.split_share / 2
        return f"{half:.1%} of the listeners by the challenger alone, {half:.1%} by the champion alone"

    @display(description="Sharpest at")
    def planned_listeners_text(self, test: Experiment) -> str:
        return (
            f"{test.planned_listeners} listeners in the split, fixed at the start"
            if test.split_share
            else "-"
        )

    @display(description="Why")
    def short_reason(self, test: Experiment) -> str:
        return test.reason[:120]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        split = {"split_percent": round(100 * eligibility.current_split_share())}
        page: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **split})
        return page

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        test = Experiment.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        story = build_report(test, timezone.now()) if test else None
        context = {**(extra_context or {}), "story": story}
        page: HttpResponse = super().change_view(request, object_id, form_url, context)
        return page

    @action(description="Start an A/A test", icon="balance", permissions=["decide"], url_path="equals")
    @confirm_first("Start an A/A test", "The champion is tested against itself: whatever differs is a fault.")
    def start_equals(self, request: HttpRequest) -> HttpResponse:
        try:
            test = services.start_aa_test(by=request.user.get_username())
        except (lifecycle.ExperimentNotAllowed, RegistryError) as error:
            messages.error(request, str(error))
            return redirect("admin:recommender_experiment_changelist")
        messages.success(request, "The champion is tested against itself: whatever differs is a fault.")
        return redirect("admin:recommender_experiment_change", test.pk)

    @action(description="Set the A/B split", icon="call_split", permissions=["decide"], url_path="split")
    def set_split(self, request: HttpRequest) -> HttpResponse:
        now_set = round(100 * eligibility.current_split_share())
        form = TrafficSplitForm(request.POST or None, initial={"split": now_set})
        if request.method == "POST" and form.is_valid():
            said, by = form.cleaned_data["reason"], request.user.get_username()
            eligibility.set_split_share(form.split_share, reason=said, by=by, now=timezone.now())
            messages.success(request, f"{form.split_share:.0%} of the listeners in the loop's next tests.")
            return redirect("admin:recommender_experiment_changelist")
        text = f"For the loop's tests from now on, {now_set} % until now; a test that runs keeps its own."
        return self._render_form(request, "Set the A/B split", text, form)

    @action(description="Judge now", icon="gavel", permissions=["decide"], url_path="judge-all")
    @confirm_first("Judge now", JUDGE_NOW_HELP)
    def judge_all(self, request: HttpRequest) -> HttpResponse:
        for judged in services.judge_experiments():
            if judged.decision:
                messages.info(request, f"{judged.experiment}: {judged.decision.verdict['reason']}")
        return redirect("admin:recommender_experiment_changelist")

    @action(description="Judge now", icon="gavel", permissions=["decide"], url_path="judge")
    @confirm_first("Judge now", JUDGE_NOW_HELP)
    def judge(self, request: HttpRequest, object_id: int) -> HttpResponse:
        self.judge_all(request)
        return redirect("admin:recommender_experiment_change", object_id)

    @action(description="Promote", icon="trophy", permissions=["decide"], url_path="promote")
    def promote(self, request: HttpRequest, object_id: int) -> HttpResponse:
        text = "The challenger becomes champion, whatever the evidence says; the evidence so far is stored."
        return self._confirm_with_reason(
            request, object_id, "Promote the challenger", text,
            lambda test, reason, by: services.decide_experiment(test, promote=True, reason=reason, by=by),
        )  # fmt: skip

    @action(description="Reject", icon="thumb_down", permissions=["decide"], url_path="reject")
    def reject(self, request: HttpRequest, object_id: int) -> HttpResponse:
        text = "The challenger is dropped, and the champion stays; the evidence so far is stored."
        return self._confirm_with_reason(
            request, object_id, "Reject the challenger", text,
            lambda test, reason, by: services.decide_experiment(test, promote=False, reason=reason, by=by),
        )  # fmt: skip

    @action(description="Stop", icon="stop_circle", permissions=["decide"], url_path="stop")
    def stop(self, request: HttpRequest, object_id: int) -> HttpResponse:
        text = "The test ends without a verdict; the challenger is a candidate again."
        return self._confirm_with_reason(
            request,
            object_id,
            "Stop the test",
            text,
            lambda test, reason, by: lifecycle.stop_experiment(
                test, reason=reason, by=by, now=timezone.now()
            ),
        )

    def _confirm_with_reason(
        self, request: HttpRequest, pk: int, title: str, text: str, act: Any
    ) -> HttpResponse:
        test = get_object_or_404(Experiment, pk=pk)
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                act(test, form.cleaned_data["reason"], request.user.get_username())
            except (lifecycle.ExperimentNotAllowed, RegistryError, ArtifactError) as error:
                messages.error(request, str(error))
            else:
                messages.success(request, f"{test}: {test.get_outcome_display()}.")
            return redirect("admin:recommender_experiment_change", pk)
        return self._render_form(request, title, text, form, pk)

    def _render_form(
        self, request: HttpRequest, title: str, text: str, form: ReasonForm, pk: int | None = None
    ) -> HttpResponse:
        back = (
            "admin:recommender_experiment_changelist" if pk is None else "admin:recommender_experiment_change"
        )
        context = {
            **self.admin_site.each_context(request), "title": title, "text": text, "form": form,
            "back": reverse(back, args=[pk] if pk is not None else None),
        }  # fmt: skip
        return render(request, "admin/recommender/decide.html", context)

    def has_decide_permission(self, request: HttpRequest, object_id: int | str | None = None) -> bool:
        return request.user.has_perm("recommender.decide_experiment") and not _has_ended(request, object_id)


def _has_ended(request: HttpRequest, object_id: int | str | None) -> bool:
    """Whether this test has ended: then there is nothing to decide. Asked once a request, for all buttons."""
    if object_id is None:
        return False
    known: dict[int | str, bool] = request.__dict__.setdefault("ended_tests", {})
    if object_id not in known:
        ended = Experiment.objects.filter(pk=object_id, status=Experiment.Status.ENDED)
        known[object_id] = ended.exists()
    return known[object_id]
